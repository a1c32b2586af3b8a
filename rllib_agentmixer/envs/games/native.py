"""Base classes of the native environments: a ParallelEnv, and a vectorized form on arrays.

A native environment is implemented twice, plainly as a single environment and vectorized on
arrays, and the two are tested against each other. They share only parts without rules: names
and spaces, seeding, automatic resets and snapshots.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.games.episode_streams import EpisodeStreams, RowStreams
from rllib_agentmixer.envs.stepping.team_spaces import spaces_of
from rllib_agentmixer.envs.vector_env import (
    BoolArray,
    FloatArray,
    TeamObs,
    TeamStep,
    VectorTeamEnv,
)
from rllib_agentmixer.errors import ConfigError, EnvContractError

Rows = NDArray[np.intp] | slice
"""Sub-environments to work on: indices, or ``slice(None)`` for all of them."""

ALL_ROWS = slice(None)


class NativeParallelEnv(ParallelEnv):
    """Base class of a single cooperative game whose agents share one reward.

    Subclasses implement the rules: ``_restart``, ``_advance``, ``_observe`` and ``state``;
    where agents can die ``_living``, where actions can be illegal ``_info``. An agent that
    dies is terminated and leaves ``agents``; the others end together.
    All randomness comes from ``np_random``, which ``reset(seed=...)`` renews.

    Args:
        agents: names in the order of every array.
        observation_space: of one agent; each agent gets its own copy.
        action_space: of one agent; each agent gets its own copy.
        state_space: of the global state.
        render_mode: ``None``, ``"rgb_array"`` or ``"ansi"``.
    """

    def __init__(
        self,
        agents: Sequence[str],
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        state_space: gymnasium.spaces.Box,
        render_mode: str | None,
    ) -> None:
        modes = self.metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise ConfigError(f"render_mode must be None or one of {modes}, got {render_mode!r}")
        self.possible_agents = list(agents)
        self.agents = []
        self.observation_spaces = {name: copy.deepcopy(observation_space) for name in agents}
        self.action_spaces = {name: copy.deepcopy(action_space) for name in agents}
        self.state_space = state_space
        self.render_mode = render_mode
        self.np_random: np.random.Generator | None = None

    def observation_space(self, agent: str) -> gymnasium.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.Space:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, FloatArray], dict[str, dict[str, Any]]]:
        """Start an episode; a seed determines all randomness from here on."""
        if seed is not None or self.np_random is None:
            self.np_random = seeding.np_random(seed)[0]
        self.agents = list(self.possible_agents)
        self._restart(self.np_random)
        return self._observations(), self._infos(is_over=False)

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        if not self.agents or self.np_random is None:
            raise EnvContractError(f"{self}: the episode is over; call reset() before step()")
        acting = set(self.agents)
        reward, terminated, truncated = self._advance(
            [
                self._checked(name, actions) if name in acting else None
                for name in self.possible_agents
            ],
            self.np_random,
        )
        is_over = terminated or truncated
        living = dict(zip(self.possible_agents, self._living(), strict=True))
        returned = (
            self._observations(),
            dict.fromkeys(self.agents, reward),
            {name: terminated or not living[name] for name in self.agents},
            {name: truncated and living[name] for name in self.agents},
            self._infos(is_over),
        )
        self.agents = [] if is_over else [name for name in self.agents if living[name]]
        return returned

    def render(self) -> FloatArray | str | None:
        """Render the current state as ``render_mode`` says: RGB picture, text, or None."""
        if self.render_mode == "rgb_array":
            return self._picture()
        return self._text() if self.render_mode == "ansi" else None

    def close(self) -> None:
        """Do nothing: there are no resources to release."""

    def _checked(self, name: str, actions: dict[str, Any]) -> Any:
        if name not in actions or not self.action_spaces[name].contains(actions[name]):
            raise EnvContractError(
                f"{self}: action of {name!r} must lie in {self.action_spaces[name]}, "
                f"got {actions.get(name)!r}"
            )
        return actions[name]

    def _observations(self) -> dict[str, FloatArray]:
        """Infos of the agents that are in the episode or left it in this step."""
        present = set(self.agents)
        return {
            name: self._observe(index)
            for index, name in enumerate(self.possible_agents)
            if name in present
        }

    def _infos(self, is_over: bool) -> dict[str, dict[str, Any]]:
        present = set(self.agents)
        return {
            name: self._info(index, is_over)
            for index, name in enumerate(self.possible_agents)
            if name in present
        }

    def _living(self) -> list[bool]:
        """Agents still in the episode, in order; all of them unless agents die."""
        return [True] * len(self.possible_agents)

    def _info(self, index: int, is_over: bool) -> dict[str, Any]:
        """Info of one agent: ``action_mask``, and diagnostics at the end of an episode."""
        return {}

    @abstractmethod
    def _restart(self, rng: np.random.Generator) -> None:
        """Set up a new episode."""

    @abstractmethod
    def _advance(self, actions: list[Any], rng: np.random.Generator) -> tuple[float, bool, bool]:
        """Apply the rules once: team reward, terminated, truncated; None acts for the dead."""

    @abstractmethod
    def _observe(self, index: int) -> FloatArray:
        """Observation of one agent."""

    @abstractmethod
    def _picture(self) -> np.ndarray:
        """RGB picture of the current state."""

    @abstractmethod
    def _text(self) -> str:
        """Text picture of the current state."""


class NativeVectorEnv(VectorTeamEnv):
    """Base class of vectorized native environments, with automatic resets and snapshots.

    Subclasses implement the rules: ``_restart``, ``_advance`` and ``_observe``, which also
    writes ``_mask`` and ``_alive`` where actions can be illegal and agents can die. Every array
    they keep is an attribute named in ``dynamic``, so a snapshot is a copy of those.

    Args:
        single_env: provides names, spaces and validated settings.
        num_envs: B.
        name: environment name, for metadata.
        version: of the rules; results under different versions are not comparable.
    """

    dynamic: tuple[str, ...] = ()

    def __init__(
        self, single_env: NativeParallelEnv, num_envs: int, name: str, version: str = "1"
    ) -> None:
        self.spec = spaces_of(single_env, name, version).spec
        self.num_envs = num_envs
        N, A = self.spec.num_agents, self.spec.num_actions
        self._obs = np.zeros((num_envs, N, self.spec.obs_size), np.float32)
        self._state = np.zeros((num_envs, self.spec.state_size), np.float32)
        self._mask = np.ones((num_envs, N, A), np.bool_)
        self._alive = np.ones((num_envs, N), np.bool_)
        self._never = np.zeros(num_envs, np.bool_)
        self._rng: EpisodeStreams | None = None
        discrete = self.spec.action_kind == "discrete"
        self._action_shape = (num_envs, N) if discrete else (num_envs, N, A)

    def reset(self, seed: int | None = None) -> TeamObs:
        if seed is not None or self._rng is None:
            self._rng = EpisodeStreams(seed, self.num_envs)
        self._rng.begin(ALL_ROWS)
        self._restart(ALL_ROWS, self.num_envs, self._rng.of(ALL_ROWS))
        self._observe(ALL_ROWS)
        return self._current()

    def step(self, actions: np.ndarray) -> TeamStep:
        if self._rng is None:
            raise EnvContractError(f"{self.spec.name}: call reset() before step()")
        if actions.shape != self._action_shape:
            raise EnvContractError(
                f"{self.spec.name}: actions must have shape {self._action_shape}, "
                f"got {actions.shape}"
            )
        acted = self._alive.copy()
        reward, terminated, truncated = self._advance(actions, self._rng.of(ALL_ROWS))
        self._observe(ALL_ROWS)
        observation = final_observation = self._current()
        rows = np.flatnonzero(terminated | truncated)
        info: dict[str, np.ndarray] = {}
        if rows.size:
            final_observation = self._final(acted, rows, terminated)
            info = self._info(rows)
            self._rng.begin(rows)
            self._restart(rows, rows.size, self._rng.of(rows))
            self._observe(rows)
        return TeamStep(
            observation=observation,
            reward=reward,
            agent_rewards=reward[:, None] * acted,
            terminated=terminated,
            truncated=truncated,
            final_observation=final_observation,
            faulty=self._never,
            info=info,
        )

    def get_state(self) -> dict[str, Any]:
        snapshot = {name: copy.deepcopy(getattr(self, name)) for name in self.dynamic}
        streams = None if self._rng is None else self._rng.get_state()
        return {"arrays": snapshot, "streams": streams}

    def set_state(self, snapshot: dict[str, Any]) -> None:
        for name in self.dynamic:
            setattr(self, name, copy.deepcopy(snapshot["arrays"][name]))
        self._rng = None
        if snapshot["streams"] is not None:
            self._rng = EpisodeStreams(0, self.num_envs)
            self._rng.set_state(snapshot["streams"])
        self._observe(ALL_ROWS)

    def _current(self) -> TeamObs:
        return TeamObs(self._obs, self._state, self._mask, self._alive)

    def _final(self, acted: BoolArray, rows: np.ndarray, terminated: BoolArray) -> TeamObs:
        """The final observation, on which no agent acts.

        As in :class:`~rllib_agentmixer.envs.stepping.team_env.TeamEnv`, it holds the agents that
        acted last; if the episode was cut, without those that died in that step.
        """
        mask = self._mask.copy()
        mask[rows] = self.spec.action_valid
        alive = np.where(terminated[:, None], acted, self._alive)
        return TeamObs(self._obs.copy(), self._state.copy(), mask, alive)

    def _info(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """[B] diagnostics of the episodes that just ended, NaN elsewhere."""
        return {}

    @abstractmethod
    def _restart(self, rows: Rows, count: int, rng: RowStreams) -> None:
        """Set up new episodes in ``count`` sub-environments."""

    @abstractmethod
    def _advance(
        self, actions: np.ndarray, rng: RowStreams
    ) -> tuple[FloatArray, BoolArray, BoolArray]:
        """Apply the rules once to all sub-environments: reward, terminated, truncated, each [B]."""

    @abstractmethod
    def _observe(self, rows: Rows) -> None:
        """Write ``_obs`` and ``_state`` of some rows; also ``_mask`` and ``_alive`` if they vary.

        Rows of dead agents hold no observation and the spec's ``action_valid`` as their mask.
        """
