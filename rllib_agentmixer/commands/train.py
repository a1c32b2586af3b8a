"""Command ``train``: one training run, from an environment to a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rllib_agentmixer.commands.common import import_algorithm, make_config, next_command
from rllib_agentmixer.commands.reports import json_option, show
from rllib_agentmixer.runs.checkpoints import RunCheckpoints
from rllib_agentmixer.runs.run_folder import claimed
from rllib_agentmixer.runs.signals import exit_on_signals

if TYPE_CHECKING:
    from rllib_agentmixer.runs.training import RunOutcome, RunPlan

DEFAULT_STEPS = 300_000


EVALUATED = "evaluation/individual/episode_return_mean"


@click.command()
@click.argument("env")
@click.option("--algo", default="agentmixer", show_default=True, help="See `list`.")
@click.option("--steps", type=click.IntRange(1), help="Joint environment steps to train for.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Time to train for.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option("--resume-if-possible", is_flag=True, help="Continue if --out holds a checkpoint.")
@click.option("--fall-back", is_flag=True, help="When resuming, skip damaged checkpoints.")
@click.option(
    "--checkpoint-every", type=click.IntRange(1), default=10, show_default=True, help="Iterations."
)
@click.option(
    "--keep-checkpoints",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Number of newest checkpoints; the best one is kept as well.",
)
@click.option("--experiment", default="rllib_agentmixer", show_default=True, help="In MLflow.")
@click.option("--no-mlflow", is_flag=True, help="Write files only.")
@click.option("--sweep", help="Tag by which MLflow groups runs of one comparison.")
@click.option("--tracking-optional", is_flag=True, help="Train even while MLflow is unavailable.")
@click.option("--tracking-uri", help="MLflow store; default: MLFLOW_TRACKING_URI or sqlite.")
@json_option()
@click.argument("settings", nargs=-1)
def train(env: str, settings: tuple[str, ...], **options: Any) -> None:
    """Train on ENV (a name from `list`, or module:function) with key=value SETTINGS.

    \b
    Examples:
      rllib-agentmixer train predator_prey --steps 300000 env.penalty=-1 igc=gumbel
      rllib-agentmixer train my_package.envs:make --workers 2 lr=1e-3 num_envs_per_env_runner=16
    """  # noqa: D301  click reads the character
    from rllib_agentmixer.runs import training
    from rllib_agentmixer.runs.live_progress import LiveProgress
    from rllib_agentmixer.runs.local_ray import start_ray
    from rllib_agentmixer.runs.settings import check_unchanged, parse_settings

    out = options["out"] or Path("runs") / f"{options['algo']}-{env}".replace(":", "-")
    config = make_config(env, options["algo"], options["seed"], options["workers"], settings)
    plan = _plan_of(out, options)
    with claimed(out, resume=plan.resume), exit_on_signals():
        with training.preparing(plan):
            planned = training.num_workers(vars(config))
            start_ray(training.read_workers(out) if plan.resume else planned)
        algorithm = training.build(config, plan)
        if plan.resume:
            given = _given_options(env, options) | parse_settings(settings)
            check_unchanged(algorithm.config, given)
        outcome = training.run(algorithm, plan, LiveProgress(plan.total_steps, plan.time_limit_s))
        name = algorithm.config.algorithm
        algorithm.stop()
    show(_report(outcome), options["as_json"], title=f"{name} on {env}")
    if not options["as_json"]:
        words = ("rllib-agentmixer", "export", outcome.checkpoint, "--out", out / "exported")
        click.echo(next_command(*words, env=env, algo=options["algo"]))
    if outcome.signal_number is not None:
        sys.exit(128 + outcome.signal_number)


def _report(outcome: RunOutcome) -> dict[str, Any]:
    last = outcome.rows[-1] if outcome.rows else {}
    evaluated = next((row for row in reversed(outcome.rows) if EVALUATED in row), {})
    return {
        "env_steps": last.get("env_steps", 0),
        "joint_return": last.get("env_runners/episode_return_mean"),
        "individual_return": evaluated.get(EVALUATED),
        # Evaluation has an interval: the last one may be of earlier weights.
        "individual_return_at_env_steps": evaluated.get("env_steps"),
        "checkpoint": str(outcome.checkpoint),
        "interrupted": outcome.was_interrupted,
    }


def _given_options(env: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options of the command line that a resumed run takes from its checkpoint."""
    given = {"env": env}
    context = click.get_current_context()
    names = {"algo": "algorithm", "seed": "seed", "workers": "num_env_runners"}
    for option, setting in names.items():
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            given[setting] = options[option]
    if "algorithm" in given:
        given["algorithm"] = import_algorithm(given["algorithm"])
    return given


def _plan_of(out: Path, options: dict[str, Any]) -> RunPlan:
    from rllib_agentmixer.runs.training import RunPlan

    minutes = options["minutes"]
    can_resume = bool(RunCheckpoints(out).all)
    return RunPlan(
        out=out,
        total_steps=options["steps"] or (None if minutes else DEFAULT_STEPS),
        time_limit_s=minutes and 60 * minutes,
        checkpoint_every=options["checkpoint_every"],
        keep_checkpoints_num=options["keep_checkpoints"],
        resume=options["resume"] or (options["resume_if_possible"] and can_resume),
        fall_back=options["fall_back"],
        tracking_uri=options["tracking_uri"],
        use_mlflow=not options["no_mlflow"],
        experiment=options["experiment"],
        sweep=options["sweep"],
        tracking_optional=options["tracking_optional"],
    )
