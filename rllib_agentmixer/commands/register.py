"""Command ``register``: a trained team into MLflow's model registry."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rllib_agentmixer.commands.common import load_team
from rllib_agentmixer.commands.reports import json_option, show

if TYPE_CHECKING:
    from rllib_agentmixer.rollouts.team import Team


@click.command()
@click.argument("source", metavar="CHECKPOINT_OR_EXPORT", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Of the team: models are called NAME-AGENT.")
@click.option("--alias", help="Given to the new versions, such as `champion`.")
@click.option("--algo", help="MODULE:NAME of an algorithm of your own.")
@click.option("--best", is_flag=True, help="Of a run's folder, the best checkpoint.")
@click.option("--env", help="Of a checkpoint; needed if it is none of this package's.")
@click.option("--tracking-uri", help="MLflow store; default: the one of the run.")
@json_option()
def register(
    source: Path, name: str, alias: str | None, tracking_uri: str | None, **options: Any
) -> None:
    """Register every agent's policy as an ONNX model that acts without Ray and without pickle."""
    from rllib_agentmixer.export.model_registry import register_export
    from rllib_agentmixer.export.onnx import check_onnx_available
    from rllib_agentmixer.runtime import MANIFEST

    check_onnx_available()
    if (source / MANIFEST).is_file():
        versions = register_export(source, name, alias=alias, tracking_uri=tracking_uri)
    else:
        team = load_team(source, best=options["best"], env=options["env"], algo=options["algo"])
        versions = _register_checkpoint(team, source, name, alias, tracking_uri)
    report = {"models": [f"models:/{model}/{version}" for model, version in versions.items()]}
    show(report, options["as_json"], title="register")
    if not options["as_json"]:
        model, version = next(iter(versions.items()))
        reference = f"{model}@{alias}" if alias else f"{model}/{version}"
        click.echo(
            f'next: mlflow.pyfunc.load_model("models:/{reference}").predict({{"obs": obs, ...}})'
        )


def _register_checkpoint(
    team: Team,
    checkpoint: Path,
    name: str,
    alias: str | None,
    tracking_uri: str | None,
) -> dict[str, str]:
    from rllib_agentmixer.export import export_policies
    from rllib_agentmixer.export.model_registry import register_export

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "exported"
        export_policies(team, folder)
        return register_export(
            folder, name, alias=alias, tracking_uri=tracking_uri, trained_in=checkpoint
        )
