"""Vectorized skirmish: the rules of :mod:`.skirmish` on arrays of B sub-environments.

Sub-environments are the last axis of the stored arrays, [U, B], so that numpy's inner loops
run over them; Python loops run over sub-steps alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_agentmixer.envs.games.episode_streams import RowStreams
from rllib_agentmixer.envs.games.native import NativeVectorEnv, Rows
from rllib_agentmixer.envs.games.skirmish.drawing import Figure, draw_battle
from rllib_agentmixer.envs.games.skirmish.melee import Melee
from rllib_agentmixer.envs.games.skirmish.rules import (
    MAP_SIZE,
    MOVES,
    NUM_MOVES,
    NUM_TYPES,
    OWN_FEATURES,
    SEEN_FEATURES,
    STOP,
    SUB_STEPS,
    UNIT_TYPES,
    deal_places,
    deal_types,
    type_numbers,
)
from rllib_agentmixer.envs.games.skirmish.script import NO_UNIT, Doubles, Side, script_actions
from rllib_agentmixer.envs.games.skirmish.skirmish import Skirmish
from rllib_agentmixer.envs.vector_env import BoolArray, FloatArray

_HEALTH, _COOLDOWN = type_numbers("health"), type_numbers("cooldown")
_SIGHT = type_numbers("sight_range")
_SQUARED_RANGE = type_numbers("attack_range") ** 2
_MOVES = np.array(MOVES, np.float32)
_FLAGS = np.eye(NUM_TYPES, dtype=np.float32)


class VectorSkirmish(NativeVectorEnv):
    """Vectorized form of :class:`Skirmish`, with the same settings and rules.

    Args:
        num_envs: B.
        name: environment name, for metadata.
        settings: as of :class:`Skirmish`.
    """

    dynamic = (
        "_types",
        "_places",
        "_health",
        "_cooldown",
        "_actions",
        "_hits",
        "_focus",
        "_goals",
        "_time",
    )

    def __init__(self, num_envs: int, name: str = "skirmish", **settings: Any) -> None:
        single_env = Skirmish(**settings)
        super().__init__(single_env, num_envs, name)
        self.settings = rules = single_env.settings
        N, M, U = rules.num_allies, rules.num_enemies, rules.num_units
        everyone = np.arange(U)
        self._allies, self._enemies = slice(0, N), slice(N, U)
        self._first_foe = np.where(everyone < N, N, 0)
        self._last_action = NUM_MOVES + np.where(everyone < N, M, N) - 1
        # [N, U - 1] whom each ally observes, in order.
        self._others = np.array([np.delete(everyone, index) for index in range(N)], np.intp)
        shape = (U, num_envs)
        self._types = np.zeros(shape, np.intp)
        self._places = np.zeros((2, *shape))
        self._health, self._cooldown = np.zeros(shape), np.zeros(shape)
        self._actions = np.full(shape, STOP)
        self._hits = np.full(shape, NO_UNIT)
        self._focus = np.full((M, num_envs), NO_UNIT)
        self._goals = np.zeros((2, *shape))
        self._time = np.zeros(num_envs, np.int32)

    @property
    def action_mask(self) -> BoolArray:
        """[B, N, A] legal actions now."""
        return self._mask

    @property
    def time(self) -> np.ndarray:
        """[B] steps taken in the running episodes."""
        return self._time

    def side(self, is_ally: bool) -> Side:
        """Current state of one team."""
        units = self._allies if is_ally else self._enemies
        return Side(self._places[:, units], self._health[units], self._types[units])

    def goals(self, is_ally: bool) -> Doubles:
        """[2, n, B] mirror images of a team's starting positions."""
        return self._goals[:, self._allies if is_ally else self._enemies]

    def _restart(self, rows: Rows, count: int, rng: RowStreams) -> None:
        draws = rng.random((count, self.settings.draws.size))
        types = np.ascontiguousarray(deal_types(self.settings, draws).T)
        places = np.ascontiguousarray(deal_places(self.settings, draws).transpose(2, 1, 0))
        health, cooldown = _HEALTH[types], np.zeros(types.shape)
        actions = np.full(types.shape, STOP)
        Melee(places, health, cooldown, types, actions, self._first_foe).push_apart()
        self._types[:, rows], self._health[:, rows] = types, health
        self._places[:, :, rows], self._goals[:, :, rows] = places, MAP_SIZE - places
        self._cooldown[:, rows] = 0.0
        self._actions[:, rows], self._hits[:, rows] = STOP, NO_UNIT
        self._focus[:, rows] = NO_UNIT
        self._time[rows] = 0

    def _advance(
        self, actions: np.ndarray, rng: RowStreams
    ) -> tuple[FloatArray, BoolArray, BoolArray]:
        U = self.settings.num_units
        draws = rng.random((self.num_envs, SUB_STEPS, U)).transpose(1, 2, 0)
        self._time += 1
        self._actions[self._allies] = actions.T
        self._actions[self._enemies] = script_actions(
            self.side(False), self.side(True), self.goals(False), self._focus
        )
        before = self._enemy_health()
        melee = Melee(
            self._places, self._health, self._cooldown, self._types, self._actions, self._first_foe
        )
        for row in draws.reshape(SUB_STEPS, -1):
            melee.sub_step(row)
        self._hits = melee.hits()
        lost = (self._health[self._allies] == 0).all(axis=0)
        cleared = (self._health[self._enemies] == 0).all(axis=0)
        reward = (before - self._enemy_health() + (cleared & ~lost)).astype(np.float32)
        terminated = cleared | lost
        return reward, terminated, (self._time >= self.settings.max_steps) & ~terminated

    def _enemy_health(self) -> Doubles:
        """[B] remaining fraction of the enemies' health."""
        return (self._health / _HEALTH[self._types])[self._enemies].mean(axis=0)

    def _info(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        alive = self._health[:, rows] > 0
        won = np.full(self.num_envs, np.nan)
        won[rows] = alive[self._allies].any(axis=0) & ~alive[self._enemies].any(axis=0)
        return {"won": won}

    def _observe(self, rows: Rows) -> None:
        N = self.settings.num_allies
        places, types = self._places[:, :, rows], self._types[:, rows]
        alive = self._health[:, rows] > 0
        own = self._own_features(rows, alive)
        gap = places[:, self._others] - places[:, :N, None]  # [2, N, U - 1, R]
        seen = self._seen_features(rows, own)[:, self._others]
        self._show_places(seen, gap / _SIGHT[types[:N, None]], alive)
        self._obs[rows, :, :-OWN_FEATURES] = seen.reshape(len(own), N, -1)
        self._obs[rows, :, -OWN_FEATURES:] = own[:, :N]
        self._state[rows, :-1] = own.reshape(len(own), -1)
        self._state[rows, -1] = self._time[rows] / self.settings.max_steps
        # The enemies are the last that each ally observes.
        gap = gap[:, :, N - 1 :]
        squared = gap[0] * gap[0] + gap[1] * gap[1]
        in_range = (squared < _SQUARED_RANGE[types[:N, None]]) & alive[None, N:]
        # Dead units keep every action: their rows of the mask are undefined.
        dead = ~alive[:N]
        self._mask[rows, :, NUM_MOVES:] = (in_range | dead[:, None]).transpose(2, 0, 1)
        self._alive[rows] = alive[:N].T

    def _own_features(self, rows: Rows, alive: BoolArray) -> FloatArray:
        """[R, U, ..] of every unit about itself."""
        places, types = self._places[:, :, rows], self._types[:, rows]
        features = np.empty((*types.T.shape, OWN_FEATURES), np.float32)
        features[:, :, 0] = (self._health[:, rows] / _HEALTH[types]).T
        features[:, :, 1:3] = (places / MAP_SIZE).clip(0, 1).transpose(2, 1, 0)
        features[:, :, 3] = (self._cooldown[:, rows] / _COOLDOWN[types]).clip(0, 1).T
        features[:, :, 4:] = _FLAGS[types.T]
        features *= alive.T[:, :, None]
        return features

    def _seen_features(self, rows: Rows, own: FloatArray) -> FloatArray:
        """[R, U, ..] of every unit as others see it; places are left out."""
        actions = self._actions[:, rows]
        attacks = actions >= NUM_MOVES
        features = np.empty((*own.shape[:2], SEEN_FEATURES), np.float32)
        features[:, :, 0] = own[:, :, 0]
        features[:, :, 3:5] = _MOVES[np.where(attacks, STOP, actions).T]
        features[:, :, 5] = np.where(attacks, actions / self._last_action[:, None], 0).T
        features[:, :, 6:] = own[:, :, 3:]
        return features

    def _show_places(self, seen: FloatArray, gap: Doubles, alive: BoolArray) -> None:
        """Write gaps [2, N, U - 1, R] in units of sight to [R, N, U - 1, ..], zero the unseen."""
        N = self.settings.num_allies
        in_sight = gap[0] * gap[0] + gap[1] * gap[1] < 1
        in_sight &= alive[self._others] & alive[:N, None]
        seen[..., 1:3] = gap.transpose(3, 1, 2, 0)
        seen *= in_sight.transpose(2, 0, 1)[..., None]

    def render(self, env_index: int = 0) -> np.ndarray:
        places, health = self._places[..., env_index], self._health[:, env_index]
        types, hits = self._types[:, env_index], self._hits[:, env_index]
        figures = [
            Figure(
                kind=UNIT_TYPES[types[unit]],
                is_ally=unit < self.settings.num_allies,
                place=(float(places[0, unit]), float(places[1, unit])),
                health=float(health[unit] / _HEALTH[types[unit]]),
                aimed_at=None if hits[unit] == NO_UNIT else hits[unit],
            )
            for unit in range(self.settings.num_units)
        ]
        return draw_battle(figures, int(self._time[env_index]), self.settings.max_steps)
