"""Records of finished episodes, and trackers of those under way."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rllib_agentmixer.envs.vector_env import TeamStep

logger = logging.getLogger(__name__)

MOST_EPISODE_STEPS = 10_000
"""Steps after which an episode that is played to its end counts as endless, by default."""


class EpisodeRecord(NamedTuple):
    """One finished episode: team return, steps, each agent's own return, and diagnostics.

    Diagnostics are the environment's own values at the end, such as ``won``.
    """

    episode_return: float
    length: int
    agent_returns: np.ndarray
    is_faulty: bool = False
    diagnostics: dict[str, float] = {}  # noqa: RUF012  read-only
    is_cut: bool = False
    """It reached the bound on an episode's steps: the return is that of its beginning."""


@dataclass
class EpisodeTracker:
    """Returns and lengths of the episodes that are under way in B sub-environments."""

    num_envs: int
    num_agents: int
    returns: np.ndarray = field(init=False)
    agent_returns: np.ndarray = field(init=False)
    lengths: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.returns = np.zeros(self.num_envs, np.float64)
        self.agent_returns = np.zeros((self.num_envs, self.num_agents), np.float64)
        self.lengths = np.zeros(self.num_envs, np.int64)

    def add(self, step: TeamStep, ended: np.ndarray) -> dict[int, EpisodeRecord]:
        """Take in one step; records of the episodes that ended, by sub-environment."""
        self.returns += step.reward
        self.agent_returns += step.agent_rewards
        self.lengths += 1
        return {
            index: self._record(index)._replace(
                is_faulty=bool(step.faulty[index]),
                diagnostics={
                    name: float(v[index]) for name, v in step.info.items() if np.isfinite(v[index])
                },
            )
            for index in np.flatnonzero(ended).tolist()
        }

    def cut(self, where: np.ndarray) -> dict[int, EpisodeRecord]:
        """Records of running episodes so far, counted as ended, by sub-environment."""
        return {
            index: self._record(index)._replace(is_cut=True)
            for index in np.flatnonzero(where).tolist()
        }

    def _record(self, index: int) -> EpisodeRecord:
        record = EpisodeRecord(
            float(self.returns[index]), int(self.lengths[index]), self.agent_returns[index].copy()
        )
        self.returns[index] = self.agent_returns[index] = self.lengths[index] = 0
        return record


def warn_of_cut(records: list[EpisodeRecord], name: str, max_steps: int) -> None:
    """Say that episodes reached the bound on their steps.

    Args:
        records: of all episodes.
        name: of the environment.
        max_steps: the bound.
    """
    num_cut = sum(record.is_cut for record in records)
    if num_cut:
        logger.warning(
            "%d of %d episodes of %s did not end within evaluation_max_steps=%d; each counts with "
            "its return so far. Let the environment end its episodes, or raise the bound",
            num_cut,
            len(records),
            name,
            max_steps,
        )
