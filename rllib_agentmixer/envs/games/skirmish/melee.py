"""Vectorized sub-steps of a skirmish: shooting, moving, pushing apart.

Arrays are [U, B], units first, and processed as flat views, so that one index names a unit
of a sub-environment. Rare events (shots, overlaps) are computed for the units concerned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rllib_agentmixer.envs.games.skirmish.rules import (
    MAP_SIZE,
    MOVES,
    NUM_MOVES,
    SECONDS,
    type_numbers,
)
from rllib_agentmixer.envs.games.skirmish.script import NO_UNIT, Doubles

_SPEED, _RADIUS = type_numbers("speed"), type_numbers("radius")
_DAMAGE, _COOLDOWN = type_numbers("damage"), type_numbers("cooldown")
_SQUARED_RANGE = type_numbers("attack_range") ** 2
_DIRECTIONS = np.array(MOVES).T.copy()  # [2, 5]


class Melee:
    """One decision of all units: quantities that are constant during its sub-steps.

    Places, health and cooldown are changed in place.

    Args:
        places: [2, U, B], contiguous.
        health: [U, B], contiguous.
        cooldown: [U, B], contiguous.
        types: [U, B].
        actions: [U, B].
        first_foe: [U] index of the unit that each unit's first attack is aimed at.
    """

    def __init__(
        self,
        places: Doubles,
        health: Doubles,
        cooldown: Doubles,
        types: NDArray[np.intp],
        actions: NDArray[np.intp],
        first_foe: NDArray[np.intp],
    ) -> None:
        U, B = health.shape
        self._places = places.reshape(2, -1)
        self._health = health.reshape(-1)
        self._cooldown = cooldown.reshape(-1)
        self._types = types.reshape(-1)
        self._alive = self._health > 0
        self._shape = (U, B)
        attacks = actions >= NUM_MOVES
        targets = np.where(attacks, actions - NUM_MOVES + first_foe[:, None], 0)
        self.aim = (targets * B + np.arange(B)).reshape(-1)
        """[U * B] flat index of each unit's target; undefined without an attack."""
        self.has_hit = np.zeros(U * B, np.bool_)
        """[U * B] units that have hit since the first sub-step."""
        self._attacks = attacks.reshape(-1) & self._alive
        directions = _DIRECTIONS[:, np.where(attacks, NUM_MOVES - 1, actions).reshape(-1)]
        self._strides = directions * (_SPEED[self._types] * SECONDS * self._alive)
        self._pairs = np.triu_indices(U, 1)
        self._reach = _RADIUS[types][self._pairs[0]] + _RADIUS[types][self._pairs[1]]  # [P, B]
        self._note_the_dead()

    def sub_step(self, draws: Doubles) -> None:
        """Shots, moves, deaths and pushes, in the order of the rules; ``draws`` are [U * B]."""
        shooters = self._shooters()
        self._cooldown -= SECONDS
        self._cooldown[shooters] = _COOLDOWN[self._types[shooters]] + SECONDS * (
            3 * draws[shooters] - 1
        )
        self._places += self._strides
        np.clip(self._places, 0.0, MAP_SIZE, out=self._places)
        if shooters.size:
            self.has_hit[shooters] = True
            damage = _DAMAGE[self._types[shooters]]
            self._health -= np.bincount(self.aim[shooters], damage, self._health.size)
            np.maximum(self._health, 0.0, out=self._health)
        at_edge = ((self._places <= 0) | (self._places >= MAP_SIZE)).any(axis=0)
        self._health[at_edge] = 0.0
        alive = self._health > 0
        if np.count_nonzero(alive) < np.count_nonzero(self._alive):
            self._alive = alive
            self._attacks &= alive
            self._strides *= alive
            self._note_the_dead()
        self.push_apart()

    def push_apart(self) -> None:
        """Pull every two living units that overlap apart until they would touch."""
        first, second = self._pairs
        U, B = self._shape
        places = self._places.reshape(2, U, B)
        gap = places.take(first, axis=1) - places.take(second, axis=1)  # [2, P, B]
        squared = gap[0] * gap[0] + gap[1] * gap[1]
        close = np.flatnonzero(squared < self._squared_reach)
        if not close.size:
            return
        distance = np.sqrt(squared.reshape(-1)[close]) + 1e-6
        firmness = np.maximum(self._reach.reshape(-1)[close] / distance - 1, 0) / 2
        pair, env_index = np.divmod(close, B)
        one, other = first[pair] * B + env_index, second[pair] * B + env_index
        for axis in range(2):
            shift = gap[axis].reshape(-1)[close] * firmness
            self._places[axis] += np.bincount(one, shift, U * B)
            self._places[axis] -= np.bincount(other, shift, U * B)

    def hits(self) -> NDArray[np.intp]:
        """[U, B] index of the unit that each unit hit, or ``NO_UNIT``."""
        B = self._shape[1]
        return np.where(self.has_hit, self.aim // B, NO_UNIT).reshape(self._shape)

    def _shooters(self) -> NDArray[np.intp]:
        """Flat indices of the units that hit in this sub-step."""
        ready = np.flatnonzero(self._attacks & (self._cooldown <= 0))
        if not ready.size:
            return ready
        target = self.aim[ready]
        gap = self._places[:, ready] - self._places[:, target]
        squared = gap[0] * gap[0] + gap[1] * gap[1]
        return ready[(squared < _SQUARED_RANGE[self._types[ready]]) & self._alive[target]]

    def _note_the_dead(self) -> None:
        first, second = self._pairs
        alive = self._alive.reshape(self._shape)
        both = alive[first] & alive[second]
        self._squared_reach = np.where(both, self._reach * self._reach, -1.0)
