"""A team as trained so far: all that playing, exporting and analysing need. Free of Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rllib_agentmixer.core.algorithms.entry import AlgorithmEntry
from rllib_agentmixer.core.data.action_scaling import ActionScaling, action_scaling
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.generators import seeded
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.core.teams.team_module import TeamModule
from rllib_agentmixer.envs.registry import env_name
from rllib_agentmixer.envs.team_gym import TeamEnvCreator
from rllib_agentmixer.envs.vector_env import TeamSpec, VectorTeamEnv
from rllib_agentmixer.rollouts.actor import PolicyKind, TeamActor
from rllib_agentmixer.rollouts.episodes import MOST_EPISODE_STEPS, EpisodeRecord
from rllib_agentmixer.rollouts.obs_moments import ObsFilter
from rllib_agentmixer.rollouts.play import play, render
from rllib_agentmixer.utils.exact_json import encode


def team_sizes(spec: TeamSpec) -> TeamSizes:
    """Sizes of a team that shape its networks."""
    return TeamSizes(spec.obs_sizes, spec.state_size, spec.action_kind, spec.action_sizes)


def team_scaling(
    spec: TeamSpec, *, normalize_actions: bool, clip_actions: bool
) -> ActionScaling | None:
    """Scaling of continuous actions under RLlib's two settings; None for discrete teams."""
    if spec.action_low is None or spec.action_high is None:
        return None
    return action_scaling(
        spec.action_low,
        spec.action_high,
        normalize_actions=normalize_actions,
        clip_actions=clip_actions,
    )


def environment_stamp(env: Any, env_config: Mapping[str, Any], spec: TeamSpec) -> dict[str, Any]:
    """Rules, arguments and reward scale of an environment, by which results can be compared.

    Arguments are as :func:`~rllib_agentmixer.utils.exact_json.encode` writes them.
    """
    return {
        "name": env_name(env),
        "version": spec.version,
        "config": encode(dict(env_config), "env_config"),
        "team_reward": spec.team_reward,
    }


@dataclass(frozen=True, eq=False)
class Team:
    """A team as trained so far.

    Attributes:
        entry: of the algorithm.
        settings: of the algorithm.
        spec: names and sizes of the team.
        module: its networks.
        layout: of joint observations.
        scaling: from policy to environment actions; None for discrete teams.
        obs_filter: standardises observations, or None.
        env_creator: builds the environment.
        env_config: arguments of the environment.
        stamp: rules, arguments and reward scale of the environment.
        env_steps: joint environment steps that it was trained for.
        rllib: RLlib's settings that decide how it plays, by name.
    """

    entry: AlgorithmEntry
    settings: TeamSettings
    spec: TeamSpec
    module: TeamModule
    layout: TeamLayout
    scaling: ActionScaling | None
    obs_filter: ObsFilter | None
    env_creator: TeamEnvCreator
    env_config: Mapping[str, Any]
    stamp: dict[str, Any]
    env_steps: int
    rllib: Mapping[str, Any] = field(default_factory=dict)

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is cut, as evaluation in training has it."""
        return self.rllib.get("evaluation_max_steps", MOST_EPISODE_STEPS)

    def actor(self, generator: torch.Generator) -> TeamActor:
        """Actor of this team with its own source of noise."""
        return TeamActor(self.module, self.layout, generator, self.scaling)

    def vector_env(self, num_envs: int, **config: Any) -> VectorTeamEnv:
        """B sub-environments of the team's own; ``config`` overrides arguments."""
        return self.env_creator.vector({**self.env_config, **config}, num_envs)

    def play(
        self,
        num_episodes: int,
        *,
        policy: PolicyKind,
        explore: bool,
        seed: int | None,
        num_envs: int,
        max_steps: int | None = None,
    ) -> list[EpisodeRecord]:
        """Play episodes in fresh sub-environments.

        Args:
            num_episodes: exactly as many are played.
            policy: joint, or individual as deployed.
            explore: sample actions instead of taking modes.
            seed: of environments and noise; None draws fresh ones.
            num_envs: sub-environments that are stepped together.
            max_steps: after which an episode is cut; None for ``evaluation_max_steps``.
        """
        env = self.vector_env(num_envs)
        try:
            return play(
                self.actor(seeded(seed)),
                env,
                num_episodes,
                policy=policy,
                explore=explore,
                seed=seed,
                row_filter=self.obs_filter and self.obs_filter.standardize,
                max_steps=max_steps or self.max_episode_steps,
            )
        finally:
            env.close()

    def render(self, *, policy: PolicyKind, explore: bool, seed: int) -> list[np.ndarray]:
        """Pictures of one episode, first to last.

        Raises:
            EnvContractError: the environment renders nothing.
        """
        env = self.vector_env(1, render_mode="rgb_array")
        try:
            return render(
                self.actor(seeded(seed)),
                env,
                policy=policy,
                explore=explore,
                seed=seed,
                row_filter=self.obs_filter and self.obs_filter.standardize,
                max_steps=self.max_episode_steps,
            )
        finally:
            env.close()
