"""Bridge: two agents must cross a single-file bridge, and only the state says who goes first.

An agent stands at p in 0..L+1: 0 is its own bank, 1..L the bridge, L+1 the far bank, which it
never leaves. Each reset gives the right of way to either agent with probability 1/2. One
step, in this order:

1. the team pays ``time_cost``;
2. the agents that go advance by one cell, both in the same moment;
3. if both are on the bridge now, they jam: ``jam_cost`` is paid and the episode terminates;
4. else, if the agent without the right of way entered the bridge in this step and the holder
   is not on the far bank now, ``fine`` is paid. Nobody goes back: at most once an episode;
5. if both are on the far bank now, the team receives 1 and the episode terminates.

The episode also terminates after ``horizon`` steps: the horizon is a rule of the game, which
the agents see coming, and not a cut. (Declared as a cut, it would make learners bootstrap from
a situation that is never learned, and idling look good.) With probability ``visibility`` the agents
see the right of way in an episode, else only the state holds it.

Returns in closed form, with c, j, f, H for the costs of time, jam, fine and for the horizon:

* ``optimum``, of agents that know the state. Two that do not jam are on the bridge in 2L
  different moments, and the last arrives one later: ``cross`` = 1 - (2L+1) c at best, reached
  without a fine if the holder goes first and the other enters in the step in which the
  holder leaves. The quickest end is to jam at once: ``jam`` = -j - c. As H >= 2L+1, waiting
  for the horizon, at most -H c, is worse than crossing. So it is max(cross, jam).
* ``individual_optimum``, of agents that know their own observations. What an agent observes
  follows from its own moves and the cue, so memory adds nothing; with one payoff for both,
  some deterministic pair of plans per cue is best. Where the right of way shows, they reach
  the optimum. Where it is hidden, one plan serves both cases. If it crosses, whoever enters
  first lacks the right of way half of the time: at best cross - f/2, by a convention such as
  "agent_0 goes first". If it does not cross: nobody enters, -H c (one that enters alone only
  adds f/2), or both jam at once. So it is max(cross - f/2, -H c, jam).
* ``distilled_return``, of agents that each sample from the optimal expert's action averaged
  over what they cannot see, on the expert's own episodes (behavioural cloning). Where the
  right of way shows, or the expert jams, this is the expert. Else, at time 0, each goes with
  probability 1/2. Both go: jam. One goes: they cross, fined half of the time. Nobody goes:
  each takes itself for the second and enters L steps later, so they jam after L+1 steps.
  Together (cross - f/2) / 2 + (jam - j - (L+1) c) / 4.

The observations of both agents look alike, so a convention needs agents of their own
parameters. The bridge follows the example of asymmetric learning failure in Li et al.,
"AgentMixer", AAAI 2025, arXiv:2401.08728.
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

WAIT, GO = 0, 1


@dataclass(frozen=True)
class BridgeSettings:
    """Size and costs of a bridge, checked."""

    length: int
    """L, cells of the bridge."""
    jam_cost: float
    """Subtracted when the agents jam, at least 0."""
    time_cost: float
    """Subtracted in every step, at least 0."""
    fine: float
    """Subtracted when the right of way is ignored, at least 0."""
    visibility: float
    """Probability in [0, 1] that the agents see the right of way in an episode."""
    horizon: int
    """H, length at which an episode ends at the latest, at least 2L+1."""

    def __post_init__(self) -> None:
        _check_whole("length", self.length, least=1)
        _check_whole("horizon", self.horizon, least=2 * self.length + 1)
        for name in ("jam_cost", "time_cost", "fine", "visibility"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise ConfigError(f"{name} must be a number of at least 0, got {value!r}")
        if self.visibility > 1:
            raise ConfigError(f"visibility must lie in [0, 1], got {self.visibility!r}")

    @property
    def crossing_return(self) -> float:
        """Return of the fastest crossing without a fine."""
        return 1.0 - self.time_cost * (2 * self.length + 1)

    @property
    def jam_return(self) -> float:
        """Return of a jam in the first step."""
        return -self.jam_cost - self.time_cost


class Bridge(NativeParallelEnv):
    """Single-environment form of the bridge; the module states the rules and the returns.

    An agent observes its own position (one-hot), the share of time gone, and the right of
    way: 1 its own, -1 the other's, 0 hidden. It never sees its teammate. The state holds
    both positions (one-hot), the share of time gone, the right of way (1 agent_0's, -1
    agent_1's), whether the agents see it, and whether the fine was paid.

    Args:
        length: cells of the bridge.
        jam_cost: subtracted when both agents are on the bridge.
        time_cost: subtracted in every step.
        fine: subtracted when the agent without the right of way enters too early.
        visibility: degree of observability: probability per episode that the agents see the
            right of way.
        horizon: length at which the episode ends; None for ``2 * length + 4``.
        render_mode: ``None``, ``"rgb_array"`` or ``"ansi"``.
    """

    metadata = {  # noqa: RUF012  PettingZoo declares it as a plain class attribute
        "name": "bridge",
        "render_modes": ["rgb_array", "ansi"],
        "is_parallelizable": True,
        "render_fps": 2,
    }

    def __init__(
        self,
        length: int = 2,
        jam_cost: float = 1.0,
        time_cost: float = 0.01,
        fine: float = 0.5,
        visibility: float = 0.0,
        horizon: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        _check_whole("length", length, least=1)
        self.settings = BridgeSettings(
            length=length,
            jam_cost=jam_cost,
            time_cost=time_cost,
            fine=fine,
            visibility=visibility,
            horizon=2 * length + 4 if horizon is None else horizon,
        )
        super().__init__(
            agents=["agent_0", "agent_1"],
            observation_space=spaces.Box(-1.0, 1.0, (length + 4,), np.float32),
            action_space=spaces.Discrete(2),
            state_space=spaces.Box(-1.0, 1.0, (2 * length + 8,), np.float32),
            render_mode=render_mode,
        )
        self._positions = [0, 0]
        self._holder = 0
        self._is_visible = False
        self._is_fined = False
        self._time = 0

    @property
    def optimum(self) -> float:
        """Best expected return of agents that know the state."""
        return max(self.settings.crossing_return, self.settings.jam_return)

    @property
    def individual_optimum(self) -> float:
        """Best expected return of agents that know their own observations alone."""
        rules = self.settings
        hidden = max(
            rules.crossing_return - rules.fine / 2,
            rules.jam_return,
            -rules.time_cost * rules.horizon,
        )
        return rules.visibility * self.optimum + (1 - rules.visibility) * hidden

    @property
    def distilled_return(self) -> float:
        """Expected return of agents that each sample from the averaged optimal expert."""
        rules = self.settings
        if rules.crossing_return < rules.jam_return:
            return self.optimum
        late_jam = -rules.jam_cost - rules.time_cost * (rules.length + 1)
        crossing = rules.crossing_return - rules.fine / 2
        hidden = crossing / 2 + (rules.jam_return + late_jam) / 4
        return rules.visibility * self.optimum + (1 - rules.visibility) * hidden

    def state(self) -> FloatArray:
        rules = self.settings
        cells = np.zeros((2, rules.length + 2), np.float32)
        cells[(0, 1), self._positions] = 1.0
        rest = (self._time / rules.horizon, self._side(0), self._is_visible, self._is_fined)
        return np.array([*cells.ravel(), *rest], np.float32)

    def _restart(self, rng: np.random.Generator) -> None:
        # One draw for both, as in the vectorized form.
        right_of_way, visibility = rng.random(2)
        self._holder = 0 if right_of_way < 0.5 else 1
        self._is_visible = bool(visibility < self.settings.visibility)
        self._is_fined = False
        self._positions = [0, 0]
        self._time = 0

    def _advance(self, actions: list[Any], rng: np.random.Generator) -> tuple[float, bool, bool]:
        rules, far = self.settings, self.settings.length + 1
        other = 1 - self._holder
        enters_bridge = self._positions[other] == 0 and actions[other] == GO
        self._time += 1
        moved = zip(self._positions, actions, strict=True)
        self._positions = [min(cell + int(action), far) for cell, action in moved]
        reward = -rules.time_cost
        if all(0 < cell < far for cell in self._positions):
            return reward - rules.jam_cost, True, False
        if enters_bridge and self._positions[self._holder] < far:
            self._is_fined = True
            reward -= rules.fine
        if self._positions == [far, far]:
            return reward + 1.0, True, False
        return reward, self._time >= rules.horizon, False

    def _observe(self, index: int) -> FloatArray:
        observation = np.zeros(self.settings.length + 4, np.float32)
        observation[self._positions[index]] = 1.0
        observation[-2] = self._time / self.settings.horizon
        observation[-1] = self._side(index) if self._is_visible else 0.0
        return observation

    def _side(self, index: int) -> float:
        """The right of way from one agent's point of view: 1 its own, -1 the other's."""
        return 1.0 if index == self._holder else -1.0

    def _picture(self) -> np.ndarray:
        return draw_bridge(self.settings.length, self._positions, self._holder, self._is_visible)

    def _text(self) -> str:
        length = self.settings.length
        columns = _columns(length, self._positions)
        cells = ["".join(str(i) for i in (0, 1) if columns[i] == c) for c in range(length + 2)]
        bridge = " ".join(cell or "." for cell in cells[1:-1])
        seen = "seen" if self._is_visible else "hidden"
        return f"{cells[0]:>2} | {bridge} | {cells[-1]:<2}  right of way: {self._holder} ({seen})"


def draw_bridge(length: int, positions: list[int], holder: int, is_visible: bool) -> np.ndarray:
    """RGB picture: agent_0 blue from the left, agent_1 red from the right, over water.

    A dot marks the agent with the right of way: white if the agents see it, grey if not.
    """
    ground = {(row, c): drawing.WATER for row in (0, 2) for c in range(1, length + 1)}
    ground |= {(1, c): drawing.WOOD for c in range(1, length + 1)}
    ground |= {(row, c): drawing.GRASS for row in range(3) for c in (0, length + 1)}
    discs = []
    for index, column in enumerate(_columns(length, positions)):
        # Apart on the banks, where both may stay; almost in one line on the bridge.
        apart = 0.2 if 0 < column <= length else 0.8
        row = 1 + apart * (2 * index - 1)
        discs.append(drawing.Disc(row, column, (drawing.BLUE, drawing.RED)[index]))
        if index == holder:
            dot = drawing.PAPER if is_visible else drawing.GREY
            discs.append(drawing.Disc(row, column, dot, radius=0.12))
    return drawing.draw_board(3, length + 2, discs, ground=ground)


def _columns(length: int, positions: list[int]) -> tuple[int, int]:
    """Columns of both agents from the left bank: agent_1 comes from the right."""
    return positions[0], length + 1 - positions[1]


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} must be an integer >= {least}, got {value!r}")
