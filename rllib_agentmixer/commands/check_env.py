"""Command ``check-env``: conformance checks of an environment, and replay of failures."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from rllib_agentmixer.commands.reports import json_option, print_json
from rllib_agentmixer.errors import ConfigError

COLOURS = {"ok": "green", "note": "yellow", "FAIL": "bold red"}


@click.command(name="check-env")
@click.argument("env")
@click.option(
    "--steps", type=click.IntRange(10), default=300, show_default=True, help="Random steps."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--team-reward", type=click.Choice(["shared", "sum", "mean"]))
@click.option("--replay", type=click.Path(path_type=Path), help="Repeat a recorded failure.")
@json_option()
@click.argument("settings", nargs=-1)
def check_env(env: str, settings: tuple[str, ...], **options: Any) -> None:
    """Check ENV (a name, module:function or a PettingZoo module) with key=value SETTINGS.

    Exit code 1 if something must be fixed before training.

    \b
    Examples:
      rllib-agentmixer check-env simple_spread N=4
      rllib-agentmixer check-env my_package.envs:make --team-reward sum
    """  # noqa: D301  click reads the character
    from rllib_agentmixer.runs.settings import parse_settings

    # As in training, env.name=value is an argument; the prefix is optional here.
    config = {k.removeprefix("env."): v for k, v in parse_settings(settings).items()}
    if options["replay"] is not None:
        _replay(env, config, options["replay"], options["team_reward"])
        return
    from rllib_agentmixer.envs.checks.conformance import check_environment

    findings = check_environment(
        env,
        config,
        team_reward=options["team_reward"],
        num_steps=options["steps"],
        seed=options["seed"],
    )
    if options["as_json"]:
        print_json([vars(finding) for finding in findings])
    else:
        _print_report(env, findings)
    if any(finding.verdict == "FAIL" for finding in findings):
        sys.exit(1)


def _print_report(env: str, findings: list[Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "", "found", title=env, title_justify="left")
    for finding in findings:
        colour = COLOURS[finding.verdict]
        verdict = f"[{colour}]{finding.verdict}[/{colour}]"
        table.add_row(finding.check, verdict, escape(finding.detail))
    Console().print(table)
    counts = {v: sum(finding.verdict == v for finding in findings) for v in COLOURS}
    click.echo(", ".join(f"{number} {verdict}" for verdict, number in counts.items()))


def _replay(env: str, config: dict[str, Any], path: Path, team_reward: str | None) -> None:
    """Replay a recorded episode; exit code 1 if it fails again."""
    from rllib_agentmixer.envs.construction import make_env
    from rllib_agentmixer.envs.registry import resolve_env
    from rllib_agentmixer.envs.stepping.recordings import Recording, replay

    recording, entry = Recording.load(path), resolve_env(env)
    if entry.name != recording.environment:
        raise ConfigError(
            f"{path} was recorded in {recording.environment!r}, got {entry.name!r}; use the "
            "environment of the recording"
        )
    reward: Any = team_reward or entry.team_reward
    failure = replay(partial(make_env, env, **config), recording, reward)
    if failure is None:
        click.echo(
            f"{len(recording.actions)} steps with seed {recording.seed} passed; the recorded error "
            f"was: {recording.error}"
        )
        return
    click.echo(f"failed again: {failure}")
    sys.exit(1)
