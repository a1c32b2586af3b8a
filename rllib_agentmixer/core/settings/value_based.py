"""Settings of algorithms that learn action values from replayed episodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rllib_agentmixer.core.settings.base import Schedule, TeamSettings, setting
from rllib_agentmixer.core.settings.ranges import (
    boolean,
    integer,
    number,
    schedule,
)
from rllib_agentmixer.core.settings.rllib_settings import RLlibSettings


def _annealed() -> Any:
    return field(
        default_factory=lambda: [[0, 1.0], [50_000, 0.05]],
        metadata={"range": schedule(number(0, 1))},
    )


@dataclass(frozen=True, kw_only=True)
class ValueSettings(TeamSettings):
    """Settings of value-based algorithms."""

    epsilon: Schedule = _annealed()
    """Probability with which an agent takes a random legal action, each agent by a coin of its
    own [EPyMARL: 1 to 0.05 over 50,000 steps]."""

    double_q: bool = setting(True, boolean)
    """Whether the network that learns chooses the next actions, which the target network
    evaluates (van Hasselt et al. 2016)."""

    replay_capacity: int = setting(5000, integer(1))
    """Episodes that are stored; the oldest are replaced first."""

    updates_per_episode: float = setting(1.0, number(0, open_low=True))
    """Gradient steps for each episode that is sampled [PyMARL: 1]."""


@dataclass(frozen=True, kw_only=True)
class ReplaySettings(RLlibSettings):
    """Settings of RLlib that replay reads, with the meaning that they have for whole episodes."""

    train_batch_size: int = setting(32, integer(1))
    """Episodes of one gradient step."""

    num_envs_per_env_runner: int = setting(8, integer(1))
    """B: sub-environments of each worker."""

    num_steps_sampled_before_learning_starts: int = setting(1000, integer(0))
    """Joint environment steps after which learning begins."""

    target_network_update_freq: int = setting(200, integer(1))
    """Gradient steps between updates of the target network [EPyMARL: 200]."""

    tau: float = setting(1.0, number(0, 1, open_low=True))
    """Step of the target network towards the online network at an update; 1 replaces it."""

    store_buffer_in_checkpoints: bool = setting(True, boolean)
    """Whether checkpoints hold the replayed episodes; without them a resumed run is not exact."""
