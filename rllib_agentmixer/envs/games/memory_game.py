"""A memory game: a cue is seen once, and the team must answer with it k steps later.

A cue, one of K, is drawn with equal probability. All agents see it in the first observation
only. Of the ``delay`` + 1 decisions of an episode the last alone counts: the team receives 1
if all agents choose the cue, else 0, and the episode terminates. A flag in the observation
says that this decision is due.

* ``optimum`` = 1: every agent remembers the cue.
* ``memoryless_optimum`` = 1/K, of policies that read the current observation alone. The last
  observation is the same whatever the cue was, and no earlier decision changes anything, so
  the last joint action has one distribution m for all cues and the expected return is
  sum_c m(c, .., c) / K <= 1/K. Naming one fixed cue reaches this; sampling, together or
  independently, does not exceed it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_agentmixer.envs.games import drawing
from rllib_agentmixer.envs.games.episode_streams import RowStreams
from rllib_agentmixer.envs.games.native import NativeParallelEnv, NativeVectorEnv, Rows
from rllib_agentmixer.envs.vector_env import BoolArray, FloatArray
from rllib_agentmixer.errors import ConfigError


class MemoryGame(NativeParallelEnv):
    """Single-environment form of the game; the module states the rules. Ends by termination.

    The observation is the cue (one-hot, zeros after the first one) and the flag of the last
    decision. The state always holds the cue, then the share of decisions made and the flag.

    Args:
        num_agents: N.
        num_cues: K, cues and actions.
        delay: k, decisions before the one that counts.
        render_mode: ``None``, ``"rgb_array"`` or ``"ansi"``.
    """

    metadata = {  # noqa: RUF012  PettingZoo declares it as a plain class attribute
        "name": "memory_game",
        "render_modes": ["rgb_array", "ansi"],
        "is_parallelizable": True,
        "render_fps": 2,
    }

    def __init__(
        self,
        num_agents: int = 2,
        num_cues: int = 4,
        delay: int = 4,
        render_mode: str | None = None,
    ) -> None:
        limits = {"num_agents": (num_agents, 1), "num_cues": (num_cues, 2), "delay": (delay, 1)}
        for name, (value, least) in limits.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be an integer >= {least}, got {value!r}")
        self.num_cues = num_cues
        self.delay = delay
        super().__init__(
            agents=[f"agent_{index}" for index in range(num_agents)],
            observation_space=spaces.Box(0.0, 1.0, (num_cues + 1,), np.float32),
            action_space=spaces.Discrete(num_cues),
            state_space=spaces.Box(0.0, 1.0, (num_cues + 2,), np.float32),
            render_mode=render_mode,
        )
        self._cue = 0
        self._time = 0
        self._last_actions: list[int] = []

    @property
    def optimum(self) -> float:
        """Best return of an episode."""
        return 1.0

    @property
    def memoryless_optimum(self) -> float:
        """Best expected return of policies that read the current observation alone."""
        return 1.0 / self.num_cues

    def state(self) -> FloatArray:
        state = np.zeros(self.num_cues + 2, np.float32)
        state[self._cue] = 1.0
        state[-2] = self._time / (self.delay + 1)
        state[-1] = self._time == self.delay
        return state

    def _restart(self, rng: np.random.Generator) -> None:
        # A fraction instead of an integer, so that the vectorized form can share the draw.
        self._cue = int(rng.random(1)[0] * self.num_cues)
        self._time = 0
        self._last_actions = []

    def _advance(self, actions: list[Any], rng: np.random.Generator) -> tuple[float, bool, bool]:
        counts = self._time == self.delay
        self._time += 1
        self._last_actions = [int(action) for action in actions]
        is_right = all(action == self._cue for action in self._last_actions)
        return float(counts and is_right), counts, False

    def _observe(self, index: int) -> FloatArray:
        observation = np.zeros(self.num_cues + 1, np.float32)
        if self._time == 0:
            observation[self._cue] = 1.0
        observation[-1] = self._time == self.delay
        return observation

    def _picture(self) -> np.ndarray:
        return draw_answers(self.num_cues, self._cue, self._last_actions, len(self.possible_agents))

    def _text(self) -> str:
        actions = self._last_actions or "none yet"
        return f"cue {self._cue}, decision {self._time} of {self.delay + 1}, actions {actions}"


class VectorMemoryGame(NativeVectorEnv):
    """Vectorized form of :class:`MemoryGame`; all episodes have one length and end together."""

    dynamic = ("_cues", "_time", "_last_actions")

    def __init__(self, num_envs: int, name: str = "memory_game", **settings: Any) -> None:
        game = MemoryGame(**settings)
        super().__init__(game, num_envs, name)
        self._num_cues = game.num_cues
        self._delay = game.delay
        self._one_hot = np.eye(game.num_cues, dtype=np.float32)
        self._cues = np.zeros(num_envs, np.intp)
        self._time = 0
        self._last_actions: np.ndarray | None = None

    def _restart(self, rows: Rows, count: int, rng: RowStreams) -> None:
        self._cues[rows] = (rng.random((count, 1)) * self._num_cues)[:, 0]
        self._time = 0
        self._last_actions = None

    def _advance(
        self, actions: np.ndarray, rng: RowStreams
    ) -> tuple[FloatArray, BoolArray, BoolArray]:
        counts = self._time == self._delay
        self._time += 1
        self._last_actions = actions.copy()
        is_right = (actions == self._cues[:, None]).all(axis=1)
        reward = (is_right & counts).astype(np.float32)
        return reward, np.full(self.num_envs, counts), np.zeros(self.num_envs, np.bool_)

    def _observe(self, rows: Rows) -> None:
        """Write all sub-environments whatever the rows: they are always at the same step."""
        cues = self._one_hot[self._cues]
        is_due = self._time == self._delay
        self._obs[:, :, :-1] = cues[:, None] if self._time == 0 else 0.0
        self._obs[:, :, -1] = is_due
        self._state[:, :-2] = cues
        self._state[:, -2] = self._time / (self._delay + 1)
        self._state[:, -1] = is_due

    def render(self, env_index: int = 0) -> np.ndarray:
        actions = [] if self._last_actions is None else self._last_actions[env_index].tolist()
        cue = int(self._cues[env_index])
        return draw_answers(self._num_cues, cue, actions, self.spec.num_agents)


def draw_answers(num_cues: int, cue: int, actions: list[int], num_agents: int) -> np.ndarray:
    """RGB picture: one row per agent, one column per cue; grey cue, last action on it.

    An action is blue where it names the cue and red elsewhere.
    """
    discs = [drawing.Disc(row, cue, drawing.GREY, radius=0.48) for row in range(num_agents)]
    for row, action in enumerate(actions):
        colour = drawing.BLUE if action == cue else drawing.RED
        discs.append(drawing.Disc(row, action, colour, radius=0.3))
    return drawing.draw_board(num_agents, num_cues, discs)
