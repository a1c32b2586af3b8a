"""Output of commands: JSON or a table."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

_META = "rllib_agentmixer.json"


def json_option(help: str = "Print JSON, and nothing else, to standard output.") -> Any:
    """The option ``--json``, under which everything else is printed to standard error.

    Environments, simulators and libraries print what they like; a program that reads the output
    needs JSON alone.
    """

    def begin(context: click.Context, _: click.Parameter, is_wanted: bool) -> bool:
        if is_wanted:
            context.meta[_META] = []
            context.with_resource(_others_to_stderr(context.meta[_META]))
        return is_wanted

    return click.option("--json", "as_json", is_flag=True, help=help, callback=begin)


@contextmanager
def _others_to_stderr(documents: list[str]) -> Iterator[None]:
    """Standard output goes to standard error; ``documents`` are printed at the end.

    Simulators written in C print to the file descriptor, Python programs to ``sys.stdout``.
    """
    sys.stdout.flush()
    stdout, descriptor = sys.stdout, os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = stdout
        os.dup2(descriptor, 1)
        os.close(descriptor)
        for document in documents:
            click.echo(document)


def print_json(report: Any) -> None:
    """Print a report of a command with :func:`json_option` when the command ends."""
    click.get_current_context().meta[_META].append(json.dumps(report, default=str))


def show(report: dict[str, Any], as_json: bool, title: str) -> None:
    """Print a report as JSON or as a table."""
    if as_json:
        print_json(report)
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
