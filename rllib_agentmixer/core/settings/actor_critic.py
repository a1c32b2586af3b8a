"""Settings of policy-gradient algorithms with a critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rllib_agentmixer.core.settings.base import TeamSettings, setting
from rllib_agentmixer.core.settings.ranges import boolean, number, one_of, optional, widths
from rllib_agentmixer.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ActorCriticSettings(TeamSettings):
    """Settings of every algorithm that learns policies from advantages."""

    ratio: ClassVar[Any]
    """Probability ratio: ``joint``, or each ``agent``'s own."""

    critic_input: str = setting("state", one_of("state", "obs"))
    """``state``: V(s) for the team. ``obs``: V_i(h_i), one per agent from its own history."""

    critic_hidden: tuple[int, ...] = setting((64, 64), widths)
    """Hidden widths of V(s)."""

    huber_delta: float = setting(10.0, number(0, open_low=True))
    """Error from which the value loss is linear, in normalised value units [authors]."""

    normalize_values: bool = setting(True, boolean)
    """Whether the critic learns standardised targets (outputs preserved, PopArt) [ours 6]."""

    advantage_scale: str = setting("standard", one_of("standard", "hysteretic", "robust"))
    """``standard``: zero mean, unit deviation [paper]. ``hysteretic``: negative ones weigh 0.3.
    ``robust``: median and inter-quartile range, clipped [ours 8]."""

    bootstrap_truncated: bool = setting(True, boolean)
    """Whether returns bootstrap from V at a time limit [ours 3]. False treats it as a terminal
    state [authors]: right where agents observe the remaining time, wrong where not."""

    individual_rewards: bool = setting(False, boolean)
    """Whether each agent learns from its own reward, until it leaves, instead of the team's;
    needs a value per agent, ``critic_input="obs"``."""

    kl_stop: float | None = setting(None, optional(number(0, open_low=True)))
    """Stop this iteration's epochs once mean KL(old || new) in nats exceeds it; None: never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.individual_rewards and self.critic_input != "obs":
            raise ConfigError(
                "individual_rewards=True needs one value per agent: critic_input='obs', got "
                f"{self.critic_input!r}"
            )


@dataclass(frozen=True, kw_only=True)
class PolicyGradientSettings(ActorCriticSettings):
    """Settings of algorithms that update all agents at once.

    They are points in one small space: a baseline differs by its defaults.
    """

    learner: str = setting("ppo", one_of("ppo", "a2c"))
    """``ppo``: clipped ratio, several epochs. ``a2c``: log-probability times advantage, one
    pass over each batch [Mnih et al. 2016]."""

    ratio: str = setting("joint", one_of("joint", "agent"))  # type: ignore[misc]
    """Probability ratio: the whole team's at once (``joint``), or each agent's on its own
    [MAPPO]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.critic_input == "obs" and self.ratio == "joint":
            raise ConfigError(
                "critic_input='obs' gives each agent an advantage of its own, and ratio='joint' "
                "needs one for the whole team; choose ratio='agent' or critic_input='state'"
            )
