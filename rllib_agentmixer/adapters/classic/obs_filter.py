"""RLlib's ``observation_filter="MeanStdFilter"`` for teams: whole batches, masks untouched.

RLlib's own filter pushes row by row and would standardise action masks and ``alive`` flags
as well; this one has its interface (buffer, sync, apply_changes) and semantics.
"""

from __future__ import annotations

import copy

import numpy as np
from ray.rllib.utils.filter import Filter

from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.rollouts.obs_moments import ObsFilter, RunningMoments


class TeamMeanStdFilter(ObsFilter, Filter):
    """Filter that standardises rows [B, F], updates on them, and merges with other workers'.

    Args:
        layout: which columns are numbers and which are masks.
    """

    def __init__(self, layout: TeamLayout) -> None:
        super().__init__(layout)
        self.reset_buffer()

    def __call__(self, rows: np.ndarray, update: bool = False) -> np.ndarray:
        """Standardise rows in place (and learn from them with ``update``)."""
        if update:
            self.observe(rows)
        return self.standardize(rows)

    def observe(self, rows: np.ndarray) -> None:
        """Learn from raw rows [R, F]; the empty observations of absent agents are ignored."""
        chosen, counts = rows[:, self.columns], self.counts(rows)
        self.running_stats.push(chosen, counts)
        self.buffer.push(chosen, counts)

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
        """Standardise as another filter does; its own unmerged statistics are unaffected."""
        self.running_stats = copy.deepcopy(other.running_stats)
        # A copied buffer would be merged a second time when this filter is collected.
        self.reset_buffer()

    def reset_buffer(self) -> None:
        """Drop the statistics that are yet to be merged elsewhere."""
        self.buffer = RunningMoments(self.columns.stop - self.columns.start)
