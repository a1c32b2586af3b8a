"""Vectorized predator-prey: the rules of :mod:`.predator_prey` on arrays.

Boards lie behind each other in one flat array of cells, each padded by walls as wide as the
view, so a neighbour is a constant offset, no index ever leaves its board, and windows at the
edge need no special case. Loops run over predators and prey (their order is a rule), never
over sub-environments.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_agentmixer.envs.games.episode_streams import RowStreams
from rllib_agentmixer.envs.games.native import NativeVectorEnv, Rows
from rllib_agentmixer.envs.games.predator_prey import (
    MOVES,
    PREY_DRAWS,
    PREY_MOVES,
    Cell,
    PredatorPrey,
    draw_game,
)
from rllib_agentmixer.envs.vector_env import BoolArray, FloatArray

FREE, WALL, PREDATOR, PREY = 0, 1, 2, 3


class VectorPredatorPrey(NativeVectorEnv):
    """Vectorized form of :class:`PredatorPrey`, with the same settings and rules.

    A caught prey is kept on the corner wall of its own board: no predator is ever adjacent to
    it and all its moves are blocked, so the living and the dead run through the same code.

    Args:
        num_envs: B.
        name: environment name, for metadata.
        settings: as of :class:`PredatorPrey`.
    """

    dynamic = ("_cells", "_predators", "_prey", "_prey_code", "_time")

    def __init__(self, num_envs: int, name: str = "predator_prey", **settings: Any) -> None:
        single_env = PredatorPrey(**settings)
        super().__init__(single_env, num_envs, name)
        self.settings = rules = single_env.settings
        B, N, K = num_envs, rules.num_predators, rules.num_prey
        border = max(1, rules.view_radius)
        self._width = rules.grid + 2 * border
        self._board = self._width**2
        self._build_tables(border)
        self._base = np.arange(B) * self._board
        self._cells = np.full(B * self._board, WALL, np.uint8)
        self._predators = np.zeros((N, B), np.intp)
        self._prey = np.zeros((K, B), np.intp)
        self._prey_code = np.full((K, B), PREY, np.uint8)
        self._time = np.zeros(B, np.int32)

    def _build_tables(self, border: int) -> None:
        size, width = self.settings.grid, self._width
        rows, columns = np.divmod(np.arange(self._board), width)
        on_board = (np.minimum(rows, columns) >= border) & (
            np.maximum(rows, columns) < size + border
        )
        self._inside = np.flatnonzero(on_board)
        places = np.stack([rows - border, columns - border], axis=1) / (size - 1)
        # [2, board]: scaled row and column of each cell; 0 where no living thing stands.
        self._places = np.where(on_board[:, None], places, 0.0).T.astype(np.float32).copy()
        self._steps = np.array([down * width + right for down, right in MOVES])
        self._prey_steps = self._steps[PREY_MOVES]
        reach = np.arange(-self.settings.view_radius, self.settings.view_radius + 1)
        self._window = (reach[:, None] * width + reach[None, :]).ravel()

    def _restart(self, rows: Rows, count: int, rng: RowStreams) -> None:
        rules = self.settings
        N, K = rules.num_predators, rules.num_prey
        order = np.argsort(rng.random((count, rules.grid**2)), axis=1)
        base = self._base[rows]
        cells = self._inside[order].T + base  # [grid^2, count]
        boards = self._cells.reshape(self.num_envs, self._board)
        fresh = np.full((count, self._board), WALL, np.uint8)
        fresh[:, self._inside] = FREE
        boards[rows] = fresh
        self._predators[:, rows] = cells[:N]
        self._cells[cells[:N]] = PREDATOR
        guarded = (self._adjacent_predators(cells) > 0) | (self._cells[cells] != FREE)
        # A stable sort brings the unguarded cells forward in their shuffled order.
        first = np.argsort(guarded, axis=0, kind="stable")[:K]
        prey = np.take_along_axis(cells, first, axis=0)
        self._prey[:, rows] = prey
        self._cells[prey] = PREY
        self._prey_code[:, rows] = PREY
        self._time[rows] = 0

    def _adjacent_predators(self, cells: np.ndarray) -> np.ndarray:
        found = self._cells[cells + self._steps[0]] == PREDATOR
        count = found.astype(np.uint8)
        for step in self._steps[1:4]:
            count += self._cells[cells + step] == PREDATOR
        return count

    def _advance(
        self, actions: np.ndarray, rng: RowStreams
    ) -> tuple[FloatArray, BoolArray, BoolArray]:
        rules = self.settings
        draws = rng.integers(
            len(PREY_MOVES), size=(self.num_envs, rules.num_prey, PREY_DRAWS), dtype=np.uint8
        )
        self._time += 1
        self._move_predators(self._steps[actions.T])
        threat = self._threat()
        reward = self._judge_prey(threat)
        self._move_prey(self._prey_steps[draws.T], threat)
        terminated = (self._prey_code != PREY).all(axis=0)
        truncated = (self._time >= rules.max_steps) & ~terminated
        return reward, terminated, truncated

    def _move_predators(self, steps: np.ndarray) -> None:
        cells = self._cells
        for index in range(self.settings.num_predators):
            here = self._predators[index]
            there = here + steps[index]
            there = np.where(cells[there] == FREE, there, here)
            cells[here] = FREE
            cells[there] = PREDATOR
            self._predators[index] = there

    def _threat(self) -> np.ndarray:
        """Number of predators orthogonally adjacent to each cell of all boards."""
        width = self._width
        predator = (self._cells == PREDATOR).view(np.uint8)
        threat = np.zeros_like(predator)
        # The walls between boards keep one board's shift from reaching the next.
        threat[width:] = predator[:-width]
        threat[:-width] += predator[width:]
        threat[1:] += predator[:-1]
        threat[:-1] += predator[1:]
        return threat

    def _judge_prey(self, threat: np.ndarray) -> FloatArray:
        rules = self.settings
        hunters = threat[self._prey]
        alone = np.count_nonzero(hunters == 1, axis=0).astype(np.float32)
        reward = np.float32(rules.step_cost) + np.float32(rules.penalty) * alone
        caught = hunters >= 2
        if caught.any():
            reward += np.float32(rules.capture_reward) * np.count_nonzero(caught, axis=0)
            self._cells[self._prey[caught]] = FREE
            self._prey[caught] = np.broadcast_to(self._base, caught.shape)[caught]
            self._prey_code[caught] = WALL
        return reward

    def _move_prey(self, steps: np.ndarray, threat: np.ndarray) -> None:
        """Move living prey in order; ``steps`` is [draws, prey, B]."""
        cells = self._cells
        for index in range(self.settings.num_prey):
            here = self._prey[index]
            targets = here + steps[:, index]
            # The first prey of the first board may look before its start: it wraps to a wall.
            targets = np.where(cells[targets] == FREE, targets, here)
            safe = threat[targets] == 0
            there = here
            for draw in reversed(range(PREY_DRAWS)):
                there = np.where(safe[draw], targets[draw], there)
            cells[here] = FREE
            cells[there] = self._prey_code[index]
            self._prey[index] = there

    def _observe(self, rows: Rows) -> None:
        predators, prey = self._predators[:, rows], self._prey[:, rows]
        N = self.settings.num_predators
        share = self._time[rows] / np.float32(self.settings.max_steps)
        places = np.concatenate([predators, prey]) - self._base[rows]
        located = self._places[:, places]  # [2, N + K, rows]
        self._obs[rows, :, :2] = located[:, :N].transpose(2, 1, 0)
        self._obs[rows, :, 2:-1] = self._cells[predators.T[:, :, None] + self._window] == PREY
        self._obs[rows, :, -1] = share[:, None]
        count = 2 * len(places)
        self._state[rows, :count] = located.transpose(2, 1, 0).reshape(-1, count)
        self._state[rows, count:-1] = (self._prey_code[:, rows] == PREY).T
        self._state[rows, -1] = share

    def render(self, env_index: int = 0) -> np.ndarray:
        border = max(1, self.settings.view_radius)
        board = self._cells.reshape(self.num_envs, self._width, self._width)[env_index]
        return draw_game(
            self.settings.grid,
            _cells_with(PREDATOR, board, border),
            _cells_with(PREY, board, border),
        )


def _cells_with(code: int, board: np.ndarray, border: int) -> list[Cell]:
    return [(int(row) - border, int(column) - border) for row, column in np.argwhere(board == code)]
