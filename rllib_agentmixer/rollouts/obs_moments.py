"""Standardisation of observations with running statistics."""

from __future__ import annotations

import numpy as np

from rllib_agentmixer.core.data.layout import TeamLayout

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
        """Take in rows [R, F]; ``counts`` [R, F] is False where an entry is uninformative."""
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
        """Merge the statistics of another instance."""
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


class ObsFilter:
    """Standardises observations and state of rows [B, F]; masks pass as they are.

    Args:
        layout: which columns are numbers and which are masks.
    """

    def __init__(self, layout: TeamLayout) -> None:
        slices = layout.slices
        self.clip = CLIP
        self.columns = slice(slices["obs"].start, slices["state"].stop)
        self.obs_columns = slices["obs"]
        self.layout = layout
        self.running_stats = RunningMoments(self.columns.stop - self.columns.start)

    def standardize(self, rows: np.ndarray) -> np.ndarray:
        """Standardise rows in place."""
        chosen = rows[:, self.columns]
        chosen -= self.running_stats.mean.astype(np.float32)
        chosen /= self.running_stats.std.astype(np.float32)
        np.clip(chosen, -self.clip, self.clip, out=chosen)
        return rows

    def counts(self, rows: np.ndarray) -> np.ndarray | None:
        """Mask of the informative entries of raw rows [R, F]; None means all.

        The observation of an agent that takes no part is empty.
        """
        alive = self.layout.alive(rows)
        if alive.all():
            return None
        counts = np.ones((len(rows), self.columns.stop - self.columns.start), bool)
        num_obs = self.obs_columns.stop - self.obs_columns.start
        counts[:, :num_obs] = alive.repeat(num_obs // alive.shape[1], axis=1)
        return counts

    def obs_constants(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the flattened observations [N * O], for exports."""
        width = self.obs_columns.stop - self.obs_columns.start
        return self.running_stats.mean[:width], self.running_stats.std[:width]
