"""Command ``train``: one training run, from an environment to a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rllib_agentmixer.commands.common import make_config
from rllib_agentmixer.reports import show


@click.command()
@click.argument("env")
@click.option("--algo", default="agentmixer", show_default=True, help="See `list`.")
@click.option("--steps", type=click.IntRange(1), help="Joint environment steps to train for.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Time to train for.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option("--checkpoint-every", type=click.IntRange(1), default=10, show_default=True)
@click.option("--no-mlflow", is_flag=True, help="Write files only.")
@click.option("--tracking-uri", help="MLflow store; default: MLFLOW_TRACKING_URI or sqlite.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.argument("settings", nargs=-1)
def train(env: str, settings: tuple[str, ...], **options: Any) -> None:
    r"""Train on ENV (a name from `list`, or module:function) with key=value SETTINGS.

    \b
    Examples:
      rllib-agentmixer train predator_prey --steps 300000 env.penalty=-1 igc=gumbel
      rllib-agentmixer train my_package.envs:make --workers 2 lr=1e-3 num_envs_per_env_runner=16
    """
    from rllib_agentmixer import training
    from rllib_agentmixer.local_ray import start_ray
    from rllib_agentmixer.progress import LiveProgress
    from rllib_agentmixer.settings import check_unchanged, parse_settings

    out = options["out"] or Path("runs") / f"{options['algo']}-{env.replace(':', '-')}"
    config = make_config(env, options["algo"], options["seed"], options["workers"], settings)
    minutes = options["minutes"]
    steps = options["steps"] or (None if minutes else 300_000)
    plan = training.RunPlan(
        out=out,
        total_steps=steps,
        time_limit_s=minutes and 60 * minutes,
        checkpoint_every=options["checkpoint_every"],
        resume=options["resume"],
        tracking_uri=options["tracking_uri"],
        use_mlflow=not options["no_mlflow"],
    )
    with training.preparing(plan):
        start_ray(training.read_workers(out) if plan.resume else training.num_workers(vars(config)))
    algorithm = training.build(config, plan)
    if plan.resume:
        check_unchanged(algorithm.config, parse_settings(settings))
    outcome = training.run(algorithm, plan, LiveProgress(plan.total_steps, plan.time_limit_s))
    last = outcome.rows[-1] if outcome.rows else {}
    report = {
        "env_steps": last.get("env_steps", 0),
        "joint_return": last.get("env_runners/episode_return_mean"),
        "individual_return": _last_value(outcome.rows, "evaluation/individual/episode_return_mean"),
        "checkpoint": str(outcome.checkpoint),
        "interrupted": outcome.was_interrupted,
    }
    algorithm.stop()
    show(report, options["as_json"], title=f"{options['algo']} on {env}")
    if not options["as_json"]:
        click.echo(f"next: rllib-agentmixer export {outcome.checkpoint} --out {out / 'exported'}")
    if outcome.signal_number is not None:
        sys.exit(128 + outcome.signal_number)


def _last_value(rows: list[dict[str, float]], key: str) -> float | None:
    return next((row[key] for row in reversed(rows) if key in row), None)
