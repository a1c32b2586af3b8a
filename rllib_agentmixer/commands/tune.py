"""Command ``tune``: search hyperparameters with Ray Tune."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rllib_agentmixer.commands.common import (
    check_config,
    draft_config,
    import_algorithm,
    next_command,
)
from rllib_agentmixer.commands.reports import json_option, show
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.runs.run_folder import claimed
from rllib_agentmixer.runs.signals import exit_on_signals

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.classic.config import ClassicConfig
    from rllib_agentmixer.search.plan import SearchPlan
    from rllib_agentmixer.search.run import SearchOutcome

SHOWN = 4
WIDTH = 110
"""Width of a table that is written to a file or a job's log, in characters."""


@click.command()
@click.argument("env", required=False)
@click.option("--algo", default="agentmixer", show_default=True, help="See `list`.")
@click.option(
    "--space",
    "spaces",
    multiple=True,
    metavar="KEY=RANGE|FILE|shipped",
    help="Searched hyperparameter; may be repeated. Default: shipped.",
)
@click.option(
    "--samples", type=click.IntRange(1), default=8, show_default=True, help="Number of trials."
)
@click.option("--scheduler", default="asha", show_default=True, help="asha, pbt or none.")
@click.option("--search", default="random", show_default=True, help="random or optuna.")
@click.option(
    "--steps", type=click.IntRange(1), default=200_000, show_default=True, help="Per trial."
)
@click.option("--grace-steps", type=click.IntRange(1), help="Default: a tenth of --steps.")
@click.option("--metric", help="Default: return of the individual policies.")
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Per trial.")
@click.option("--concurrent", type=click.IntRange(1), help="Maximum concurrent trials.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--max-failures", type=click.IntRange(0), default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the search.")
@click.option("--resume", is_flag=True, help="Resume the search in --out.")
@click.option("--resume-if-possible", is_flag=True, help="Resume if --out contains a search.")
@click.option(
    "--experiment", default="rllib_agentmixer", show_default=True, help="MLflow experiment."
)
@click.option("--no-mlflow", is_flag=True, help="Write files only.")
@click.option("--tracking-optional", is_flag=True, help="Run even if MLflow is unavailable.")
@click.option("--tracking-uri", help="Default: MLFLOW_TRACKING_URI or SQLite.")
@json_option()
@click.argument("settings", nargs=-1)
def tune(env: str | None, settings: tuple[str, ...], **options: Any) -> None:
    """Search hyperparameters on ENV, with key=value SETTINGS shared by all trials.

    \b
    Examples:
      rllib-agentmixer tune climbing --samples 16 --steps 50000 train_batch_size=512
      rllib-agentmixer tune predator_prey --search optuna --space 'lr=loguniform(1e-4, 3e-3)' \
          --space 'igc=choice(strict, gumbel)' env.penalty=-1
      rllib-agentmixer tune --resume --out runs/tune-agentmixer-climbing
    """  # noqa: D301  click reads the character
    from rllib_agentmixer.runs.local_ray import start_ray
    from rllib_agentmixer.search.plan import read_plan
    from rllib_agentmixer.search.run import is_search, run_search

    if env is None and not (options["resume"] and options["out"]):
        raise ConfigError("name an environment to search on, or --resume with --out")
    out = options["out"] or Path("runs") / f"tune-{options['algo']}-{str(env).replace(':', '-')}"
    resume = options["resume"] or (options["resume_if_possible"] and is_search(out))
    if resume:
        plan = read_plan(out)
        plan.check_unchanged(_given_options(env, settings, plan))
        config = _shared_config(plan)
    else:
        assert env is not None  # noqa: S101 - checked above
        plan, config = new_plan(env, settings, options)
    with claimed(out, resume=True), exit_on_signals():  # run_search() checks what is in it
        start_ray(_most_workers(plan, config))
        outcome = run_search(plan, config, out, resume=resume)
    _report(outcome, plan, out, options["as_json"])
    if outcome.signal_number is not None:
        sys.exit(128 + outcome.signal_number)
    if outcome.failed:
        sys.exit(1)


def new_plan(
    env: str, settings: tuple[str, ...], options: dict[str, Any]
) -> tuple[SearchPlan, ClassicConfig]:
    """Validated plan, with the configuration shared by its trials."""
    from rllib_agentmixer.runs.settings import parse_settings
    from rllib_agentmixer.runs.training import EVALUATED_RETURN
    from rllib_agentmixer.search.plan import SearchPlan
    from rllib_agentmixer.search.spaces import check_space, read_space

    fixed = parse_settings(settings)
    algo, seed, workers = options["algo"], options["seed"], options["workers"]
    draft_config(env, algo, seed, workers, {})  # rejects unknown algorithms, which have no space
    by_pbt = options["scheduler"] == "pbt"
    names = ("samples", "scheduler", "search", "steps", "grace_steps", "workers", "concurrent")
    others = ("seed", "max_failures", "experiment", "tracking_uri", "tracking_optional")
    plan = SearchPlan(
        env=env,
        algorithm=algo,
        space=read_space(
            options["spaces"], import_algorithm(algo), fixed=fixed, perturbable_only=by_pbt
        ),
        settings=fixed,
        metric=options["metric"] or EVALUATED_RETURN,
        use_mlflow=not options["no_mlflow"],
        **{name: options[name] for name in (*names, *others)},
    )
    check_config(_shared_config(plan))
    config = _shared_config(plan)
    check_space(config, plan.space, fixed)
    _check_evaluated(plan, config)
    return plan, config


def _check_evaluated(plan: SearchPlan, config: ClassicConfig) -> None:
    """Reject trials whose results would lack the metric in some iterations."""
    found = plan.space.get("evaluation_interval")
    intervals = found.extremes if found else (config.evaluation_interval,)
    if plan.metric.startswith("evaluation/") and any(interval != 1 for interval in intervals):
        raise ConfigError(
            f"the search compares trials by {plan.metric} after every iteration: omit "
            f"evaluation_interval={found or intervals[0]}, or choose another metric, such "
            "as --metric env_runners/episode_return_mean"
        )


def _most_workers(plan: SearchPlan, config: ClassicConfig) -> int:
    """Remote workers of the largest trial: a local Ray instance needs a CPU for each."""
    from rllib_agentmixer.runs.training import num_workers

    names = ("num_env_runners", "evaluation_num_env_runners")
    searched = {name: max(plan.space[name].extremes) for name in names if name in plan.space}
    return num_workers(vars(config) | searched)


def _shared_config(plan: SearchPlan) -> ClassicConfig:
    """Configuration shared by all trials; each is evaluated after every iteration."""
    settings = {"evaluation_interval": 1} | plan.settings
    return draft_config(plan.env, plan.algorithm, plan.seed, plan.workers, settings)


def _given_options(env: str | None, settings: tuple[str, ...], plan: SearchPlan) -> dict[str, Any]:
    """Plan entries that the command line of a resumed search sets explicitly."""
    from rllib_agentmixer.runs.settings import parse_settings
    from rllib_agentmixer.search.spaces import read_space

    context = click.get_current_context()
    same = ("samples", "scheduler", "search", "steps", "grace_steps", "workers", "concurrent")
    others = ("seed", "metric", "max_failures", "experiment", "tracking_uri", "tracking_optional")
    names = {"algo": "algorithm"} | {name: name for name in (*same, *others)}
    given: dict[str, Any] = {
        field: context.params[option]
        for option, field in names.items()
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE
    }
    if context.params["no_mlflow"]:
        given["use_mlflow"] = False
    if env is not None:
        given["env"] = env
    if settings:
        given["settings"] = parse_settings(settings)
    if context.params["spaces"]:
        by_pbt = plan.scheduler == "pbt"
        specs = context.params["spaces"]
        given["space"] = read_space(specs, plan.algorithm, perturbable_only=by_pbt)
    return given


def _report(outcome: SearchOutcome, plan: SearchPlan, out: Path, as_json: bool) -> None:
    best = next((r for r in outcome.records if r.score is not None), None)
    report: dict[str, Any] = {
        "trials": len(outcome.records),
        **{
            state: sum(r.status == state for r in outcome.records)
            for state in ("finished", "stopped", "failed", "unfinished")
        },
        "best_score": best and best.score,
        "best_trial": best and best.name,
        "best": outcome.best and str(outcome.best),
        "summary": str(out / "trials.csv"),
        "figure": outcome.figure and str(outcome.figure),
    }
    if as_json:
        report["records"] = [vars(record) for record in outcome.records]
    else:
        _print_trials(outcome, plan)
    show(report, as_json, title=f"{plan.algorithm} on {plan.env}: {plan.metric}")
    for record in outcome.failed:
        click.echo(f"{record.name} failed: {record.error}", err=True)
    if outcome.best is not None and not as_json:
        words = ("rllib-agentmixer", "evaluate", outcome.best / "checkpoint")
        click.echo(next_command(*words, env=plan.env, algo=plan.algorithm))
        words = ("python", "-m", "rllib_agentmixer.play", outcome.best / "exported")
        click.echo(next_command(*words, env=plan.env))


def _print_trials(outcome: SearchOutcome, plan: SearchPlan) -> None:
    """Print the best trials as columns, since there are many settings."""
    from rich.console import Console
    from rich.table import Table

    best = outcome.records[:SHOWN]
    table = Table("", title=f"the best {len(best)} of {len(outcome.records)} trials")
    table.title_justify = "left"
    for record in best:
        table.add_column(record.name, justify="right")
    table.add_row("status", *(r.status for r in best))
    table.add_row("score", *(_shown(r.score) for r in best))
    table.add_row("steps", *(f"{r.steps:,}" for r in best), end_section=True)
    for name in plan.space:
        table.add_row(name, *(_shown(r.settings[name]) for r in best))
    is_terminal = sys.stdout.isatty()
    Console(width=None if is_terminal else WIDTH).print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
