"""A unit in the single-environment form of skirmish."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rllib_agentmixer.envs.games.skirmish.rules import (
    MAP_SIZE,
    MOVES,
    NUM_MOVES,
    OWN_FEATURES,
    SEEN_FEATURES,
    STOP,
    UNIT_TYPES,
    UnitType,
)


@dataclass
class Unit:
    """State and features of one unit."""

    kind: UnitType
    place: list[float]
    """x and y."""
    foes: range
    """Indices of the other side's units."""
    health: float
    goal: tuple[float, float] = (0.0, 0.0)
    """Destination of a scripted unit that sees no foe."""
    cooldown: float = 0.0
    """Seconds until the weapon is ready, if above 0."""
    action: int = STOP
    """Last action; attacks count up from ``NUM_MOVES``."""
    focus: int | None = None
    """Index of the unit that a scripted one attacked last."""
    aimed_at: int | None = None
    """Index of the unit that was hit in the last step."""

    @property
    def is_alive(self) -> bool:
        return self.health > 0

    @property
    def target(self) -> int | None:
        """Index of the unit under attack, or None."""
        return self.foes[self.action - NUM_MOVES] if self.action >= NUM_MOVES else None

    @property
    def move(self) -> tuple[float, float]:
        """x and y direction."""
        return MOVES[self.action] if self.action < NUM_MOVES else MOVES[STOP]

    def distance(self, other: Unit) -> float:
        return math.hypot(other.place[0] - self.place[0], other.place[1] - self.place[1])

    def sees(self, other: Unit) -> bool:
        return other.is_alive and self.distance(other) < self.kind.sight_range

    def reaches(self, other: Unit) -> bool:
        return other.is_alive and self.distance(other) < self.kind.attack_range

    def own_features(self) -> list[float]:
        if not self.is_alive:
            return [0.0] * OWN_FEATURES
        x, y = (min(max(value / MAP_SIZE, 0.0), 1.0) for value in self.place)
        return [self.health / self.kind.health, x, y, *self._weapon_and_type()]

    def seen_by(self, observer: Unit) -> list[float]:
        if not observer.is_alive or not observer.sees(self):
            return [0.0] * SEEN_FEATURES
        sight = observer.kind.sight_range
        x, y = ((mine - its) / sight for mine, its in zip(self.place, observer.place, strict=True))
        last_action = NUM_MOVES + len(self.foes) - 1
        aim = self.action / last_action if self.target is not None else 0.0
        features = (self.health / self.kind.health, x, y, *self.move, aim)
        return [*features, *self._weapon_and_type()]

    def _weapon_and_type(self) -> list[float]:
        rest = min(max(self.cooldown / self.kind.cooldown, 0.0), 1.0)
        return [rest, *(float(kind is self.kind) for kind in UNIT_TYPES)]
