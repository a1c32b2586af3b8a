"""Vectorized script of skirmish's enemies; allies can follow it too, as a baseline.

Axes: [n, B] for the n units that follow the script, [n, m, B] towards their m foes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rllib_agentmixer.envs.games.skirmish.rules import (
    MAP_SIZE,
    MOVES,
    NUM_MOVES,
    SECONDS,
    STOP,
    SUB_STEPS,
    type_numbers,
)

Doubles = NDArray[np.float64]
Prey = Literal["closest", "weakest"]
"""Target choice among units in range: ``closest`` is kept until it dies or escapes."""

NO_UNIT = -1

_DIRECTIONS = np.array(MOVES[:STOP]).T  # [2, 4]


@dataclass(frozen=True, eq=False)
class Side:
    """One team in all sub-environments."""

    places: Doubles
    """[2, n, B]"""
    health: Doubles
    """[n, B]"""
    types: NDArray[np.intp]
    """[n, B]"""


def script_actions(
    own: Side, foes: Side, goals: Doubles, focus: NDArray[np.intp], prey: Prey = "closest"
) -> NDArray[np.intp]:
    """Actions [n, B] of one side; those of dead units are undefined.

    Args:
        own: the acting side.
        foes: the other side.
        goals: [2, n, B] destinations of units that see no foe.
        focus: [n, B] foe that each attacked last or ``NO_UNIT``; renewed in place.
        prey: target choice.
    """
    gap = foes.places[:, None] - own.places[:, :, None]  # [2, n, m, B]
    squared = gap[0] * gap[0] + gap[1] * gap[1]
    lives = (foes.health > 0)[None]
    reach, sight = _squares("attack_range"), _squares("sight_range")
    in_range = (squared < reach[own.types][:, None]) & lives
    wanted = squared if prey == "closest" else foes.health[None]
    target = np.where(in_range, wanted, np.inf).argmin(axis=1)
    if prey == "closest":
        again = (focus != NO_UNIT) & _of(in_range, focus)
        target = np.where(again, focus, target)
    shoots = in_range.any(axis=1)
    focus[:] = np.where(shoots, target, NO_UNIT)
    seen = np.where((squared < sight[own.types][:, None]) & lives, squared, np.inf)
    pursued = seen.argmin(axis=1)
    sees = np.isfinite(_of(seen, pursued))
    way = np.where(sees, np.stack([_of(part, pursued) for part in gap]), goals - own.places)
    return np.where(shoots, target + NUM_MOVES, _steps(own, way))


def _steps(own: Side, way: Doubles) -> NDArray[np.intp]:
    """The move [n, B] with the most progress along [2, n, B] that does not hit the edge."""
    gains = (_DIRECTIONS[:, :, None, None] * way[:, None]).sum(axis=0)  # [4, n, B]
    stride = (type_numbers("speed") * SECONDS * SUB_STEPS)[own.types]
    ends = own.places[:, None] + _DIRECTIONS[:, :, None, None] * stride  # [2, 4, n, B]
    inside = ((ends > 0) & (ends < MAP_SIZE)).all(axis=0)
    return np.where(inside, gains, -np.inf).argmax(axis=0)


def _of(values: NDArray[Any], chosen: NDArray[np.intp]) -> NDArray[Any]:
    """Values [n, m, B] at one foe per unit, [n, B]; ``NO_UNIT`` takes the last."""
    return np.take_along_axis(values, chosen[:, None], axis=1)[:, 0]


def _squares(name: str) -> Doubles:
    return type_numbers(name) ** 2
