"""Command ``compare``: comparison of the algorithms in an MLflow experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rllib_agentmixer.commands.reports import json_option, print_json

if TYPE_CHECKING:
    from rllib_agentmixer.tracking.comparison import Group


@click.command()
@click.argument("experiment")
@click.option("--tracking-uri", help="Default: MLFLOW_TRACKING_URI or runs/mlflow.db.")
@click.option("--sweep", help="Only runs of this sweep.")
@click.option("--metric", help="Default: return of the individual policies, else joint return.")
@click.option("--group-by", default="algorithm", show_default=True, help="Tag or parameter.")
@click.option(
    "--last", type=click.IntRange(1), default=1, show_default=True, help="Final values averaged."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the figure as PNG.")
@click.option("--any-environment", is_flag=True, help="Compare across environments.")
@json_option()
def compare(experiment: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Print final values of the groups in an EXPERIMENT, with bootstrap intervals."""
    from rllib_agentmixer.tracking import comparison
    from rllib_agentmixer.tracking.tracked_runs import choose_metric, find_runs, read_run

    client = _store(options["tracking_uri"])
    found = find_runs(client, experiment, options["sweep"])
    metric = choose_metric(found, options["metric"])
    runs = [read_run(client, run, metric) for run in found]
    if not options["any_environment"]:
        comparison.check_same_environment(runs)
    groups = comparison.group_runs(runs, options["group_by"], options["last"])
    for warning in comparison.warnings_about(runs, groups):
        click.echo(f"warning: {warning}", err=True)
    if out is not None:
        from rllib_agentmixer.tracking.comparison_figure import save_comparison

        environment = ", ".join(sorted({run.stamp["environment"] for run in runs}))
        title = environment if environment == experiment else f"{experiment}: {environment}"
        save_comparison(groups, metric, out, title)
    if as_json:
        rows = [group.row() for group in groups]
        print_json({"metric": metric, "groups": rows, "figure": out and str(out)})
        return
    _print_table(groups, metric, options["group_by"])
    if out is not None:
        click.echo(f"figure: {out}")


def _store(tracking_uri: str | None) -> Any:
    from rllib_agentmixer.errors import ConfigError
    from rllib_agentmixer.tracking.store import (
        StoreUnavailableError,
        answering_store,
        default_tracking_uri,
        without_password,
    )

    uri = tracking_uri or default_tracking_uri(Path("runs") / "any")
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not path.is_file():
        raise ConfigError(f"no MLflow database at {path}; give one with --tracking-uri")
    try:
        return answering_store(uri)
    except StoreUnavailableError as error:
        raise ConfigError(
            f"the MLflow server {without_password(uri)} is unavailable: {error}; start it, or "
            "give another with --tracking-uri"
        ) from error


def _print_table(groups: list[Group], metric: str, group_by: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    title = f"{metric}, interquartile mean over runs, 95 % bootstrap interval"
    table = Table(title=title, title_justify="left")
    table.add_column(group_by)
    for name in ("seeds", "env steps", "IQM", "interval", "runs"):
        table.add_column(name, justify="right")
    for group in groups:
        interval = f"[{group.interval.low:.4g}, {group.interval.high:.4g}]"
        table.add_row(
            escape(group.name),
            str(group.num_seeds),
            f"{group.env_steps:,}",
            f"{group.iqm:.4g}",
            escape(interval),
            str(len(group.runs)),
        )
    Console().print(table)
