"""The arrays of a fragment of experience: while it is collected, and when it is whole."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rllib_agentmixer.core.data.batch import Latents, RecurrentState
from rllib_agentmixer.rollouts.episodes import EpisodeRecord


@dataclass(frozen=True, eq=False)
class Rollout:
    """A fragment of experience, time first.

    Attributes:
        rows: [T, B, F] joint observations, as the network saw them.
        raw_rows: the same before any filter (the same array without one).
        actions: [T, B, N] or [T, B, N, A], policy units.
        log_prob: [T, B] of joint actions, or [T, B, N] of each agent's.
        parameters: [T, B, P] of the acting policy.
        rewards: [T, B].
        values: [T, B] V(s), or [T, B, N] V_i(h_i), reward units.
        advantages: shaped as ``values``.
        value_targets: shaped as ``values``.
        terminated: [T, B].
        truncated: [T, B].
        keep: [T, B] False on steps that belong to no wanted episode.
        hidden: per step, recurrent state before it; None without recurrence.
        episodes: finished episodes, in the order of their end.
        alive: [T, B, N] agents that took part.
        latents: [T, B, ...] what a correlated joint policy drew, or None.
    """

    rows: np.ndarray
    raw_rows: np.ndarray
    actions: np.ndarray
    log_prob: np.ndarray
    parameters: np.ndarray
    rewards: np.ndarray
    values: np.ndarray
    advantages: np.ndarray
    value_targets: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    keep: np.ndarray
    hidden: list[RecurrentState] | None
    episodes: list[EpisodeRecord]
    alive: np.ndarray
    latents: Latents | None = None


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Rows [B, F] of final observations, and the recurrent state there."""

    rows: np.ndarray
    hidden: RecurrentState | None


@dataclass
class FragmentRecorder:
    """Per-step arrays of a fragment under way."""

    rows: list[np.ndarray] = field(default_factory=list)
    raw_rows: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    parameters: list[np.ndarray] = field(default_factory=list)
    rewards: list[np.ndarray] = field(default_factory=list)
    agent_rewards: list[np.ndarray] = field(default_factory=list)
    terminated: list[np.ndarray] = field(default_factory=list)
    truncated: list[np.ndarray] = field(default_factory=list)
    limits_are_ends: bool = False
    keep: list[np.ndarray] = field(default_factory=list)
    hidden: list[RecurrentState] = field(default_factory=list)
    latents: list[Latents] = field(default_factory=list)
    bootstraps: dict[int, Bootstrap] = field(default_factory=dict)
    """Time -> what followed the step, for steps at which some copy was cut."""

    @property
    def is_filtered(self) -> bool:
        """Whether the networks saw other rows than the environment gave."""
        return self.raw_rows[0] is not self.rows[0]
