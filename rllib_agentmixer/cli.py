"""Command line: train, evaluate, export, list, check-env, demo.

Ray is imported only by what needs it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rllib_agentmixer import __version__
from rllib_agentmixer.check_env import check_env
from rllib_agentmixer.errors import CheckpointError, ConfigError, user_error
from rllib_agentmixer.files import recover_interrupted
from rllib_agentmixer.local_ray import keep_ray_private
from rllib_agentmixer.reports import show

if TYPE_CHECKING:
    from rllib_agentmixer.algorithms.team_algorithm import TeamAlgorithm
    from rllib_agentmixer.algorithms.team_config import TeamConfig


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """AgentMixer on RLlib: train a team together, deploy its members apart."""


@cli.command()
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


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--episodes", type=click.IntRange(1), default=100, show_default=True)
@click.option(
    "--policy", type=click.Choice(["individual", "joint"]), help="Default: both, side by side."
)
@click.option("--sample", is_flag=True, help="Sample actions instead of taking modes.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--render", type=click.Path(path_type=Path), help="Write one episode as GIF.")
@click.option("--json", "as_json", is_flag=True)
def evaluate(checkpoint: Path, policy: str | None, as_json: bool, **options: Any) -> None:
    """Play a CHECKPOINT, or an export folder (then without Ray)."""
    from rllib_agentmixer.runtime import MANIFEST

    if (checkpoint / MANIFEST).is_file():
        from rllib_agentmixer.play import play_export

        if policy == "joint":
            raise ConfigError(f"{checkpoint} is an export: it holds no joint policy")
        results = {
            "individual": play_export(
                checkpoint,
                options["episodes"],
                seed=options["seed"],
                explore=options["sample"],
                gif=options["render"],
            )
        }
    else:
        results = _evaluate_checkpoint(checkpoint, policy, **options)
    show(results, as_json, title=str(checkpoint))


def _evaluate_checkpoint(
    checkpoint: Path,
    policy: str | None,
    *,
    episodes: int,
    sample: bool,
    seed: int,
    render: Path | None,
) -> dict[str, Any]:
    from rllib_agentmixer.algorithms.evaluation import summarize

    algorithm = load_algorithm(checkpoint)
    worker = algorithm.team_worker
    results: dict[str, Any] = {}
    kinds: tuple[Any, ...] = (policy,) if policy else ("individual", "joint")
    for kind in kinds:
        records = worker.play_episodes(
            episodes, policy=kind, explore=sample, seed=seed, num_envs=min(episodes, 32)
        )
        results[kind] = summarize(records, algorithm.team_spec.agents)
    if policy is None:
        returns = [results[kind]["episode_return_mean"] for kind in ("joint", "individual")]
        results["central_gap"] = returns[0] - returns[1]
    results["environment"] = algorithm.config.environment_stamp(algorithm.team_spec)
    if render is not None:
        from rllib_agentmixer.media import save_gif

        frames = worker.render_episode(policy=kinds[0], explore=sample, seed=seed)
        save_gif(frames, render)
        results["gif"] = str(render)
    algorithm.stop()
    return results


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--json", "as_json", is_flag=True)
def export(checkpoint: Path, out: Path, as_json: bool) -> None:
    """Export the individual policies of a CHECKPOINT and prove that they act alike."""
    from rllib_agentmixer.export import export_policies

    algorithm = load_algorithm(checkpoint)
    manifest = export_policies(algorithm, out)
    algorithm.stop()
    report = {
        "out": str(out),
        "agents": [entry["name"] for entry in manifest["agents"]],
        "parity": manifest["parity"],
    }
    show(report, as_json, title="export")
    if not as_json:
        click.echo(f"next: python -m rllib_agentmixer.play {out} --episodes 100")


@cli.command(name="list")
@click.option("--algo", default="agentmixer", show_default=True, help="Whose settings to show.")
@click.option("--json", "as_json", is_flag=True)
def list_all(algo: str, as_json: bool) -> None:
    """Environments, algorithms, and what can be set."""
    from rllib_agentmixer.algorithms import ALGORITHMS
    from rllib_agentmixer.core.hyperparameters import setting_rows
    from rllib_agentmixer.envs import ENVS

    content = {
        "environments": {name: entry.summary for name, entry in ENVS.items()},
        "algorithms": {name: make.__doc__ for name, make in ALGORITHMS.items()},
        "settings": setting_rows(algo),
    }
    if as_json:
        click.echo(json.dumps(content, default=str))
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


@cli.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"))
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=2.8)
@click.option("--seed", type=int, default=0, show_default=True)
def demo(out: Path, minutes: float, seed: int) -> None:
    """Train predator-prey for three minutes, evaluate, export, play without Ray, draw."""
    from rllib_agentmixer.demo import run_demo

    run_demo(out, minutes, seed)


cli.add_command(check_env)


def make_config(
    env: str, algo: str, seed: int, workers: int, settings: tuple[str, ...]
) -> TeamConfig:
    """A checked configuration from the command line's words."""
    from rllib_agentmixer.algorithms import ALGORITHMS
    from rllib_agentmixer.settings import apply_settings, parse_settings
    from rllib_agentmixer.suggest import unknown_name

    if algo not in ALGORITHMS:
        raise ConfigError(unknown_name("algorithm", algo, ALGORITHMS))
    config = ALGORITHMS[algo]()()
    config.environment(env)
    config.env_runners(num_env_runners=workers)
    config.evaluation(evaluation_interval=5)
    config.debugging(seed=seed)
    apply_settings(config, parse_settings(settings))
    config.validate()
    # Spaces and arguments of the environment are checked before any worker starts.
    config.env_creator().vector(config.env_config, 1).close()
    return config


def load_algorithm(checkpoint: Path) -> TeamAlgorithm:
    """An algorithm from a checkpoint (or the folder of its run), with local workers only."""
    from rllib_agentmixer import training
    from rllib_agentmixer.local_ray import start_ray

    folder = checkpoint
    for place in (checkpoint, checkpoint / training.CHECKPOINT):
        recover_interrupted(place)
    if (checkpoint / training.CHECKPOINT).is_dir():
        folder = checkpoint / training.CHECKPOINT
    if not folder.is_dir():
        raise CheckpointError(f"{folder} does not exist; give the folder that training wrote")
    from rllib_agentmixer.algorithms.team_algorithm import load_locally

    start_ray(0)
    algorithm: TeamAlgorithm = load_locally(folder)
    return algorithm


def _last_value(rows: list[dict[str, float]], key: str) -> float | None:
    return next((row[key] for row in reversed(rows) if key in row), None)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors that the user can mend are one line and status 2."""
    keep_ray_private()
    # A module:function may lie in the current folder; last, so that it hides no library.
    sys.path.append(str(Path.cwd()))
    try:
        cli.main(args=arguments, prog_name="rllib-agentmixer", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except Exception as error:
        known = user_error(error)
        if known is None:
            raise
        click.echo(f"error: {known}", err=True)
        sys.exit(2)
