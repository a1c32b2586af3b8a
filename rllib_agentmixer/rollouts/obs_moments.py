"""Running mean and standard deviation of observation columns."""

from __future__ import annotations

import numpy as np

CLIP = 10.0
"""Largest standardised magnitude, as in RLlib's MeanStdFilter."""


class RunningMoments:
    """Mean and sum of squared deviations of columns, merged batch by batch (Chan et al. 1983).

    Every column has a count of its own: an agent's columns count while it takes part.
    """

    def __init__(self, size: int) -> None:
        self.count = np.zeros(size)
        self.mean = np.zeros(size)
        self.squares = np.zeros(size)

    def push(self, rows: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Take in rows [R, F]; ``counts`` [R, F] is False where an entry says nothing."""
        other = RunningMoments(rows.shape[1])
        if counts is None:
            other.count += len(rows)
            other.mean = rows.mean(0, dtype=np.float64)
            other.squares = np.square(rows - other.mean).sum(0)
        else:
            other.count += counts.sum(0)
            other.mean = np.sum(rows, 0, np.float64, where=counts) / np.maximum(other.count, 1)
            other.squares = np.square(rows - other.mean).sum(0, where=counts)
        self.merge(other)

    def merge(self, other: RunningMoments) -> None:
        """Take in what another one has seen."""
        total = self.count + other.count
        share = other.count / np.maximum(total, 1)
        delta = other.mean - self.mean
        self.squares = self.squares + other.squares + np.square(delta) * self.count * share
        self.mean = self.mean + delta * share
        self.count = total

    @property
    def std(self) -> np.ndarray:
        """Standard deviation; 1 before two rows were seen and in constant columns."""
        std = np.sqrt(self.squares / np.maximum(self.count - 1, 1))
        return np.where((std > 1e-8) & (self.count > 1), std, 1.0)
