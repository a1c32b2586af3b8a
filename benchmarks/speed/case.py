"""Definition of a case: a subject, divided into parts that can be measured separately."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.speed.measure import Effort
from benchmarks.speed.rows import Row

Part = Callable[[Effort], Iterable[Row]]
"""Measures a part and yields its rows as soon as they are known."""


@dataclass(frozen=True)
class Case:
    """One subject of the suite.

    Attributes:
        name: on the command line.
        title: in the report.
        explanation: description of the measurement, from the module's docstring.
        parts: by name; each starts and stops its own Ray.
        picture: draws the rows of the case into a file, or None.
    """

    name: str
    title: str
    explanation: str
    parts: Mapping[str, Part]
    picture: str | None = None
    """Name of the function in ``figures`` that plots the case, or None."""
