"""Command ``sync``: upload of metrics that were spooled while MLflow was unavailable."""

from __future__ import annotations

from pathlib import Path

import click

from rllib_agentmixer.commands.reports import json_option, show
from rllib_agentmixer.errors import ConfigError


@click.command()
@click.argument("run_folder", type=click.Path(path_type=Path))
@click.option("--tracking-uri", help="Default: the tracking URI of the run.")
@json_option()
def sync(run_folder: Path, tracking_uri: str | None, as_json: bool) -> None:
    """Send unsent metrics of RUN_FOLDER, and of all runs below it, to MLflow."""
    from rllib_agentmixer.tracking import sync_folder
    from rllib_agentmixer.tracking.spool import SPOOL_FILE

    spools = sorted(run_folder.rglob(SPOOL_FILE))
    if not spools:
        raise ConfigError(
            f"{run_folder} has no {SPOOL_FILE}; give the folder of a run that was logged to MLflow"
        )
    # Parent runs come first: their children need the id.
    sent = {str(path.parent): sync_folder(path.parent, tracking_uri) for path in spools}
    show({"records_sent": sent, "runs": list(sent)}, as_json, title="sync")
