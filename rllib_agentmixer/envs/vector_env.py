"""The interface between environments and rollouts: B sub-environments of a team as arrays.

Axes: B sub-environments, N agents, O observation features (padded to the largest agent), S state
features, A actions or action dimensions (padded likewise). Native environments implement
:class:`VectorTeamEnv` directly; any PettingZoo ``ParallelEnv`` is adapted by
:class:`rllib_agentmixer.envs.stepping.loop_vector_env.LoopVectorEnv`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

TeamReward = Literal["shared", "sum", "mean"]
"""Combination of the agents' rewards; ``shared`` asserts that they are equal."""


@dataclass(frozen=True, eq=False)
class TeamSpec:
    """Specification of a team (names, sizes, kinds), from which networks are built.

    Agents are ordered; row i of every array belongs to ``agents[i]``.
    """

    name: str
    """Environment name as given by the user, for metadata of results and exports."""

    agents: tuple[str, ...]
    obs_sizes: tuple[int, ...]
    """Features of each agent's flattened observation, before padding."""

    state_size: int
    state_kind: Literal["env", "concatenated"]
    """``env``: the environment's ``state()``; ``concatenated``: all observations."""

    action_kind: Literal["discrete", "continuous"]
    action_sizes: tuple[int, ...]
    """Number of actions (discrete) or action dimensions (continuous) of each agent."""

    action_low: FloatArray | None = None
    """[N, A] lower bounds of continuous actions (0 in padding); None for discrete teams."""

    action_high: FloatArray | None = None
    """[N, A] upper bounds of continuous actions (0 in padding); None for discrete teams."""

    obs_shapes: tuple[tuple[int, ...], ...] = ()
    """Unflattened observation shapes; empty means one-dimensional, as ``obs_sizes``."""

    has_action_mask: bool = False
    """True if the environment itself masks actions (padding is always masked)."""

    version: str = "0"

    team_reward: TeamReward = "shared"
    """Combination of the agents' rewards, which sets the scale of every return."""

    @property
    def sizes(self) -> dict[str, Any]:
        """What networks are built for: names of the agents, sizes, kind of actions."""
        return {
            "agents": list(self.agents),
            "obs_sizes": list(self.obs_sizes),
            "state_size": self.state_size,
            "action_kind": self.action_kind,
            "action_sizes": list(self.action_sizes),
        }

    @property
    def num_agents(self) -> int:
        return len(self.agents)

    @property
    def obs_size(self) -> int:
        return max(self.obs_sizes)

    @property
    def num_actions(self) -> int:
        return max(self.action_sizes)

    @property
    def action_valid(self) -> BoolArray:
        """[N, A], False where an agent's actions are padding."""
        sizes = np.asarray(self.action_sizes)[:, None]
        return np.arange(self.num_actions)[None, :] < sizes


@dataclass(frozen=True, eq=False)
class TeamObs:
    """Observation of B sub-environments. Arrays may be reused by the next step."""

    obs: FloatArray
    """[B, N, O] each agent's own observation, zero-padded."""

    state: FloatArray
    """[B, S] global state; available in training only."""

    action_mask: BoolArray
    """[B, N, A] True where legal. Rows of dead agents hold the spec's ``action_valid``."""

    alive: BoolArray
    """[B, N] False for agents that have left the episode."""


@dataclass(frozen=True, eq=False)
class TeamStep:
    """Result of one step of B sub-environments. Sub-environments that ended are already reset."""

    observation: TeamObs
    """Next observation; the first one of the new episode where an episode ended."""

    reward: FloatArray
    """[B] team reward."""

    agent_rewards: FloatArray
    """[B, N] rewards as returned by the environment."""

    terminated: BoolArray
    """[B] the episode reached a terminal state: its value is 0."""

    truncated: BoolArray
    """[B] the episode was cut (time limit): its value is bootstrapped. Never both."""

    final_observation: TeamObs
    """Last observation of the sub-environments that ended; other rows equal ``observation``'s."""

    faulty: BoolArray
    """[B] the sub-environment crashed and was restarted; its episode does not count."""

    info: dict[str, np.ndarray] = field(default_factory=dict)
    """[B] diagnostics per sub-environment, such as ``won``."""


class VectorTeamEnv(ABC):
    """Vectorized environment: B sub-environments with automatic resets."""

    spec: TeamSpec
    num_envs: int

    @abstractmethod
    def reset(self, seed: int | None = None) -> TeamObs:
        """Start new episodes everywhere; the seed determines all randomness from here on."""

    @abstractmethod
    def step(self, actions: np.ndarray) -> TeamStep:
        """Step every sub-environment by one joint action.

        Args:
            actions: [B, N] integers, or [B, N, A] floats within the action bounds.
        """

    @abstractmethod
    def get_state(self) -> Any:
        """A picklable snapshot from which :meth:`set_state` continues exactly.

        Returns None where the environment cannot be copied; resumed training then starts
        with fresh episodes.
        """

    @abstractmethod
    def set_state(self, snapshot: Any) -> None:
        """Continue from a snapshot of :meth:`get_state`."""

    on_replaced: Callable[[int], None] | None = None
    """Called with the index of a sub-environment that crashed, once it is replaced."""

    def sub_environments(self) -> list[Any]:
        """[B] environments as their creator returned them; a batched form stands for each."""
        return [self] * self.num_envs

    def last_infos(self, env_index: int) -> Mapping[Any, Any]:
        """Infos by agent of a sub-environment's last step, before an automatic reset.

        Empty where the environment gives none by agent, as batched forms do.
        """
        return {}

    def reset_infos(self, env_index: int) -> Mapping[Any, Any]:
        """Infos by agent of a sub-environment's last reset."""
        return {}

    def payoffs(self) -> np.ndarray | None:
        """[N, A_1, .., A_N] payoffs of each agent in a one-shot game; None elsewhere."""
        return None

    def render(self, env_index: int = 0) -> np.ndarray | None:
        """RGB picture [height, width, 3] of one sub-environment, or None if not supported."""
        return None

    def close(self) -> None:  # noqa: B027  most environments hold no resources
        """Close the sub-environments."""
