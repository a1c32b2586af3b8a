"""Ranges of a search in words: ``loguniform(1e-4, 1e-2)``, ``choice(strict, gumbel)``.

The words are Ray Tune's. They are parsed, never evaluated, and can be written to a file, so
that an interrupted search is resumed with exactly the space it began with.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.utils.suggest import unknown_name

BOUNDED = ("uniform", "loguniform", "randint", "lograndint")
STEPPED = ("quniform", "qloguniform", "qrandint", "qlograndint")
LISTED = ("choice", "grid_search")
WORDS = (*BOUNDED, *STEPPED, *LISTED)


@dataclass(frozen=True)
class Range:
    """What a setting may be in a search.

    Attributes:
        word: name of Ray Tune's function.
        arguments: bounds (and step), or the values of ``choice`` and ``grid_search``.
    """

    word: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.word}({', '.join(map(repr, self.arguments))})"

    @property
    def is_grid(self) -> bool:
        return self.word == "grid_search"

    @property
    def is_logarithmic(self) -> bool:
        """Whether values are drawn, and drawn up in figures, by their logarithm."""
        return "log" in self.word

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that must be allowed for all values to be: both ends, or everything listed."""
        if self.word in LISTED:
            return self.arguments
        low, high = self.arguments[:2]
        # Tune's whole numbers end below the upper bound; those that go in steps round up to it.
        return (low, high - 1) if self.word in ("randint", "lograndint") else (low, high)

    def to_tune(self) -> Any:
        """Ray Tune's own object."""
        from ray import tune

        make: Callable[..., Any] = getattr(tune, self.word)
        return make(list(self.arguments)) if self.word in LISTED else make(*self.arguments)

    def to_mutation(self) -> Any:
        """Population based training's form: it steps through lists and multiplies numbers."""
        return list(self.arguments) if self.word in LISTED else self.to_tune()


def parse_range(name: str, text: Any) -> Range:
    """A range from words, or from a list, which means ``choice``.

    Args:
        name: of the setting, for messages.
        text: such as ``uniform(0, 1)``; names without quotes are texts.

    Raises:
        ConfigError: unknown word, wrong number or order of bounds, nothing to choose from.
    """
    if isinstance(text, (list, tuple)):
        found = Range("choice", tuple(text))
    else:
        found = _parse_call(name, str(text))
    _check(name, found)
    return found


def _parse_call(name: str, text: str) -> Range:
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.keywords:
        raise ConfigError(
            f"the range of {name} must be written like loguniform(1e-4, 1e-2) or "
            f"choice(a, b), got {text!r}; a single value is a setting: {name}={text}"
        )
    if call.func.id not in WORDS:
        raise ConfigError(f"range of {name}: " + unknown_name("word", call.func.id, WORDS))
    arguments = tuple(_value(name, text, node) for node in call.args)
    if call.func.id in LISTED and len(arguments) == 1 and isinstance(arguments[0], list):
        arguments = tuple(arguments[0])
    return Range(call.func.id, arguments)


def _value(name: str, text: str, node: ast.expr) -> Any:
    """A literal; a bare name is the text itself, ``true`` and ``null`` are JSON's."""
    if isinstance(node, ast.Name):
        return {"true": True, "false": False, "null": None}.get(node.id, node.id)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ConfigError(f"the range of {name} must hold plain values, got {text!r}") from error


def _check(name: str, found: Range) -> None:
    if found.word in LISTED:
        if not found.arguments:
            raise ConfigError(f"the range of {name} is empty: {found}; list its values")
        return
    expected = 3 if found.word in STEPPED else 2
    numbers = found.arguments
    is_numeric = all(type(x) in (int, float) and math.isfinite(x) for x in numbers)
    if len(numbers) != expected or not is_numeric:
        shape = "low, high, step" if expected == 3 else "low, high"
        raise ConfigError(f"{found.word} of {name} takes {expected} numbers ({shape}), got {found}")
    low, high = numbers[:2]
    if not low < high:
        raise ConfigError(f"the range of {name} is empty: {found} has {low} not below {high}")
    if found.is_logarithmic and low <= 0:
        raise ConfigError(f"{found} of {name} needs bounds above 0, got {low}")
    if expected == 3 and numbers[2] <= 0:
        raise ConfigError(f"the step of {name} must be above 0, got {found}")
    if "int" in found.word and not all(isinstance(x, int) for x in numbers):
        raise ConfigError(f"{found.word} of {name} takes whole numbers, got {found}")
