"""Predator-prey: predators that do not see each other must close in on a prey together.

One step, in this order:

1. everybody pays ``step_cost``;
2. predators move in the order of their index, each only into a free cell;
3. each living prey counts its orthogonally adjacent predators: exactly one adds ``penalty``,
   two or more add ``capture_reward`` and the prey is caught and leaves the grid;
4. each living prey, in order, draws up to five moves (down, left, up, right with 0.175 each,
   stay with 0.3) and takes the first that leads to a cell without adjacent predators, else it
   stays. A move into a wall or an occupied cell counts as a stay.

The episode terminates when no prey is left and is truncated after ``max_steps``.

Reference: Li et al., "AgentMixer", AAAI 2025, arXiv:2401.08728.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_agentmixer.envs.games import drawing
from rllib_agentmixer.envs.games.native import NativeParallelEnv
from rllib_agentmixer.envs.vector_env import FloatArray
from rllib_agentmixer.errors import ConfigError

MOVES = ((1, 0), (0, -1), (-1, 0), (0, 1), (0, 0))
"""Row and column steps of the actions down, left, up, right and stay."""

STAY = 4

PREY_MOVES = np.repeat(np.arange(5), (7, 7, 7, 7, 12))
"""Move of each of 40 equally likely draws: 7/40 = 0.175 per direction, 12/40 = 0.3 to stay."""

PREY_DRAWS = 5
"""Moves that a prey considers in one step before it stays."""

PRESETS = {
    "5x5": {"grid": 5, "num_predators": 2, "num_prey": 1},
    "7x7": {"grid": 7, "num_predators": 4, "num_prey": 2},
    "10x10": {"grid": 10, "num_predators": 8, "num_prey": 8},
}

Cell = tuple[int, int]


@dataclass(frozen=True)
class PredatorPreySettings:
    """Size and rewards of a game, checked."""

    grid: int
    """Rows, and columns, of the board."""
    num_predators: int
    num_prey: int
    penalty: float
    """Added for each prey with exactly one adjacent predator, at most 0."""
    step_cost: float
    """Added in every step, at most 0."""
    capture_reward: float
    """Added for each prey caught."""
    max_steps: int
    """Length at which an episode is truncated."""
    view_radius: int
    """Cells that a predator sees in each direction: radius r is a window of 2r+1 by 2r+1."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be an integer >= {least}, got {value!r}")
        for name in ("penalty", "step_cost", "capture_reward"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ConfigError(f"{name} must be a finite number, got {value!r}")
        for name in ("penalty", "step_cost"):
            if getattr(self, name) > 0:
                raise ConfigError(
                    f"{name} is added to the reward and must be at most 0, "
                    f"got {getattr(self, name)!r}; did you mean {-getattr(self, name)!r}?"
                )
        # A predator and its neighbours rule out at most five cells for the prey.
        cells, ruled_out = self.grid**2, 5 * self.num_predators
        if cells - ruled_out < self.num_prey:
            raise ConfigError(
                f"a {self.grid}x{self.grid} grid is too crowded for {self.num_predators} "
                f"predators and {self.num_prey} prey: it needs at least "
                f"{ruled_out + self.num_prey} cells, it has {cells}; use a larger grid"
            )

    @property
    def obs_size(self) -> int:
        """Own row and column, one flag per cell in view, time."""
        return 2 + (2 * self.view_radius + 1) ** 2 + 1

    @property
    def state_size(self) -> int:
        """Row and column of everything, one flag per prey, time."""
        return 2 * (self.num_predators + self.num_prey) + self.num_prey + 1


_LEAST = {
    "grid": 2,
    "num_predators": 1,
    "num_prey": 1,
    "max_steps": 1,
    "view_radius": 0,
}


class PredatorPrey(NativeParallelEnv):
    """Single-environment form of predator-prey; the module states the rules.

    A predator observes its own row and column scaled to [0, 1], one flag per cell of its
    window that holds a prey, and the share of time gone; it never sees its teammates. The
    state holds the scaled positions of all predators and prey (0 for a caught prey), which
    prey live, and the share of time gone.

    Args:
        preset: ``"5x5"``, ``"7x7"`` or ``"10x10"``: grid and numbers of predators and prey.
        grid: rows and columns of the board, in place of the preset's.
        num_predators: in place of the preset's.
        num_prey: in place of the preset's.
        penalty: added for each prey with exactly one adjacent predator.
        step_cost: added in every step.
        capture_reward: added for each prey caught by two or more predators.
        max_steps: truncates the episode.
        view_radius: degree of observability: cells seen in each direction. 0 shows no prey, as
            none stands on a predator's own cell; grid - 1 shows the whole board from anywhere.
        render_mode: ``None``, ``"rgb_array"`` or ``"ansi"``.
    """

    metadata = {  # noqa: RUF012  PettingZoo declares it as a plain class attribute
        "name": "predator_prey",
        "render_modes": ["rgb_array", "ansi"],
        "is_parallelizable": True,
        "render_fps": 6,
    }

    def __init__(
        self,
        preset: str = "5x5",
        *,
        grid: int | None = None,
        num_predators: int | None = None,
        num_prey: int | None = None,
        penalty: float = -1.0,
        step_cost: float = -0.01,
        capture_reward: float = 10.0,
        max_steps: int = 128,
        view_radius: int = 2,
        render_mode: str | None = None,
    ) -> None:
        if preset not in PRESETS:
            raise ConfigError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
        sizes = {"grid": grid, "num_predators": num_predators, "num_prey": num_prey}
        sizes = PRESETS[preset] | {name: n for name, n in sizes.items() if n is not None}
        self.settings = PredatorPreySettings(
            **sizes,
            penalty=penalty,
            step_cost=step_cost,
            capture_reward=capture_reward,
            max_steps=max_steps,
            view_radius=view_radius,
        )
        super().__init__(
            agents=[f"predator_{index}" for index in range(self.settings.num_predators)],
            observation_space=spaces.Box(0.0, 1.0, (self.settings.obs_size,), np.float32),
            action_space=spaces.Discrete(len(MOVES)),
            state_space=spaces.Box(0.0, 1.0, (self.settings.state_size,), np.float32),
            render_mode=render_mode,
        )
        self._predators: list[Cell] = []
        self._prey: list[Cell | None] = []
        self._time = 0

    def state(self) -> FloatArray:
        positions: list[float] = []
        for cell in [*self._predators, *self._prey]:
            positions += (0.0, 0.0) if cell is None else self._scaled(cell)
        living = [float(cell is not None) for cell in self._prey]
        return np.array([*positions, *living, self._time / self.settings.max_steps], np.float32)

    def _restart(self, rng: np.random.Generator) -> None:
        """Deal the cells of a shuffled board: predators first, prey skip guarded cells."""
        size = self.settings.grid
        # Sorting random keys shuffles the board, with the same draw as the vectorized form.
        order = np.argsort(rng.random(size * size))
        cells = [divmod(int(index), size) for index in order]
        self._predators = cells[: self.settings.num_predators]
        rest = cells[self.settings.num_predators :]
        unguarded = [cell for cell in rest if self._adjacent_predators(cell) == 0]
        self._prey = list(unguarded[: self.settings.num_prey])
        self._time = 0

    def _advance(self, actions: list[Any], rng: np.random.Generator) -> tuple[float, bool, bool]:
        rules = self.settings
        draws = rng.integers(len(PREY_MOVES), size=(rules.num_prey, PREY_DRAWS), dtype=np.uint8)
        self._time += 1
        reward = rules.step_cost
        for index, action in enumerate(actions):
            self._move_predator(index, MOVES[action])
        reward += self._judge_prey()
        for index, cell in enumerate(self._prey):
            if cell is not None:
                self._prey[index] = self._flee(cell, draws[index])
        terminated = not any(cell is not None for cell in self._prey)
        return reward, terminated, not terminated and self._time >= rules.max_steps

    def _move_predator(self, index: int, move: Cell) -> None:
        target = _moved(self._predators[index], move)
        if self._is_free(target):
            self._predators[index] = target

    def _judge_prey(self) -> float:
        """Reward for the hunt; removes the prey that are caught."""
        reward = 0.0
        for index, cell in enumerate(self._prey):
            hunters = 0 if cell is None else self._adjacent_predators(cell)
            if hunters == 1:
                reward += self.settings.penalty
            elif hunters >= 2:
                reward += self.settings.capture_reward
                self._prey[index] = None
        return reward

    def _flee(self, cell: Cell, draws: np.ndarray) -> Cell:
        """Target cell of a living prey: the first drawn one without adjacent predators."""
        for draw in draws:
            target = _moved(cell, MOVES[PREY_MOVES[draw]])
            if not self._is_free(target):
                target = cell
            if self._adjacent_predators(target) == 0:
                return target
        return cell

    def _is_free(self, cell: Cell) -> bool:
        size = self.settings.grid
        inside = 0 <= cell[0] < size and 0 <= cell[1] < size
        return inside and cell not in self._predators and cell not in self._prey

    def _adjacent_predators(self, cell: Cell) -> int:
        row, column = cell
        return sum(abs(row - r) + abs(column - c) == 1 for r, c in self._predators)

    def _observe(self, index: int) -> FloatArray:
        radius = self.settings.view_radius
        width = 2 * radius + 1
        row, column = self._predators[index]
        flags = np.zeros((width, width), np.float32)
        for cell in self._prey:
            if cell is not None:
                down, right = cell[0] - row + radius, cell[1] - column + radius
                if 0 <= down < width and 0 <= right < width:
                    flags[down, right] = 1.0
        observation = np.empty(self.settings.obs_size, np.float32)
        observation[:2] = self._scaled((row, column))
        observation[2:-1] = flags.ravel()
        observation[-1] = self._time / self.settings.max_steps
        return observation

    def _scaled(self, cell: Cell) -> tuple[float, float]:
        last = self.settings.grid - 1
        return cell[0] / last, cell[1] / last

    def _picture(self) -> np.ndarray:
        living = [cell for cell in self._prey if cell is not None]
        return draw_game(self.settings.grid, self._predators, living)

    def _text(self) -> str:
        size = self.settings.grid
        board = [["."] * size for _ in range(size)]
        for cell in self._prey:
            if cell is not None:
                board[cell[0]][cell[1]] = "x"
        for index, (row, column) in enumerate(self._predators):
            board[row][column] = str(index % 10)
        return "\n".join(" ".join(line) for line in board)


def draw_game(size: int, predators: list[Cell], prey: list[Cell]) -> np.ndarray:
    """RGB picture of a board: predators are large blue discs, prey small red ones."""
    hunters = [drawing.Disc(*cell, colour=drawing.BLUE) for cell in predators]
    hunted = [drawing.Disc(*cell, colour=drawing.RED, radius=0.26) for cell in prey]
    return drawing.draw_board(size, size, hunters + hunted)


def _moved(cell: Cell, move: Cell) -> Cell:
    return cell[0] + move[0], cell[1] + move[1]
