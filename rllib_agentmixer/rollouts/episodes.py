"""Records of finished episodes, and trackers of those under way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rllib_agentmixer.envs.vector_env import TeamStep


class EpisodeRecord(NamedTuple):
    """One finished episode: team return, steps, each agent's own return, and diagnostics.

    Diagnostics are the environment's own values at the end, such as ``won``.
    """

    episode_return: float
    length: int
    agent_returns: np.ndarray
    is_faulty: bool = False
    diagnostics: dict[str, float] = {}  # noqa: RUF012  read-only


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
        records = {}
        for index in np.flatnonzero(ended):
            records[int(index)] = EpisodeRecord(
                float(self.returns[index]),
                int(self.lengths[index]),
                self.agent_returns[index].copy(),
                bool(step.faulty[index]),
                {name: float(v[index]) for name, v in step.info.items() if np.isfinite(v[index])},
            )
            self.returns[index] = self.agent_returns[index] = self.lengths[index] = 0
        return records
