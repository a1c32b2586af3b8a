"""RLlib's own settings as this package uses them: defaults that differ, and checked ranges.

An algorithm's entry names one of these classes; its fields are the settings of RLlib that its
learners read. A default that is not RLlib's own is [authors], sizes are [ours].
"""

from __future__ import annotations

from dataclasses import dataclass

from rllib_agentmixer.core.settings.base import CheckedSettings, Schedule, setting
from rllib_agentmixer.core.settings.ranges import boolean, integer, number, optional, schedule


@dataclass(frozen=True, kw_only=True)
class RLlibSettings(CheckedSettings):
    """Settings of RLlib that every learner reads."""

    lr: Schedule = setting(5e-4, schedule(number(0)))
    """Learning rate."""

    gamma: float = setting(0.99, number(0, 1))
    """Discount."""

    grad_clip: float | None = setting(10.0, optional(number(0, open_low=True)))
    """Largest global gradient norm; None leaves gradients alone."""

    train_batch_size: int = setting(6400, integer(1))
    """Joint environment steps of one training batch."""

    num_env_runners: int = setting(0, integer(0))
    """Remote rollout workers; 0 samples on the driver."""

    num_envs_per_env_runner: int = setting(32, integer(1))
    """B: sub-environments of each worker."""


@dataclass(frozen=True, kw_only=True)
class OnPolicySettings(RLlibSettings):
    """Settings of RLlib's PPO."""

    lambda_: float = setting(0.95, number(0, 1))
    """Of generalised advantage estimation."""

    clip_param: float = setting(0.2, number(0, 1, open_low=True))
    """epsilon of the clipped ratio."""

    vf_clip_param: float = setting(0.2, number(0, open_low=True))
    """Largest rewarded change of V, in normalised units."""

    vf_loss_coeff: float = setting(1.0, number(0))
    """Weight of the value loss."""

    entropy_coeff: Schedule = setting(0.01, schedule(number(0)))
    """Weight of the joint policy's mean entropy per agent."""

    use_kl_loss: bool = setting(False, boolean)
    """Whether KL(old || new) is part of the loss."""

    kl_coeff: float = setting(0.2, number(0))
    """Initial weight of KL(old || new); adapted towards ``kl_target``."""

    kl_target: float = setting(0.01, number(0, open_low=True))
    """Mean KL in nats that ``kl_coeff`` is adapted to."""

    num_epochs: int = setting(15, integer(1))
    """Passes over each batch."""

    minibatch_size: int | None = setting(None, optional(integer(1)))
    """Steps per gradient step; None takes the whole batch."""
