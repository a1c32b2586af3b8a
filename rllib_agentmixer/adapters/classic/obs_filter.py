"""RLlib's ``observation_filter="MeanStdFilter"`` for teams: whole batches, masks untouched.

RLlib's own filter pushes row by row and would standardise action masks and ``alive`` flags
as well; this one keeps its interface (buffer, sync, apply_changes) and semantics.
"""

from __future__ import annotations

import copy

import numpy as np
from ray.rllib.utils.filter import Filter

from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.rollouts.obs_moments import CLIP, RunningMoments


class TeamMeanStdFilter(Filter):
    """Standardises observations and state of rows [B, F] with running statistics.

    Args:
        layout: tells which columns are numbers and which are masks.
    """

    def __init__(self, layout: TeamLayout) -> None:
        slices = layout.slices
        self.clip = CLIP
        self.columns = slice(slices["obs"].start, slices["state"].stop)
        self.obs_columns = slices["obs"]
        self.layout = layout
        size = self.columns.stop - self.columns.start
        self.running_stats = RunningMoments(size)
        self.buffer = RunningMoments(size)

    def __call__(self, rows: np.ndarray, update: bool = False) -> np.ndarray:
        """Standardise rows in place (and learn from them with ``update``)."""
        if update:
            self.observe(rows)
        chosen = rows[:, self.columns]
        chosen -= self.running_stats.mean.astype(np.float32)
        chosen /= self.running_stats.std.astype(np.float32)
        np.clip(chosen, -self.clip, self.clip, out=chosen)
        return rows

    def observe(self, rows: np.ndarray) -> None:
        """Learn from raw rows [R, F]; the empty observations of absent agents say nothing."""
        chosen = rows[:, self.columns]
        counts = self._counts(rows)
        self.running_stats.push(chosen, counts)
        self.buffer.push(chosen, counts)

    def _counts(self, rows: np.ndarray) -> np.ndarray | None:
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

    def apply_changes(self, other: TeamMeanStdFilter, with_buffer: bool = False) -> None:
        """Merge what another filter has learned since its last flush."""
        self.running_stats.merge(other.buffer)
        if with_buffer:
            self.buffer = copy.deepcopy(other.buffer)

    def copy(self) -> TeamMeanStdFilter:
        """An independent copy."""
        return copy.deepcopy(self)

    as_serializable = copy

    def sync(self, other: TeamMeanStdFilter) -> None:
        """Standardise as another filter does; what it has not merged yet stays its own."""
        self.running_stats = copy.deepcopy(other.running_stats)
        # A copied buffer would be merged a second time when this filter is collected.
        self.reset_buffer()

    def reset_buffer(self) -> None:
        """Forget what is due to be merged elsewhere."""
        self.buffer = RunningMoments(len(self.buffer.mean))
