"""Output of commands: JSON or a table."""

from __future__ import annotations

import json
from typing import Any

import click


def show(report: dict[str, Any], as_json: bool, title: str) -> None:
    """Print a report as JSON or as a table."""
    if as_json:
        click.echo(json.dumps(report, default=str))
        return
    from rich.console import Console
    from rich.table import Table

    from rllib_agentmixer.tracking import flatten

    table = Table("", "", title=title, title_justify="left", show_header=False)
    values = flatten(report)
    for name, value in values.items():
        is_integer = value.is_integer() and abs(value) < 1e12
        table.add_row(name, f"{int(value):,}" if is_integer else f"{value:.4g}")
    for name, value in report.items():
        if isinstance(value, (str, list)):
            table.add_row(name, value if isinstance(value, str) else ", ".join(value))
    Console().print(table)
