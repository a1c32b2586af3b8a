"""Command ``export``: from a checkpoint to policies that need no Ray."""

from __future__ import annotations

from pathlib import Path

import click

from rllib_agentmixer.commands.common import load_algorithm
from rllib_agentmixer.reports import show


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--best", is_flag=True, help="Of a run's folder, the best checkpoint.")
@click.option("--json", "as_json", is_flag=True)
def export(checkpoint: Path, out: Path, best: bool, as_json: bool) -> None:
    """Export the individual policies of a CHECKPOINT and prove that they act alike."""
    from rllib_agentmixer.export import export_policies

    algorithm = load_algorithm(checkpoint, best=best)
    manifest = export_policies(algorithm, out)
    algorithm.stop()
    report = {
        "out": str(out),
        "agents": [entry["name"] for entry in manifest["agents"]],
        "parity": manifest["parity"],
    }
    show(report, as_json, title="export")
    if not as_json:
        click.echo(f"next: python -m rllib_agentmixer.play {out} --episodes 100")
