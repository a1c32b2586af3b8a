"""What a case is: a subject, cut into parts that can be measured alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.speed.measure import Effort
from benchmarks.speed.rows import Row

Part = Callable[[Effort], Iterable[Row]]
"""Measures and hands out rows, one as soon as it is known."""


@dataclass(frozen=True)
class Case:
    """One subject of the suite.

    Attributes:
        name: on the command line.
        title: in the report.
        explanation: what is measured and how, in the words of its module.
        parts: by name; each starts and stops the Ray that it needs.
        picture: draws the rows of the case into a file, or None.
    """

    name: str
    title: str
    explanation: str
    parts: Mapping[str, Part]
    picture: str | None = None
    """Name of the function in ``figures`` that draws the case, or None."""
