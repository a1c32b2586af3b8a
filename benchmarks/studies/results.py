"""Result of one run, and the file of lines that stores it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.studies.cells import Cell
from rllib_agentmixer.analysis.statistics import Summary, summarize

DIGITS = 5
"""Significant digits of measured numbers."""


@dataclass(frozen=True)
class Returns:
    """Mean team return per episode of a final evaluation.

    Attributes:
        individual: individual policies, modes: the deployed policies.
        joint: joint policy, modes.
        individual_sampled: individual policies, sampled actions.
        joint_sampled: joint policy, sampled actions.
    """

    individual: float
    joint: float
    individual_sampled: float
    joint_sampled: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of one run: a cell and a seed.

    Attributes:
        key: of the cell.
        seed: of the run.
        cell: its coordinates and settings, for readers of the file.
        error: why it failed; None if it did not.
        env_steps: joint environment steps trained.
        seconds: total wall time: building, training, evaluation.
        setup_seconds: the part before the first training iteration.
        returns: of the final evaluation; None after an error.
        curve: [env steps, individual return, joint return] of every evaluation.
        metrics: of the last training iteration.
        versions: of the packages, and of the environment's rules.
    """

    key: str
    seed: int
    cell: dict[str, Any]
    error: str | None = None
    env_steps: int = 0
    seconds: float = 0.0
    setup_seconds: float = 0.0
    returns: Returns | None = None
    curve: list[list[float]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def to_line(self) -> str:
        """Compact JSON; settings unchanged, measurements rounded."""
        entries = asdict(self)
        exact = ("cell", "versions", "error")
        rounded = {name: v if name in exact else _rounded(v) for name, v in entries.items()}
        return json.dumps(rounded, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Result | None:
        """Parse a line; None if it is damaged or has another format."""
        try:
            entries = json.loads(line)
            if entries.get("returns"):
                entries["returns"] = Returns(**entries["returns"])
            return cls(**entries)
        except (ValueError, TypeError, AttributeError):
            return None


def described(cell: Cell) -> dict[str, Any]:
    """Description of a cell in a line."""
    names = [entry.name for entry in fields(cell) if entry.name != "target"]
    return {name: getattr(cell, name) for name in names}


def append(path: Path, result: Result) -> None:
    """Append one line atomically, also with concurrent writers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = result.to_line() + "\n"
        if _ends_within_a_line(file):
            text = "\n" + text
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Result]:
    """Last result per cell and seed; a failure never replaces a success."""
    if not path.is_file():
        return []
    kept: dict[tuple[str, int], Result] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        result = Result.from_line(line)
        if result is None:
            continue
        known = kept.get((result.key, result.seed))
        if known is None or result.error is None or known.error is not None:
            kept[result.key, result.seed] = result
    return list(kept.values())


@dataclass(frozen=True)
class CellResults:
    """A cell and its successful runs, by seed."""

    cell: Cell
    runs: tuple[Result, ...]

    @property
    def returns(self) -> list[Returns]:
        return [run.returns for run in self.runs if run.returns is not None]

    @property
    def individual(self) -> Summary:
        """Final return of the individual policies, over seeds."""
        return summarize([returns.individual for returns in self.returns])

    @property
    def joint(self) -> Summary:
        """Final return of the joint policy, over seeds."""
        return summarize([returns.joint for returns in self.returns])

    @property
    def num_reached(self) -> int:
        """Number of seeds whose individual policies met the target."""
        return sum(self.cell.reaches_target(returns.individual) for returns in self.returns)


def finished(results: Iterable[Result]) -> set[tuple[str, int]]:
    """Cells and seeds with a successful run; failed ones may run again."""
    return {(result.key, result.seed) for result in results if result.error is None}


def _ends_within_a_line(file: Any) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _rounded(entry) for name, entry in value.items()}
    return value
