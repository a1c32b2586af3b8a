"""Command ``evaluate``: play a checkpoint or an export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rllib_agentmixer.commands.common import load_team
from rllib_agentmixer.commands.reports import json_option, show
from rllib_agentmixer.errors import ConfigError


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--episodes", type=click.IntRange(1), default=100, show_default=True)
@click.option(
    "--policy", type=click.Choice(["individual", "joint"]), help="Default: both, side by side."
)
@click.option("--sample", is_flag=True, help="Sample actions instead of taking modes.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--render", type=click.Path(path_type=Path), help="Write one episode as GIF.")
@click.option("--env", help="To play in; needed if it is none of this package's.")
@click.option("--algo", help="MODULE:NAME of an algorithm of your own.")
@click.option("--best", is_flag=True, help="Of a run's folder, the best checkpoint.")
@json_option()
def evaluate(checkpoint: Path, policy: str | None, as_json: bool, **options: Any) -> None:
    """Play a CHECKPOINT, that of a run's folder, or an export."""
    from rllib_agentmixer.runtime import MANIFEST

    if (checkpoint / MANIFEST).is_file():
        from rllib_agentmixer.play import play_export

        if policy == "joint":
            raise ConfigError(f"{checkpoint} is an export, which holds no joint policy")
        results = {
            "individual": play_export(
                checkpoint,
                options["episodes"],
                seed=options["seed"],
                explore=options["sample"],
                gif=options["render"],
                env=options["env"],
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
    best: bool,
    env: str | None,
    algo: str | None,
) -> dict[str, Any]:
    from rllib_agentmixer.rollouts.evaluation import summarize
    from rllib_agentmixer.rollouts.play import MOST_ENVS

    team = load_team(checkpoint, best=best, env=env, algo=algo)
    results: dict[str, Any] = {}
    kinds: tuple[Any, ...] = (policy,) if policy else ("individual", "joint")
    for kind in kinds:
        records = team.play(
            episodes, policy=kind, explore=sample, seed=seed, num_envs=min(episodes, MOST_ENVS)
        )
        results[kind] = summarize(records, team.spec.agents)
    if policy is None:
        returns = [results[kind]["episode_return_mean"] for kind in ("joint", "individual")]
        results["central_gap"] = returns[0] - returns[1]
    results["environment"] = team.stamp
    if render is not None:
        from rllib_agentmixer.utils.figures import save_gif

        save_gif(team.render(policy=kinds[0], explore=sample, seed=seed), render)
        results["gif"] = str(render)
    return results
