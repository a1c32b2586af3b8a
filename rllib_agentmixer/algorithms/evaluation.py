"""Joint and decentralised evaluation, side by side on the same seeds.

Results of ``evaluate()`` (and of every training result at the evaluation interval):

``individual/...``, ``joint/...``
    Deterministic play (modes): return mean, std, minimum, maximum, episode length, and
    ``agent_return_mean/<agent>``.
``individual_sampled/...``, ``joint_sampled/...``
    The same with sampled actions.
``central_gap``
    Joint minus individual mean return, deterministic: what decentralisation costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_agentmixer.rollouts import EpisodeRecord, PolicyKind


@dataclass(frozen=True)
class Contestant:
    """One way to play: which policy, and whether its actions are sampled."""

    policy: PolicyKind
    explore: bool

    @property
    def key(self) -> str:
        """Name of its results."""
        return f"{self.policy}_sampled" if self.explore else self.policy


CONTESTANTS = (
    Contestant("individual", False),
    Contestant("joint", False),
    Contestant("individual", True),
    Contestant("joint", True),
)

PlayOnWorkers = Callable[[Contestant], list[EpisodeRecord]]


def summarize(records: list[EpisodeRecord], agents: tuple[str, ...]) -> dict[str, Any]:
    """Returns of some episodes in RLlib's words."""
    returns = np.array([record.episode_return for record in records])
    if not len(returns):
        returns = np.array([np.nan])
    own = np.array([record.agent_returns for record in records]).reshape(-1, len(agents))
    return {
        "episode_return_mean": float(returns.mean()),
        "episode_return_std": float(returns.std()),
        "episode_return_min": float(returns.min()),
        "episode_return_max": float(returns.max()),
        "episode_len_mean": float(np.mean([r.length for r in records])) if records else np.nan,
        "num_episodes": len(records),
        "agent_return_mean": dict(zip(agents, own.mean(0).tolist(), strict=True))
        if records
        else {},
    }


def compare(play: PlayOnWorkers, agents: tuple[str, ...]) -> tuple[dict[str, Any], int]:
    """Let every contestant play; results by key, and the environment steps taken."""
    results: dict[str, Any] = {}
    num_steps = 0
    for contestant in CONTESTANTS:
        records = play(contestant)
        results[contestant.key] = summarize(records, agents)
        num_steps += sum(record.length for record in records)
    results["central_gap"] = (
        results["joint"]["episode_return_mean"] - results["individual"]["episode_return_mean"]
    )
    return results, num_steps


def share(total: int, workers: list[int]) -> dict[int, int]:
    """Split a number of episodes among workers as evenly as whole numbers allow."""
    return {
        worker: total // len(workers) + (place < total % len(workers))
        for place, worker in enumerate(workers)
    }
