"""Play exported policies in their environment without Ray.

python -m rllib_agentmixer.play exported/ --episodes 100 --render episode.gif
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rllib_agentmixer.core.data.batch import RecurrentState
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.envs import make_env, make_vector_env
from rllib_agentmixer.envs.construction import package_of
from rllib_agentmixer.envs.registry import trusted_environment
from rllib_agentmixer.envs.stepping.presence import Presence
from rllib_agentmixer.envs.vector_env import TeamSpec
from rllib_agentmixer.errors import AgentMixerError, EnvContractError, ExportError
from rllib_agentmixer.rollouts.actor import ActionOutput
from rllib_agentmixer.rollouts.episodes import MOST_EPISODE_STEPS
from rllib_agentmixer.rollouts.evaluation import summarize
from rllib_agentmixer.rollouts.play import MOST_ENVS, play
from rllib_agentmixer.rollouts.team import team_sizes
from rllib_agentmixer.runtime import IndividualPolicy, load_policies, read_manifest
from rllib_agentmixer.utils.exact_json import decode


@dataclass(frozen=True)
class Episode:
    """One episode of decentralised play.

    Attributes:
        episode_return: team reward summed over the episode.
        length: steps.
        frames: RGB pictures, if they were requested.
        is_cut: it reached the bound on its steps.
    """

    episode_return: float
    length: int
    frames: list[np.ndarray]
    is_cut: bool = False


def play_episode(
    env: Any,
    policies: Mapping[Any, IndividualPolicy],
    *,
    seed: int,
    explore: bool = False,
    team_reward: str = "shared",
    render: bool = False,
    max_steps: int = MOST_EPISODE_STEPS,
) -> Episode:
    """Let every agent act on its own observation until the episode ends.

    An agent that joins late, or comes back, starts with a fresh recurrent state. Rewards count
    for the agents that act, as in training.
    """
    observations, infos = env.reset(seed=seed)
    presence = Presence()
    presence.begin(env.agents)
    states = {agent: policy.initial_state() for agent, policy in policies.items()}
    total, length = 0.0, 0
    frames = [env.render()] if render else []
    while presence.living and length < max_steps:
        living = presence.living
        if missing := living - policies.keys():
            raise EnvContractError(f"no policy for the agents {sorted(map(str, missing))}")
        actions = _choose(policies, states, presence, observations, infos, explore=explore)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        own = [float(rewards[agent]) for agent in living]
        total += sum(own) if team_reward == "sum" else sum(own) / len(own)
        length += 1
        presence.follow(env.agents, terminated, truncated)
        if render:
            frames.append(env.render())
    return Episode(total, length, frames, is_cut=bool(presence.living))


def _choose(
    policies: Mapping[Any, IndividualPolicy],
    states: dict[Any, Any],
    presence: Presence,
    observations: Mapping[Any, Any],
    infos: Mapping[Any, Any],
    *,
    explore: bool,
) -> dict[Any, Any]:
    """Actions of all agents that the environment lists; recurrent states move on."""
    living, actions = presence.living, {}
    for agent, policy in policies.items():
        if agent in living:
            mask = (infos.get(agent) or {}).get("action_mask")
            actions[agent], states[agent] = policy.act(
                observations[agent], states[agent], mask, explore=explore
            )
            continue
        states[agent] = policy.initial_state()
        if agent in presence.listed:  # it has ended
            actions[agent] = policy.act(torch.zeros(policy.reader.size))[0]
    # As spaces sample them: environments call methods of NumPy's integers.
    return {name: np.int64(a) if type(a) is int else a for name, a in actions.items()}


class ExportedTeam:
    """Actor of B teams of exported policies, each of which sees its own observation alone.

    Args:
        policies: by agent name.
        spec: of the environment's team.

    Raises:
        ExportError: the environment's agents are others than those of training.
    """

    def __init__(self, policies: Mapping[Any, IndividualPolicy], spec: TeamSpec) -> None:
        by_name = {str(agent): policy for agent, policy in policies.items()}
        sizes = tuple((policy.reader.size) for policy in by_name.values())
        if tuple(by_name) != spec.agents or sizes != spec.obs_sizes:
            raise ExportError(
                f"the policies are of {list(by_name)} with observations of {list(sizes)} numbers, "
                f"the environment {spec.name} has {list(spec.agents)} with {list(spec.obs_sizes)}"
            )
        self.policies = list(by_name.values())
        self.layout = TeamLayout(team_sizes(spec))
        self.spec = spec

    def initial_state(self, num_envs: int) -> RecurrentState | None:
        """Recurrent state at the start of an episode; None for feed-forward policies."""
        state = self.policies[0].initial_state()
        if state is None:
            return None
        return RecurrentState(torch.zeros(len(self.policies), num_envs, state.shape[-1]))

    @torch.inference_mode()
    def act(
        self, rows: np.ndarray, hidden: RecurrentState | None, *, explore: bool, policy: str
    ) -> ActionOutput:
        """Environment actions for rows [B, F]."""
        inputs = self.layout.inputs(torch.from_numpy(rows))
        chosen, states = [], []
        for index, one in enumerate(self.policies):
            size, num_actions = one.network.sizes.obs_size, one.network.sizes.num_actions
            heads, state = one.heads(
                inputs.obs[:, index, :size],
                inputs.action_mask[:, index, :num_actions],
                hidden.individual[index : index + 1] if hidden else None,
            )
            choice = one.choose(heads, explore)
            states.append(state)
            if self.spec.action_kind == "continuous":
                scaled = one.preprocessing.continuous_action(choice)
                pad = self.spec.num_actions - num_actions
                choice = torch.nn.functional.pad(scaled, (0, pad))
            chosen.append(choice)
        after = RecurrentState(torch.cat(states)) if hidden else None
        actions = torch.stack(chosen, 1).numpy()
        return ActionOutput(actions, np.empty((len(rows), 0), np.float32), after)

    def to_env(self, actions: np.ndarray) -> np.ndarray:
        """Actions as they are: policies answer in the environment's units."""
        return actions


def play_export(
    folder: Path,
    num_episodes: int,
    *,
    seed: int = 0,
    explore: bool = False,
    gif: Path | None = None,
    env: Any = None,
    max_steps: int = MOST_EPISODE_STEPS,
) -> dict[str, Any]:
    """Play an export in its environment.

    Episodes are those of ``rllib-agentmixer evaluate`` with the same seed and number.

    Args:
        folder: the export.
        num_episodes: to play.
        seed: of all episodes.
        explore: sample actions instead of taking modes.
        gif: where to draw one episode.
        env: environment; needed where that of the export is none of this package's, since a
            file must not choose which code is called.
        max_steps: after which an episode is cut.

    Returns:
        What evaluation reports (return mean, standard deviation, minimum and maximum, mean
        length, ..) and the environment; ``uses_ray`` is whether anything imported Ray.
    """
    manifest = read_manifest(folder)
    policies = load_policies(folder)
    environment = manifest["environment"]
    name = trusted_environment(environment["name"], env)
    settings = _env_config(folder, environment["config"], name)
    _seed(policies, seed)
    vector_env = make_vector_env(
        name,
        min(num_episodes, MOST_ENVS),
        config=settings,
        team_reward=environment["team_reward"],
        agents=tuple(map(str, policies)),
    )
    with contextlib.closing(vector_env):
        records = play(
            ExportedTeam(policies, vector_env.spec),
            vector_env,
            num_episodes,
            policy="individual",
            explore=explore,
            seed=seed,
            max_steps=max_steps,
        )
    if gif is not None:
        _record(name, settings, policies, seed, gif)
    return {
        **summarize(records, vector_env.spec.agents),
        "environment": environment,
        "uses_ray": sys.modules.get("ray") is not None,
    }


def _seed(policies: Mapping[Any, IndividualPolicy], seed: int) -> None:
    for index, policy in enumerate(policies.values()):
        policy.seed(seed + index)


def _env_config(folder: Path, encoded: dict[str, Any], name: Any) -> dict[str, Any]:
    try:
        return decode(encoded, package_of(name))
    except ValueError as error:
        raise ExportError(f"env_config in {folder} cannot be read: {error}") from error


def _record(
    name: Any,
    settings: dict[str, Any],
    policies: Mapping[Any, IndividualPolicy],
    seed: int,
    gif: Path,
) -> None:
    from rllib_agentmixer.utils.figures import save_gif

    env = make_env(name, **{**settings, "render_mode": "rgb_array"})
    save_gif(play_episode(env, policies, seed=seed, render=True).frames, gif)
    env.close()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Command line: prints the results as JSON; 2 on an error that the user can fix."""
    parser = argparse.ArgumentParser(description="Play exported policies without Ray.")
    parser.add_argument("export", type=Path)
    parser.add_argument("--episodes", type=_positive, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sample", action="store_true", help="sample actions instead of modes")
    parser.add_argument("--render", type=Path, help="write one episode as GIF")
    parser.add_argument("--env", help="to play in; needed if it is none of this package's")
    parser.add_argument(
        "--max-steps", type=_positive, default=MOST_EPISODE_STEPS, help="cut longer episodes"
    )
    chosen = parser.parse_args(arguments)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # environments print; JSON stands alone
            results = play_export(
                chosen.export,
                chosen.episodes,
                seed=chosen.seed,
                explore=chosen.sample,
                gif=chosen.render,
                env=chosen.env,
                max_steps=chosen.max_steps,
            )
    except AgentMixerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(json.dumps(results) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
