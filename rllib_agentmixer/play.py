"""Play exported policies in their environment without Ray.

python -m rllib_agentmixer.play exported/ --episodes 100 --render episode.gif
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rllib_agentmixer.envs import make_env
from rllib_agentmixer.envs.registry import trusted_environment
from rllib_agentmixer.errors import AgentMixerError
from rllib_agentmixer.runtime import IndividualPolicy, load_policies, read_manifest


@dataclass(frozen=True)
class Episode:
    """One episode of decentralised play.

    Attributes:
        episode_return: team reward summed over the episode.
        length: steps.
        frames: RGB pictures, if they were requested.
    """

    episode_return: float
    length: int
    frames: list[np.ndarray]


def play_episode(
    env: Any,
    policies: dict[str, IndividualPolicy],
    *,
    seed: int,
    explore: bool = False,
    team_reward: str = "shared",
    render: bool = False,
) -> Episode:
    """Let every agent act on its own observation until the episode ends.

    An agent that joins late, or comes back, starts with a fresh recurrent state.
    """
    observations, infos = env.reset(seed=seed)
    states = {agent: policy.initial_state() for agent, policy in policies.items()}
    total, length = 0.0, 0
    frames = [env.render()] if render else []
    while env.agents:
        actions = {}
        for agent in env.agents:
            mask = infos.get(agent, {}).get("action_mask")
            actions[agent], states[agent] = policies[agent].act(
                observations[agent], states[agent], mask, explore=explore
            )
        for agent in policies.keys() - actions.keys():
            states[agent] = policies[agent].initial_state()
        observations, rewards, _, _, infos = env.step(actions)
        own = list(rewards.values())
        total += float(np.sum(own) if team_reward == "sum" else np.mean(own))
        length += 1
        if render:
            frames.append(env.render())
    return Episode(total, length, frames)


def play_export(
    folder: Path,
    num_episodes: int,
    *,
    seed: int = 0,
    explore: bool = False,
    gif: Path | None = None,
    env: str | None = None,
) -> dict[str, Any]:
    """Play an export in the environment that it was trained in.

    Args:
        folder: the export.
        num_episodes: to play.
        seed: of the first episode; the next ones count up.
        explore: sample actions instead of taking modes.
        gif: where to draw one episode.
        env: environment; needed where that of the export is none of this package's, since a
            file must not choose which code is called.

    Returns:
        Return mean, standard deviation, minimum and maximum, mean length, the number of
        episodes and the environment; ``uses_ray`` is whether anything imported Ray.
    """
    manifest = read_manifest(folder)
    policies = load_policies(folder)
    environment = manifest["environment"]
    settings = dict(environment["config"])
    name = trusted_environment(environment["name"], env)
    parallel_env = make_env(name, **settings)
    reward = environment["team_reward"]
    for index, policy in enumerate(policies.values()):
        policy.seed(seed + index)
    episodes = [
        play_episode(parallel_env, policies, seed=seed + i, explore=explore, team_reward=reward)
        for i in range(num_episodes)
    ]
    parallel_env.close()
    if gif is not None:
        _record(name, settings, policies, seed, gif)
    returns = np.array([episode.episode_return for episode in episodes])
    return {
        "episode_return_mean": float(returns.mean()),
        "episode_return_std": float(returns.std()),
        "episode_return_min": float(returns.min()),
        "episode_return_max": float(returns.max()),
        "episode_len_mean": float(np.mean([episode.length for episode in episodes])),
        "num_episodes": num_episodes,
        "environment": environment,
        "uses_ray": sys.modules.get("ray") is not None,
    }


def _record(
    name: str, settings: dict[str, Any], policies: dict[str, IndividualPolicy], seed: int, gif: Path
) -> None:
    from rllib_agentmixer.utils.figures import save_gif

    env = make_env(name, **{**settings, "render_mode": "rgb_array"})
    save_gif(play_episode(env, policies, seed=seed, render=True).frames, gif)
    env.close()


def main(arguments: list[str] | None = None) -> int:
    """Command line: prints the results as JSON; 2 on an error that the user can fix."""
    parser = argparse.ArgumentParser(description="Play exported policies without Ray.")
    parser.add_argument("export", type=Path)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sample", action="store_true", help="sample actions instead of modes")
    parser.add_argument("--render", type=Path, help="write one episode as GIF")
    parser.add_argument("--env", help="to play in; needed if it is none of this package's")
    chosen = parser.parse_args(arguments)
    try:
        results = play_export(
            chosen.export,
            chosen.episodes,
            seed=chosen.seed,
            explore=chosen.sample,
            gif=chosen.render,
            env=chosen.env,
        )
    except AgentMixerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(json.dumps(results) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
