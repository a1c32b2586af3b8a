"""Multi-particle environments of the package mpe2, as cooperative teams.

Reference: Lowe et al., "Multi-agent actor-critic for mixed cooperative-competitive
environments", 2017, arXiv:1706.02275.
"""

from __future__ import annotations

from typing import Any

from pettingzoo import ParallelEnv


def simple_spread(
    *, local_ratio: float = 0.0, max_cycles: int = 25, **settings: Any
) -> ParallelEnv:
    """Agents cover landmarks and avoid collisions, all with the same reward.

    Args:
        local_ratio: share of each agent's own collisions in its reward; 0, unlike in mpe2,
            because a team has one reward.
        max_cycles: truncates the episode.
        settings: any other argument of ``mpe2.simple_spread_v3.parallel_env``.
    """
    from mpe2 import simple_spread_v3

    return simple_spread_v3.parallel_env(local_ratio=local_ratio, max_cycles=max_cycles, **settings)
