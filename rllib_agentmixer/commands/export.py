"""Command ``export``: policies of a checkpoint that need no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rllib_agentmixer.commands.common import load_team, next_command
from rllib_agentmixer.commands.reports import json_option, show


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--env", help="To play in; needed if it is none of this package's.")
@click.option("--algo", help="MODULE:NAME of an algorithm of your own.")
@click.option("--best", is_flag=True, help="Of a run's folder, the best checkpoint.")
@click.option("--onnx", is_flag=True, help="Write an ONNX graph per agent as well.")
@json_option()
def export(checkpoint: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Export the individual policies of a CHECKPOINT and prove that they act alike."""
    from rllib_agentmixer.export import export_policies
    from rllib_agentmixer.export.onnx import add_onnx, check_onnx_available

    if options["onnx"]:
        check_onnx_available()
    team = load_team(checkpoint, best=options["best"], env=options["env"], algo=options["algo"])
    manifest = export_policies(team, out)
    if options["onnx"]:
        manifest = add_onnx(out)
    report = {
        "out": str(out),
        "agents": [entry["name"] for entry in manifest["agents"]],
        "parity": manifest["parity"],
        **({"onnx": manifest["onnx"]} if options["onnx"] else {}),
    }
    show(report, as_json, title="export")
    if not as_json:
        words = ("python", "-m", "rllib_agentmixer.play", out, "--episodes", 100)
        click.echo(next_command(*words, env=team.stamp["name"]))
