"""Matrix games: one decision, one shared payoff, equilibria known in closed form.

| game | agents | actions | optimum of one step |
|---|---|---|---|
| climbing | 2 | 3 | 11 at (2, 0); the equilibrium 7 at (1, 1) is safer and shadows it |
| penalty | 2 | 3 | 10 at (0, 2) and (2, 0); miscoordination costs k |
| nonmonotonic | 2 | 3 | 8 at (2, 0); no monotonic value factorisation finds it |
| permutation | N | N | 1 wherever all agents differ; needs N! modes |

References: Claus and Boutilier, "The dynamics of reinforcement learning in cooperative
multiagent systems", 1998 (climbing, penalty); Li et al., arXiv:2401.08728.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_agentmixer.envs.games import drawing
from rllib_agentmixer.envs.games.episode_streams import RowStreams
from rllib_agentmixer.envs.games.native import NativeParallelEnv, NativeVectorEnv, Rows
from rllib_agentmixer.envs.vector_env import BoolArray, FloatArray
from rllib_agentmixer.errors import ConfigError

GAMES = ("climbing", "penalty", "nonmonotonic", "permutation")

DEFAULT_PENALTY = 100.0
DEFAULT_PERMUTATION_AGENTS = 4

LARGEST_TABLE = 7
"""Agents up to which the permutation game's whole payoff table is built: 7^7 entries."""


class MatrixGame(NativeParallelEnv):
    """A game of one decision with one payoff for all, ended by termination.

    Observation and state are the constant [1.0]; nothing is random.

    Args:
        game: one of :data:`GAMES`.
        k: cost of miscoordination in the penalty game, at least 0 (default 100).
        num_agents: players of the permutation game (default 4); 2 in the others.
        repeat: decisions in an episode, each paid; 25 makes returns comparable with papers
            that report 275 (climbing) and 250 (penalty) as optima.
        render_mode: ``None``, ``"rgb_array"`` or ``"ansi"``.
    """

    metadata = {  # noqa: RUF012  PettingZoo declares it as a plain class attribute
        "name": "matrix_game",
        "render_modes": ["rgb_array", "ansi"],
        "is_parallelizable": True,
        "render_fps": 2,
    }

    def __init__(
        self,
        game: str = "climbing",
        k: float | None = None,
        num_agents: int | None = None,
        repeat: int = 1,
        render_mode: str | None = None,
    ) -> None:
        if not isinstance(repeat, int) or repeat < 1:
            raise ConfigError(f"repeat must be an integer of at least 1, got {repeat!r}")
        players = _num_players(game, num_agents)
        self.game = game
        self.repeat = repeat
        self.table = None if game == "permutation" else _payoff_table(game, k)
        if game == "permutation" and k is not None:
            raise ConfigError(f"k belongs to the penalty game, not to 'permutation'; got k={k!r}")
        self.num_choices = players if self.table is None else len(self.table)
        one = spaces.Box(1.0, 1.0, (1,), np.float32)
        super().__init__(
            agents=[f"agent_{index}" for index in range(players)],
            observation_space=one,
            action_space=spaces.Discrete(self.num_choices),
            state_space=one,
            render_mode=render_mode,
        )
        self._time = 0
        self._last_actions: list[int] = []
        self._last_payoff = 0.0

    @property
    def payoffs(self) -> FloatArray:
        """[A_1, .., A_N] payoff of every joint action of one step."""
        if self.table is not None:
            return self.table.copy()
        N = self.num_choices
        if N > LARGEST_TABLE:
            raise ConfigError(
                f"the payoff table of {N} agents has {N}^{N} entries; "
                f"ask for it with at most {LARGEST_TABLE} agents"
            )
        table = np.zeros((N,) * N, np.float32)
        for permutation in itertools.permutations(range(N)):
            table[permutation] = 1.0
        return table

    @property
    def optimum(self) -> float:
        """Best return of an episode."""
        return self.repeat * (1.0 if self.table is None else float(self.table.max()))

    def state(self) -> FloatArray:
        return np.ones(1, np.float32)

    def _restart(self, rng: np.random.Generator) -> None:
        self._time = 0
        self._last_actions = []

    def _advance(self, actions: list[Any], rng: np.random.Generator) -> tuple[float, bool, bool]:
        self._time += 1
        self._last_actions = [int(action) for action in actions]
        if self.table is None:
            payoff = 1.0 if len(set(self._last_actions)) == len(actions) else 0.0
        else:
            payoff = float(self.table[tuple(self._last_actions)])
        self._last_payoff = payoff
        return payoff, self._time >= self.repeat, False

    def _observe(self, index: int) -> FloatArray:
        return np.ones(1, np.float32)

    def _picture(self) -> np.ndarray:
        """One row per agent, one column per action, a disc on the action last taken."""
        discs = [
            drawing.Disc(agent, action, drawing.BLUE)
            for agent, action in enumerate(self._last_actions)
        ]
        return drawing.draw_board(len(self.possible_agents), self.num_choices, discs)

    def _text(self) -> str:
        if not self._last_actions:
            return f"{self.game}: no action taken yet"
        return f"{self.game}: actions {self._last_actions}, payoff {self._last_payoff:g}"


class VectorMatrixGame(NativeVectorEnv):
    """Vectorized form of :class:`MatrixGame`; deterministic, so all episodes end together."""

    dynamic = ("_time",)

    def __init__(self, num_envs: int, name: str = "matrix_game", **settings: Any) -> None:
        game = MatrixGame(**settings)
        super().__init__(game, num_envs, name)
        self._repeat = game.repeat
        self._table = None if game.table is None else game.table.ravel()
        self._num_choices = game.num_choices
        self._game = game
        self._time = 0
        self._obs[:] = 1.0
        self._state[:] = 1.0

    def payoffs(self) -> np.ndarray | None:
        """[N, A_1, .., A_N] payoffs of one decision; None where the table is too large."""
        if self._table is None and self._num_choices > LARGEST_TABLE:
            return None
        return np.stack([self._game.payoffs] * self.spec.num_agents)

    def _restart(self, rows: Rows, count: int, rng: RowStreams) -> None:
        self._time = 0

    def _advance(
        self, actions: np.ndarray, rng: RowStreams
    ) -> tuple[FloatArray, BoolArray, BoolArray]:
        self._time += 1
        terminated = np.full(self.num_envs, self._time >= self._repeat)
        if self._table is not None:
            reward = self._table[actions[:, 0] * self._num_choices + actions[:, 1]]
        else:
            ordered = np.sort(actions, axis=1)
            reward = (ordered[:, 1:] != ordered[:, :-1]).all(axis=1).astype(np.float32)
        return reward, terminated, np.zeros(self.num_envs, np.bool_)

    def _observe(self, rows: Rows) -> None:
        """Do nothing: observation and state are constant."""


def _num_players(game: str, num_agents: int | None) -> int:
    if game not in GAMES:
        raise ConfigError(f"unknown matrix game {game!r}; choose one of {', '.join(GAMES)}")
    if game != "permutation":
        if num_agents not in (None, 2):
            raise ConfigError(
                f"{game!r} is played by 2 agents, got num_agents={num_agents!r}; "
                "only 'permutation' takes another number"
            )
        return 2
    players = DEFAULT_PERMUTATION_AGENTS if num_agents is None else num_agents
    if not isinstance(players, int) or players < 2:
        raise ConfigError(f"num_agents must be an integer of at least 2, got {players!r}")
    return players


def _payoff_table(game: str, k: float | None) -> FloatArray:
    if k is not None and game != "penalty":
        raise ConfigError(f"k belongs to the penalty game, not to {game!r}; got k={k!r}")
    if game == "climbing":
        rows = [[0, 6, 5], [-30, 7, 0], [11, -30, 0]]
    elif game == "nonmonotonic":
        rows = [[-12, 0, 0], [-12, 0, 0], [8, -12, -12]]
    else:
        k = DEFAULT_PENALTY if k is None else k
        if not isinstance(k, (int, float)) or not math.isfinite(k) or k < 0:
            raise ConfigError(f"k must be a number of at least 0 (it is subtracted), got {k!r}")
        rows = [[-k, 0, 10], [0, 2, 0], [10, 0, -k]]
    return np.asarray(rows, np.float32)
