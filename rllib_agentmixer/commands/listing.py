"""Command ``list``: environments, algorithms and settings."""

from __future__ import annotations

import click

from rllib_agentmixer.commands.reports import json_option, print_json


@click.command(name="list")
@click.option("--algo", default="agentmixer", show_default=True, help="Whose settings to show.")
@json_option()
def list_all(algo: str, as_json: bool) -> None:
    """Environments, algorithms, and what can be set."""
    from rllib_agentmixer.commands.common import import_algorithm
    from rllib_agentmixer.core.algorithms.registry import ALGORITHMS, setting_rows
    from rllib_agentmixer.envs import ENVS

    content = {
        "environments": {name: entry.summary for name, entry in ENVS.items()},
        "algorithms": {name: entry.summary for name, entry in ALGORITHMS.items()},
        "settings": setting_rows(import_algorithm(algo)),
    }
    if as_json:
        print_json(content)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    for title, rows in (
        (
            "environments",
            [(n, entry.description) for n, entry in ENVS.items()],
        ),
        ("algorithms", [(n, s) for n, s in content["algorithms"].items()]),
        (f"settings of {algo}", [(n, f"{d!r}: {w}") for n, d, w in content["settings"]]),
    ):
        table = Table("name", "", title=title, title_justify="left", show_lines=False)
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
