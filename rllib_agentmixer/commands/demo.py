"""Command ``demo``: training, evaluation and export in three minutes."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"))
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=2.8)
@click.option("--seed", type=int, default=0, show_default=True)
def demo(out: Path, minutes: float, seed: int) -> None:
    """Train predator-prey for three minutes, evaluate, export, play without Ray, draw."""
    from rllib_agentmixer.runs.demo import run_demo

    run_demo(out, minutes, seed)
