"""Parameters and initial states of skirmish: unit types, settings, starting positions.

The rules are those of SMAX (Rutherford et al., "JaxMARL", NeurIPS 2024, arXiv:2311.10090;
github.com/FLAIROx/JaxMARL, Apache License 2.0), which follow SMAC and SMACv2 without their
engine. The numbers of the unit types are SMAX's; the code is not. The differences are listed in
:mod:`rllib_agentmixer.envs.games.skirmish.skirmish`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_agentmixer.envs.registry import nearest
from rllib_agentmixer.errors import ConfigError

MAP_SIZE = 32.0
"""Side of the square map; touching its edge kills."""

SUB_STEPS = 8
"""Simulation steps per decision."""

SECONDS = 1 / 16
"""Length of a sub-step."""

START_MARGIN = 1.0
"""No unit starts closer than this to the edge."""

SCATTER = 2.0
"""Members of a group start within this of its middle, in x and in y."""

MOVES = ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0), (0.0, 0.0))
"""x and y directions of the actions up, right, down, left and stop."""

NUM_MOVES = len(MOVES)
STOP = NUM_MOVES - 1

STARTS = ("random", "reflect", "surround", "facing")


@dataclass(frozen=True)
class UnitType:
    """Parameters of a unit type; lengths in map units, times in seconds."""

    name: str
    letter: str
    """Letter in pictures."""
    speed: float
    damage: float
    """Health removed by a shot."""
    attack_range: float
    sight_range: float
    radius: float
    health: float
    """Initial health; units do not heal."""
    cooldown: float
    """Time between two shots, on average half a sub-step more."""


UNIT_TYPES = (
    UnitType("marine", "M", 3.15, 9, 5, 9, 0.375, 45, 0.61),
    UnitType("marauder", "R", 2.25, 10, 6, 10, 0.5625, 125, 1.07),
    UnitType("stalker", "S", 4.13, 13, 6, 10, 0.625, 160, 1.87),
    UnitType("zealot", "Z", 3.15, 8, 2, 9, 0.5, 150, 0.86),
    UnitType("zergling", "G", 4.13, 5, 2, 8, 0.375, 35, 0.5),
    UnitType("hydralisk", "H", 3.15, 12, 5, 9, 0.625, 80, 0.59),
)

NUM_TYPES = len(UNIT_TYPES)
UNIT_NAMES = tuple(kind.name for kind in UNIT_TYPES)

OWN_FEATURES = 4 + NUM_TYPES
"""Health, x, y, cooldown, one flag per type."""

SEEN_FEATURES = 7 + NUM_TYPES
"""Health, x and y from the observer, x and y direction of the last move, target of the last
attack, cooldown, one flag per type."""


def type_numbers(name: str) -> np.ndarray:
    """[types] one number of every unit type, such as ``"speed"``."""
    return np.array([getattr(kind, name) for kind in UNIT_TYPES], np.float64)


@dataclass(frozen=True)
class SkirmishSettings:
    """Teams, starts and length of a battle, checked."""

    num_allies: int
    num_enemies: int
    unit_types: tuple[str, ...] | None
    """Types of the allies, in order; None draws them in every episode."""
    enemy_unit_types: tuple[str, ...] | None
    """Types of the enemies; None mirrors the allies."""
    starts: str
    """One of ``STARTS``."""
    max_steps: int
    """Length at which an episode is truncated."""

    def __post_init__(self) -> None:
        for name in ("num_allies", "num_enemies", "max_steps"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} must be an integer >= 1, got {value!r}")
        if self.starts not in STARTS:
            hint = nearest(str(self.starts), STARTS)
            raise ConfigError(
                f"starts must be one of {', '.join(STARTS)}, got {self.starts!r}{hint}"
            )
        if self.unit_types is None and self.enemy_unit_types is not None:
            raise ConfigError("enemy_unit_types needs unit_types: give both or neither")
        _check_names("unit_types", self.unit_types, self.num_allies)
        _check_names("enemy_unit_types", self.enemy_unit_types, self.num_enemies)

    @property
    def num_units(self) -> int:
        return self.num_allies + self.num_enemies

    @property
    def obs_size(self) -> int:
        """Observation size: features of every other unit, and the agent's own."""
        return SEEN_FEATURES * (self.num_units - 1) + OWN_FEATURES

    @property
    def state_size(self) -> int:
        """State size: own features of every unit, and the elapsed fraction of the time."""
        return OWN_FEATURES * self.num_units + 1

    @property
    def num_actions(self) -> int:
        """Number of an ally's actions: moves, stop, one attack per enemy."""
        return NUM_MOVES + self.num_enemies

    @property
    def draws(self) -> EpisodeDraws:
        """Layout of an episode's random numbers in one row."""
        return EpisodeDraws(self.num_units, max(self.num_allies, self.num_enemies))


def checked_settings(**settings: Any) -> SkirmishSettings:
    """Settings from a user's arguments; lists of unit types become tuples."""
    for name in ("unit_types", "enemy_unit_types"):
        value = settings[name]
        if isinstance(value, Sequence) and not isinstance(value, str):
            settings[name] = tuple(value)
    return SkirmishSettings(**settings)


def _check_names(argument: str, names: Any, count: int) -> None:
    if names is None:
        return
    if not isinstance(names, tuple) or len(names) != count:
        raise ConfigError(f"{argument} must be {count} names of unit types, got {names!r}")
    for name in names:
        if name not in UNIT_NAMES:
            raise ConfigError(
                f"{argument}: unknown unit type {name!r}{nearest(str(name), UNIT_NAMES)}; "
                f"known: {', '.join(UNIT_NAMES)}"
            )


@dataclass(frozen=True)
class EpisodeDraws:
    """Columns of the uniform numbers in [0, 1) that a new episode uses."""

    num_units: int
    most: int
    """Units of the larger team."""

    @property
    def size(self) -> int:
        return 2 + 2 * self.most + 2 * self.num_units + 4

    def split(self, draws: np.ndarray) -> list[np.ndarray]:
        """Coins [R, 2], types [R, most], corners [R, most], places [R, U, 2], distances [R, 4]."""
        ends = np.cumsum([2, self.most, self.most, 2 * self.num_units])
        coins, types, corners, places, distances = np.split(draws, ends, axis=1)
        return [coins, types, corners, places.reshape(-1, self.num_units, 2), distances]


def deal_types(settings: SkirmishSettings, draws: np.ndarray) -> np.ndarray:
    """Types [R, U] of new units: drawn uniformly, and mirrored between the sides."""
    N, M = settings.num_allies, settings.num_enemies
    if settings.unit_types is None:
        types = (settings.draws.split(draws)[1] * NUM_TYPES).astype(np.intp)
        return np.concatenate([types[:, :N], types[:, :M]], axis=1)
    allies = settings.unit_types
    enemies = settings.enemy_unit_types or tuple(allies[index % N] for index in range(M))
    row = [UNIT_NAMES.index(name) for name in (*allies, *enemies)]
    return np.tile(np.array(row, np.intp), (len(draws), 1))


def deal_places(settings: SkirmishSettings, draws: np.ndarray) -> np.ndarray:
    """Places [R, U, 2] of fresh units, before those that overlap are pushed apart.

    reflect: allies anywhere in the left half, enemies mirrored in the right one.
    surround: one side, drawn by a coin, in the middle; the other in groups on the diagonals.
    facing: both sides in the middle of their half. random: reflect or surround by a coin.
    """
    coins, _, corners, fractions, distances = settings.draws.split(draws)
    N = settings.num_allies
    scatter = SCATTER * (2 * fractions - 1)
    if settings.starts == "facing":
        is_ally = np.arange(settings.num_units) < N
        middles = np.where(is_ally, MAP_SIZE / 4, 3 * MAP_SIZE / 4)
        places = np.stack([middles, np.full_like(middles, MAP_SIZE / 2)], axis=-1) + scatter
    elif settings.starts == "reflect":
        places = _reflected(settings, fractions)
    else:
        groups = _groups(corners, distances) + MAP_SIZE / 2
        allies_inside = coins[:, 1:, None] < 0.5
        middle = MAP_SIZE / 2
        allies = np.where(allies_inside, middle, groups[:, :N])
        enemies = np.where(allies_inside, groups[:, : settings.num_enemies], middle)
        places = np.concatenate([allies, enemies], axis=1) + scatter
        if settings.starts == "random":
            is_reflected = coins[:, :1, None] < 0.5
            places = np.where(is_reflected, _reflected(settings, fractions), places)
    return places


def _reflected(settings: SkirmishSettings, fractions: np.ndarray) -> np.ndarray:
    N = settings.num_allies
    places = START_MARGIN + fractions * [
        MAP_SIZE / 2 - START_MARGIN,
        MAP_SIZE - 2 * START_MARGIN,
    ]
    paired = min(N, settings.num_enemies)
    places[:, N : N + paired] = places[:, :paired]
    places[:, N:, 0] = MAP_SIZE - places[:, N:, 0]
    return places


def _groups(corners: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """[R, most, 2] offsets from the centre to each unit's group, towards a corner."""
    chosen = (corners * 4).astype(np.intp)
    reach = np.take_along_axis(1 - distances, chosen, axis=1)[:, :, None]
    signs = np.stack([np.where(chosen < 2, -1, 1), np.where(chosen % 2 == 0, -1, 1)], axis=-1)
    return reach * signs * (MAP_SIZE / 2 - SCATTER - START_MARGIN)
