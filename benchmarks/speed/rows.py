"""Rows: measured numbers with their goals, and the file that stores them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rllib_agentmixer.errors import ConfigError

DIGITS = 5
"""Significant digits of measured numbers in the file."""


@dataclass(frozen=True)
class Goal:
    """Bounds of a measured number.

    Attributes:
        most: largest value that meets the goal; None for no upper bound.
        least: smallest value that meets the goal; None for no lower bound.
    """

    most: float | None = None
    least: float | None = None

    def is_met_by(self, value: float) -> bool:
        """True if the value lies within the bounds, which are inclusive."""
        above = self.most is not None and value > self.most
        below = self.least is not None and value < self.least
        return not (above or below)

    def __str__(self) -> str:
        bounds = (("<=", self.most), (">=", self.least))
        return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One result.

    Attributes:
        labels: the measured quantity, most general label first; they name the row.
        value: the number; None where it could not be measured.
        unit: of the value; ``x`` for a ratio.
        goal: bounds of the value, or None.
        details: other numbers that belong to it, by a name that holds their unit.
        note: why there is no value, or a remark on it.
        settings: sizes and options under which it was measured.
        case: the case that measured it.
        part: the part of the case.
        versions: of the packages that took part.
        is_quick: measured with few rounds.
    """

    labels: Mapping[str, str]
    value: float | None
    unit: str
    goal: Goal | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    case: str = ""
    part: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    is_quick: bool = False

    @property
    def name(self) -> str:
        """Name of the row: its labels joined."""
        return "/".join(self.labels.values())

    @property
    def is_met(self) -> bool | None:
        """True if the goal is met; None without a goal or without a value."""
        if self.goal is None or self.value is None:
            return None
        return self.goal.is_met_by(self.value)

    def to_entry(self) -> dict[str, Any]:
        """Plain data for the file: empty entries are omitted, measurements are rounded."""
        entry = {name: value for name, value in asdict(self).items() if value not in (None, "", {})}
        entry["value"] = None if self.value is None else rounded(self.value)
        if self.details:
            entry["details"] = {name: rounded(value) for name, value in self.details.items()}
        if self.goal:
            entry["goal"] = {
                n: bound for n, bound in asdict(self.goal).items() if bound is not None
            }
        return entry

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> Row:
        """Inverse of :meth:`to_entry`."""
        row = cls(**entry)
        return replace(row, goal=Goal(**entry["goal"])) if "goal" in entry else row


def rounded(value: float) -> float:
    """The value in significant digits; integers are counts and unchanged."""
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")


def read(path: Path) -> list[Row]:
    """Rows of a file; empty if it does not exist.

    Raises:
        ConfigError: the file has another format.
    """
    if not path.is_file():
        return []
    try:
        return [Row.from_entry(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{path} holds no rows of this suite ({error}); remove it or choose another --json"
        ) from error


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write rows to a file, one per line."""
    lines = [json.dumps(row.to_entry()) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def merged(old: Iterable[Row], new: Iterable[Row], order: Iterable[tuple[str, str]]) -> list[Row]:
    """Old rows with those of newly measured parts replaced.

    Args:
        old: of the file.
        new: all rows of the parts that were measured.
        order: case and part of all rows to keep, in the order of the file.
    """
    new = list(new)
    measured = {(row.case, row.part) for row in new}
    kept = [row for row in old if (row.case, row.part) not in measured]
    everything = [*kept, *new]
    return [row for place in order for row in everything if (row.case, row.part) == place]
