"""Vectorized bridge: the rules of :mod:`.bridge` on arrays of B sub-environments."""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_agentmixer.envs.games.bridge import GO, Bridge, draw_bridge
from rllib_agentmixer.envs.games.episode_streams import RowStreams
from rllib_agentmixer.envs.games.native import NativeVectorEnv, Rows
from rllib_agentmixer.envs.vector_env import BoolArray, FloatArray


class VectorBridge(NativeVectorEnv):
    """Vectorized form of :class:`Bridge`, with the same settings and rules."""

    dynamic = ("_positions", "_holder", "_is_visible", "_is_fined", "_time")

    def __init__(self, num_envs: int, name: str = "bridge", **settings: Any) -> None:
        single_env = Bridge(**settings)
        super().__init__(single_env, num_envs, name)
        self.settings = single_env.settings
        self._one_hot = np.eye(self.settings.length + 2, dtype=np.float32)
        self._positions = np.zeros((2, num_envs), np.intp)
        self._holder = np.zeros(num_envs, np.intp)
        self._is_visible = np.zeros(num_envs, np.bool_)
        self._is_fined = np.zeros(num_envs, np.bool_)
        self._time = np.zeros(num_envs, np.int32)

    def _restart(self, rows: Rows, count: int, rng: RowStreams) -> None:
        right_of_way, visibility = rng.random((count, 2)).T
        self._holder[rows] = right_of_way >= 0.5
        self._is_visible[rows] = visibility < self.settings.visibility
        self._is_fined[rows] = False
        self._positions[:, rows] = 0
        self._time[rows] = 0

    def _advance(
        self, actions: np.ndarray, rng: RowStreams
    ) -> tuple[FloatArray, BoolArray, BoolArray]:
        rules, moves = self.settings, actions.T
        enters = (self._positions == 0) & (moves == GO)
        self._time += 1
        self._positions = np.minimum(self._positions + moves, rules.length + 1)
        is_far = self._positions > rules.length
        on_bridge = (self._positions > 0) & ~is_far
        jammed = on_bridge[0] & on_bridge[1]
        crossed = is_far[0] & is_far[1]
        holds_first = self._holder == 0
        too_early = np.where(holds_first, enters[1] & ~is_far[0], enters[0] & ~is_far[1]) & ~jammed
        self._is_fined |= too_early
        costs = np.float32(rules.jam_cost) * jammed + np.float32(rules.fine) * too_early
        reward = crossed - np.float32(rules.time_cost) - costs
        terminated = jammed | crossed | (self._time >= rules.horizon)
        return reward, terminated, np.zeros_like(terminated)

    def _observe(self, rows: Rows) -> None:
        width = self.settings.length + 2
        cells = self._one_hot[self._positions[:, rows].T]  # [rows, 2, L+2]
        share = self._time[rows] / self.settings.horizon
        side = np.where(self._holder[rows] == 0, 1.0, -1.0)
        cue = side * self._is_visible[rows]
        self._obs[rows, :, :width] = cells
        self._obs[rows, :, -2] = share[:, None]
        self._obs[rows, 0, -1] = cue
        self._obs[rows, 1, -1] = -cue
        self._state[rows, : 2 * width] = cells.reshape(-1, 2 * width)
        self._state[rows, -4] = share
        self._state[rows, -3] = side
        self._state[rows, -2] = self._is_visible[rows]
        self._state[rows, -1] = self._is_fined[rows]

    def render(self, env_index: int = 0) -> np.ndarray:
        positions = [int(cell) for cell in self._positions[:, env_index]]
        holder, is_visible = int(self._holder[env_index]), bool(self._is_visible[env_index])
        return draw_bridge(self.settings.length, positions, holder, is_visible)
