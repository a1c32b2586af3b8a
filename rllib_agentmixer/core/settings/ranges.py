"""Ranges of settings, with the descriptions that errors show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rllib_agentmixer.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """Range of a setting, with the description that an error shows."""

    description: str
    holds: Callable[[Any], bool]

    def check(self, name: str, value: Any) -> None:
        """Raise ConfigError unless the value lies in the range."""
        try:
            good = self.holds(value)
        except (TypeError, ValueError, IndexError):
            good = False
        if not good:
            raise ConfigError(f"{name} must be {self.description}, got {value!r}")


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def number(low: int | float, high: int | float = math.inf, *, open_low: bool = False) -> Range:
    """A finite number in [low, high], or in (low, high] with ``open_low``."""
    description = f"a number {'above' if open_low else 'of at least'} {low:g}"
    if high < math.inf:
        description = f"a number in {'(' if open_low else '['}{low:g}, {high:g}]"
    return Range(
        description,
        lambda v: _is_number(v) and (v > low if open_low else v >= low) and v <= high,
    )


def integer(low: int, high: int | float = math.inf) -> Range:
    """An integer in [low, high]."""
    least = f"an integer of at least {low}"
    description = least if high == math.inf else f"one of {low}..{high}"
    return Range(
        description, lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high
    )


def one_of(*choices: Any) -> Range:
    """One of a few names."""
    return Range(f"one of {list(choices)}", lambda v: v in choices)


def optional(inner: Range) -> Range:
    """None, or a value of the inner range."""
    return Range(f"None or {inner.description}", lambda v: v is None or inner.holds(v))


def schedule(inner: Range) -> Range:
    """A value of the inner range, or ``[[env_steps, value], ...]`` with rising steps from 0."""

    def holds(value: Any) -> bool:
        if not isinstance(value, (list, tuple)):
            return inner.holds(value)
        steps = [step for step, _ in value]
        rising = all(a < b for a, b in pairwise(steps))
        return bool(value) and steps[0] == 0 and rising and all(inner.holds(v) for _, v in value)

    return Range(f"{inner.description}, or [[0, value], [env_steps, value], ...] of such", holds)


def _is_permutation(value: Any) -> bool:
    return bool(value) and sorted(value) == list(range(len(value)))


def _widths(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(width.holds(w) for w in value)


def _groups(value: Any) -> bool:
    if isinstance(value, str):
        return value in ("separate", "shared")
    return _is_permutation([agent for group in value for agent in group])


def _order(value: Any) -> bool:
    if isinstance(value, str):
        return value == "random"
    return value is None or _is_permutation(list(value))


MOST_WIDTH = 8192
"""Widest layer: beyond it a slip of the keyboard is likelier than a network."""

width = integer(1, MOST_WIDTH)
open_unit = Range("a number in (0, 1)", lambda v: _is_number(v) and 0 < v < 1)
widths = Range(f"a list of integers of 1..{MOST_WIDTH}", _widths)
groups = Range("'separate', 'shared', or lists of agent indices that cover all", _groups)
order = Range("None, 'random', or a permutation of the agents' indices 0..N-1", _order)
boolean = Range("True or False", lambda v: isinstance(v, bool))
