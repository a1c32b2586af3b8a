"""Comparison of joint and individual policies over evaluation episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_agentmixer.rollouts.actor import PolicyKind
from rllib_agentmixer.rollouts.episodes import EpisodeRecord


@dataclass(frozen=True)
class PolicyVariant:
    """Variant of play: which policy, and whether its actions are sampled."""

    policy: PolicyKind
    explore: bool

    @property
    def key(self) -> str:
        """Name of its results."""
        return f"{self.policy}_sampled" if self.explore else self.policy


POLICY_VARIANTS = (
    PolicyVariant("individual", False),
    PolicyVariant("joint", False),
    PolicyVariant("individual", True),
    PolicyVariant("joint", True),
)
"""Individual policies come first: a joint policy that equals them reuses their results."""


PlayOnWorkers = Callable[[PolicyVariant], list[EpisodeRecord]]


def summarize(records: list[EpisodeRecord], agents: tuple[str, ...]) -> dict[str, Any]:
    """Returns of some episodes under RLlib's names, and the environment's ``diagnostics``."""
    returns = np.array([record.episode_return for record in records])
    if not len(returns):
        returns = np.array([np.nan])
    diagnostics: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.diagnostics.items():
            diagnostics.setdefault(name, []).append(value)
    own = np.array([record.agent_returns for record in records]).reshape(-1, len(agents))
    return {
        "episode_return_mean": float(returns.mean()),
        "episode_return_std": float(returns.std()),
        "episode_return_min": float(returns.min()),
        "episode_return_max": float(returns.max()),
        "episode_len_mean": float(np.mean([r.length for r in records])) if records else np.nan,
        "num_episodes": len(records),
        "num_episodes_cut": sum(record.is_cut for record in records),
        "agent_return_mean": dict(zip(agents, own.mean(0).tolist(), strict=True))
        if records
        else {},
        # A namespace of their own: an environment may report its own "episode_return".
        "diagnostics": {f"{n}_mean": float(np.mean(values)) for n, values in diagnostics.items()},
    }


def compare(
    play: PlayOnWorkers, agents: tuple[str, ...], *, is_product: bool = False
) -> tuple[dict[str, Any], int]:
    """Let every variant play; results by key, and the environment steps taken.

    Args:
        play: lets one variant play.
        agents: names of the agents.
        is_product: the joint policy is the product of the individual ones: they play once.
    """
    results: dict[str, Any] = {}
    num_steps = 0
    for variant in POLICY_VARIANTS:
        if variant.policy == "joint" and is_product:
            same = PolicyVariant("individual", variant.explore)
            results[variant.key] = results[same.key]
            continue
        records = play(variant)
        results[variant.key] = summarize(records, agents)
        num_steps += sum(record.length for record in records)
    results["central_gap"] = (
        results["joint"]["episode_return_mean"] - results["individual"]["episode_return_mean"]
    )
    return results, num_steps


def share(total: int, workers: list[int]) -> dict[int, int]:
    """Split a number of episodes among workers as evenly as possible."""
    return {
        worker: total // len(workers) + (position < total % len(workers))
        for position, worker in enumerate(workers)
    }
