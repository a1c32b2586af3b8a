"""A team as one gymnasium environment, as RLlib's stock components see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from rllib_agentmixer.envs import make_vector_env
from rllib_agentmixer.envs.vector_env import TeamObs, TeamReward, TeamSpec, VectorTeamEnv


class TeamSpace(spaces.Dict):
    """Joint observation of a team; carries the team's spec, from which models take their sizes.

    Args:
        spec: the team.
    """

    def __init__(self, spec: TeamSpec) -> None:
        n, unbounded = spec.num_agents, {"low": -np.inf, "high": np.inf, "dtype": np.float32}
        super().__init__(
            {
                "action_mask": spaces.Box(0, 1, (n, spec.num_actions), np.float32),
                "alive": spaces.Box(0, 1, (n,), np.float32),
                "obs": spaces.Box(shape=(n, spec.obs_size), **unbounded),
                "state": spaces.Box(shape=(spec.state_size,), **unbounded),
            }
        )
        self.spec = spec


def joint_action_space(spec: TeamSpec) -> spaces.Space:
    """One number per agent, or all agents' action vectors in a row [N * A]."""
    if spec.action_kind == "discrete":
        return spaces.MultiDiscrete([spec.num_actions] * spec.num_agents)
    if spec.action_low is None or spec.action_high is None:
        raise ValueError(f"continuous team {spec.name!r} has no action bounds in its spec")
    return spaces.Box(spec.action_low.reshape(-1), spec.action_high.reshape(-1), dtype=np.float32)


class TeamGymEnv(gymnasium.Env):
    """Facade over a :class:`VectorTeamEnv` of one environment, for single-agent algorithms.

    The vectorized worker keeps its B sub-environments behind the same facade and steps them
    directly.

    Args:
        vector_env: the vectorized environment; stepping through this class requires B = 1.
    """

    def __init__(self, vector_env: VectorTeamEnv) -> None:
        self.metadata = {"render_modes": ["rgb_array"]}
        self.vector_env = vector_env
        self.observation_space = TeamSpace(vector_env.spec)
        self.action_space = joint_action_space(vector_env.spec)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        """Start an episode (in all sub-environments)."""
        super().reset(seed=seed)
        return _as_dict(self.vector_env.reset(seed)), {}

    def step(self, action: np.ndarray) -> tuple:
        """Step the single environment; at the end of an episode returns its final observation."""
        if self.vector_env.num_envs != 1:
            raise ValueError(
                f"step() of the gymnasium facade needs 1 sub-environment, this one has "
                f"{self.vector_env.num_envs}; step its vector_env instead"
            )
        spec = self.vector_env.spec
        shape = (1, spec.num_agents) if spec.action_kind == "discrete" else (1, spec.num_agents, -1)
        step = self.vector_env.step(np.asarray(action).reshape(shape))
        return (
            _as_dict(step.final_observation),
            float(step.reward[0]),
            bool(step.terminated[0]),
            bool(step.truncated[0]),
            {name: value[0] for name, value in step.info.items()},
        )

    def render(self) -> np.ndarray | None:
        """RGB picture of the first sub-environment."""
        return self.vector_env.render(0)

    def close(self) -> None:
        """Close the sub-environments."""
        self.vector_env.close()


def _as_dict(observation: TeamObs) -> dict[str, np.ndarray]:
    return {name: value[0].astype(np.float32) for name, value in vars(observation).items()}


@dataclass(frozen=True)
class TeamEnvCreator:
    """RLlib's environment creator; picklable, so remote workers build the same environment.

    Attributes:
        source: a name from ENVS, an import path, or a function that returns a ParallelEnv.
        team_reward: how the agents' rewards are combined (``shared``, ``sum``, ``mean``); None
            for the environment's default.
        restart_failed: replace sub-environments that crash.
        step_time_limit_s: time limit of a sub-environment's step or reset; None for no limit.
        agents: order of the team, the same in every process; None for the environment's own.
    """

    source: str | Callable[..., Any]
    team_reward: TeamReward | None = None
    restart_failed: bool = False
    step_time_limit_s: float | None = None
    agents: tuple[str, ...] | None = None

    def __call__(self, env_config: dict[str, Any]) -> TeamGymEnv:
        """One environment behind the gymnasium facade."""
        return TeamGymEnv(self.vector(env_config, 1))

    def vector(self, env_config: Mapping[str, Any], num_envs: int) -> VectorTeamEnv:
        """B sub-environments, stepped as arrays."""
        return make_vector_env(
            self.source,
            num_envs,
            config=env_config,
            team_reward=self.team_reward,
            restart_failed=self.restart_failed,
            step_time_limit_s=self.step_time_limit_s,
            agents=self.agents,
        )
