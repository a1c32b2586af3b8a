"""A continuous cooperative game with a known optimum: hit your own target, and the mean too.

Agent i alone sees its target c_i and acts a_i, both in [-1, 1]^D. All receive

    1 - mean_{i,d} (a_i - c_i)^2 - coupling * mean_d (mean_i a_i - mean_i c_i)^2,

whose maximum 1 lies at a_i = c_i: individual policies can reach it, and the coupling rewards
a team whose errors cancel. The targets stay for the whole episode.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_agentmixer.envs.games import drawing
from rllib_agentmixer.envs.games.episode_streams import RowStreams
from rllib_agentmixer.envs.games.native import NativeParallelEnv, NativeVectorEnv, Rows
from rllib_agentmixer.envs.vector_env import BoolArray, FloatArray
from rllib_agentmixer.errors import ConfigError

PICTURE_COLUMNS = 21
"""Cells across a picture, from -1 to 1 in steps of 0.1."""


class ContinuousGame(NativeParallelEnv):
    """Single-environment form of the game; the module states the reward. Ends by termination.

    The observation is the agent's target, the state all targets in a row.

    Args:
        num_agents: N.
        dimensions: D, of each target and action.
        coupling: weight of the error of the team's mean, at least 0.
        repeat: decisions in an episode, each paid.
        render_mode: ``None``, ``"rgb_array"`` or ``"ansi"``.
    """

    metadata = {  # noqa: RUF012  PettingZoo declares it as a plain class attribute
        "name": "continuous_game",
        "render_modes": ["rgb_array", "ansi"],
        "is_parallelizable": True,
        "render_fps": 2,
    }

    def __init__(
        self,
        num_agents: int = 2,
        dimensions: int = 1,
        coupling: float = 1.0,
        repeat: int = 1,
        render_mode: str | None = None,
    ) -> None:
        counts = {"num_agents": num_agents, "dimensions": dimensions, "repeat": repeat}
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be an integer of at least 1, got {value!r}")
        if not isinstance(coupling, (int, float)) or not math.isfinite(coupling) or coupling < 0:
            raise ConfigError(f"coupling must be a number of at least 0, got {coupling!r}")
        self.coupling = float(coupling)
        self.repeat = repeat
        self.shape = (num_agents, dimensions)
        super().__init__(
            agents=[f"agent_{index}" for index in range(num_agents)],
            observation_space=spaces.Box(-1.0, 1.0, (dimensions,), np.float32),
            action_space=spaces.Box(-1.0, 1.0, (dimensions,), np.float32),
            state_space=spaces.Box(-1.0, 1.0, (num_agents * dimensions,), np.float32),
            render_mode=render_mode,
        )
        self._targets = np.zeros(self.shape, np.float32)
        self._last_actions: np.ndarray | None = None
        self._time = 0

    @property
    def optimum(self) -> float:
        """Best return of an episode."""
        return float(self.repeat)

    def state(self) -> FloatArray:
        return self._targets.ravel().copy()

    def _restart(self, rng: np.random.Generator) -> None:
        self._targets = 2.0 * rng.random(self.shape, dtype=np.float32) - 1.0
        self._last_actions = None
        self._time = 0

    def _advance(self, actions: list[Any], rng: np.random.Generator) -> tuple[float, bool, bool]:
        self._time += 1
        self._last_actions = np.asarray(actions, np.float64)
        error = self._last_actions - self._targets
        own = (error**2).mean()
        common = (error.mean(axis=0) ** 2).mean()
        return float(1.0 - own - self.coupling * common), self._time >= self.repeat, False

    def _observe(self, index: int) -> FloatArray:
        return self._targets[index].copy()

    def _picture(self) -> np.ndarray:
        """One row per agent and dimension, from -1 to 1: grey target, blue action on it."""
        half = (PICTURE_COLUMNS - 1) / 2
        discs = [
            drawing.Disc(row, (value + 1) * half, drawing.GREY, radius=0.48)
            for row, value in enumerate(self._targets.ravel())
        ]
        if self._last_actions is not None:
            discs += [
                drawing.Disc(row, (value + 1) * half, drawing.BLUE, radius=0.3)
                for row, value in enumerate(self._last_actions.ravel())
            ]
        return drawing.draw_board(self._targets.size, PICTURE_COLUMNS, discs, cell=32)

    def _text(self) -> str:
        actions = "none yet" if self._last_actions is None else self._last_actions.round(3).tolist()
        return f"targets {self._targets.round(3).tolist()}, actions {actions}"


class VectorContinuousGame(NativeVectorEnv):
    """Vectorized form of :class:`ContinuousGame`, with the same settings and rules."""

    dynamic = ("_targets", "_time")

    def __init__(self, num_envs: int, name: str = "continuous_game", **settings: Any) -> None:
        game = ContinuousGame(**settings)
        super().__init__(game, num_envs, name)
        self._coupling = np.float32(game.coupling)
        self._repeat = game.repeat
        self._targets = np.zeros((num_envs, *game.shape), np.float32)
        self._time = np.zeros(num_envs, np.int32)

    def _restart(self, rows: Rows, count: int, rng: RowStreams) -> None:
        shape = (count, *self._targets.shape[1:])
        self._targets[rows] = 2.0 * rng.random(shape, dtype=np.float32) - 1.0
        self._time[rows] = 0

    def _advance(
        self, actions: np.ndarray, rng: RowStreams
    ) -> tuple[FloatArray, BoolArray, BoolArray]:
        self._time += 1
        error = np.clip(actions, -1.0, 1.0).astype(np.float32, copy=False) - self._targets
        own = np.square(error).mean(axis=(1, 2))
        common = np.square(error.mean(axis=1)).mean(axis=1)
        reward = 1.0 - own - self._coupling * common
        return reward, self._time >= self._repeat, np.zeros(self.num_envs, np.bool_)

    def _observe(self, rows: Rows) -> None:
        self._obs[rows] = self._targets[rows]
        self._state[rows] = self._targets[rows].reshape(-1, self._state.shape[1])
