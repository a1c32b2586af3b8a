"""Search domains as text: ``loguniform(1e-4, 1e-2)``, ``choice(strict, gumbel)``.

The names are those of Ray Tune's functions. Domains are parsed, never evaluated, and can be
serialized, so that an interrupted search resumes with exactly the space it started with.
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
KINDS = (*BOUNDED, *STEPPED, *LISTED)


@dataclass(frozen=True)
class Domain:
    """Values that a hyperparameter may take in a search.

    Attributes:
        kind: name of the Ray Tune function that builds it.
        arguments: bounds (and step), or the values of ``choice`` and ``grid_search``.
    """

    kind: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(map(repr, self.arguments))})"

    @property
    def is_grid(self) -> bool:
        return self.kind == "grid_search"

    @property
    def is_logarithmic(self) -> bool:
        """True if values are sampled, and plotted, on a logarithmic scale."""
        return "log" in self.kind

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values whose validity implies that of the domain: both bounds, or all listed values."""
        if self.kind in LISTED:
            return self.arguments
        low, high = self.arguments[:2]
        # Tune's integers exclude the upper bound; quantized integers may round up to it.
        return (low, high - 1) if self.kind in ("randint", "lograndint") else (low, high)

    def to_tune(self) -> Any:
        """Equivalent Ray Tune domain."""
        from ray import tune

        make: Callable[..., Any] = getattr(tune, self.kind)
        return make(list(self.arguments)) if self.kind in LISTED else make(*self.arguments)

    def to_mutation(self) -> Any:
        """Mutation for population based training: lists are stepped through, numbers scaled."""
        return list(self.arguments) if self.kind in LISTED else self.to_tune()


def parse_domain(name: str, text: Any) -> Domain:
    """Domain parsed from text, or from a list, which means ``choice``.

    Args:
        name: hyperparameter, for error messages.
        text: such as ``uniform(0, 1)``; bare names are strings.

    Raises:
        ConfigError: unknown function, wrong number or order of bounds, no choices.
    """
    if isinstance(text, (list, tuple)):
        domain = Domain("choice", tuple(text))
    else:
        domain = _parse_call(name, str(text))
    _check(name, domain)
    return domain


def _parse_call(name: str, text: str) -> Domain:
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.keywords:
        raise ConfigError(
            f"the range of {name} must be written like loguniform(1e-4, 1e-2) or "
            f"choice(a, b), got {text!r}; a single value is a setting: {name}={text}"
        )
    if call.func.id not in KINDS:
        raise ConfigError(f"range of {name}: " + unknown_name("function", call.func.id, KINDS))
    arguments = tuple(_value(name, text, node) for node in call.args)
    if call.func.id in LISTED and len(arguments) == 1 and isinstance(arguments[0], list):
        arguments = tuple(arguments[0])
    return Domain(call.func.id, arguments)


def _value(name: str, text: str, node: ast.expr) -> Any:
    """Literal value; a bare name is a string, ``true`` and ``null`` have JSON's meaning."""
    if isinstance(node, ast.Name):
        return {"true": True, "false": False, "null": None}.get(node.id, node.id)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ConfigError(
            f"the range of {name} must contain literals only, got {text!r}"
        ) from error


def _check(name: str, domain: Domain) -> None:
    if domain.kind in LISTED:
        if not domain.arguments:
            raise ConfigError(f"the range of {name} is empty: {domain}; list its values")
        return
    expected = 3 if domain.kind in STEPPED else 2
    numbers = domain.arguments
    is_numeric = all(type(x) in (int, float) and math.isfinite(x) for x in numbers)
    if len(numbers) != expected or not is_numeric:
        shape = "low, high, step" if expected == 3 else "low, high"
        raise ConfigError(
            f"{domain.kind} of {name} takes {expected} numbers ({shape}), got {domain}"
        )
    low, high = numbers[:2]
    if not low < high:
        raise ConfigError(f"the range of {name} is empty: {domain} has {low} not below {high}")
    if domain.is_logarithmic and low <= 0:
        raise ConfigError(f"{domain} of {name} needs bounds above 0, got {low}")
    if expected == 3 and numbers[2] <= 0:
        raise ConfigError(f"the step of {name} must be above 0, got {domain}")
    if "int" in domain.kind and not all(isinstance(x, int) for x in numbers):
        raise ConfigError(f"{domain.kind} of {name} takes integers, got {domain}")
