"""Settings of AgentMixer: the policy modifier and the form of the joint policy.

Sources: [paper] arXiv:2401.08728; [authors] the published code's computation; [ours] a choice
of this package, numbered in ``docs/algorithms/agentmixer.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rllib_agentmixer.core.settings.actor_critic import PolicyGradientSettings
from rllib_agentmixer.core.settings.base import Schedule, setting
from rllib_agentmixer.core.settings.ranges import (
    boolean,
    integer,
    number,
    one_of,
    open_unit,
    order,
    schedule,
    width,
)
from rllib_agentmixer.errors import ConfigError

Igc = Literal["strict", "gumbel", "none"]
Correlation = Literal["state", "signal", "autoregressive"]
ModifierKind = Literal["mixer", "linear", "hypernetwork", "attention", "none"]


@dataclass(frozen=True, kw_only=True)
class AgentMixerSettings(PolicyGradientSettings):
    """Settings of AgentMixer on top of those of the policy gradient."""

    igc: Igc = setting("strict", one_of("strict", "gumbel", "none"))
    """Form of the joint policy. ``strict`` preserves every mode exactly [ours 1]; ``gumbel`` is
    the published form; ``none`` is the ablation."""

    distillation_coeff: float = setting(0.0, number(0))
    """Weight of KL(joint || individual) in the loss: the individual policies imitate a joint
    policy not tied to them. Only with ``igc="none"``; the paper argues against it."""

    correlation: Correlation = setting("state", one_of("state", "signal", "autoregressive"))
    """Source of correlation between agents' actions: the ``state`` [paper]; a random
    ``signal`` too; or ``autoregressive``: the actions of the agents before them [ours 11]."""

    signal_size: int = setting(4, integer(1, 256))
    """Z: dimensions of the random signal of one environment step."""

    agent_order: Any = setting(None, order)
    """Order of the agents in the autoregressive form: None is 0..N-1, ``random`` is sampled anew
    at every step."""

    policy_modifier: ModifierKind = setting(
        "mixer", one_of("mixer", "linear", "hypernetwork", "attention", "none")
    )
    """Kind of mixing: the MLP ``mixer`` [paper], its ablations, or ``none``: the joint
    policy is the product of the individual ones."""

    modifier_lr: Schedule = setting(5e-5, schedule(number(0)))
    """Learning rate of the policy modifier [authors: 5e-5 on predator-prey]."""

    temperature: Schedule = setting(1.0, schedule(number(0, open_low=True)))
    """tau > 0: joint logits are divided by it; discrete teams only [authors]."""

    dispersion_ceiling: float = setting(0.95, open_unit)
    """y in (0, 1): upper end of what the modifier puts out [paper: 0.95 discrete, 0.75
    continuous]."""

    dispersion_gain: float = setting(1.0, number(0, open_low=True))
    """kappa > 0: slope of the squashing [paper: 1 discrete, 0.3 continuous]."""

    strict_bound: float = setting(3.0, number(0, 20, open_low=True))
    """Largest |r| of the strict form: logit gaps shrink or grow by at most exp(r) [ours 1]."""

    min_std: float = setting(1e-3, number(0, 1, open_low=True))
    """Floor of the joint standard deviation, in units of the normalised action."""

    modifier_width: int = setting(64, width)
    """D: embedding width of one agent in the modifier [paper]."""

    num_mixer_blocks: int = setting(1, integer(1, 16))
    """M: mixing rounds [authors: 1; paper: N x]."""

    agent_mixing_factor: int = setting(4, integer(1, 256))
    """Hidden width of agent mixing as a multiple of N [ours 4; authors: 32 whatever N]."""

    agent_mixing_limit: int = setting(64, integer(1, 4096))
    """Largest hidden width of agent mixing: with a multiple of N alone, cost would grow with the
    square of N [ours 4]."""

    channel_mixing_factor: int = setting(4, integer(1, 16))
    """Hidden width of channel mixing as a multiple of D [paper]."""

    sample_std_from_joint: bool = setting(True, boolean)
    """Continuous teams: fit the individual policies' own std (used only when they sample at
    execution) to the joint policy's by matching moments [ours 7]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        has_modifier = self.policy_modifier != "none"
        if not has_modifier and self.igc == "none":
            raise ConfigError(
                "policy_modifier='none' with igc='none' leaves the joint "
                "policy undefined; choose igc='strict'"
            )
        if not has_modifier and self.correlation != "state":
            raise ConfigError(
                f"correlation={self.correlation!r} needs a policy modifier, got "
                "policy_modifier='none'"
            )
        if self.agent_order is not None and self.correlation != "autoregressive":
            raise ConfigError(
                f"agent_order={self.agent_order!r} applies only with "
                f"correlation='autoregressive', got correlation={self.correlation!r}"
            )
        if self.distillation_coeff and self.igc != "none":
            raise ConfigError(
                f"distillation_coeff={self.distillation_coeff!r} needs igc='none' (with "
                f"igc={self.igc!r} modes are tied already)"
            )
