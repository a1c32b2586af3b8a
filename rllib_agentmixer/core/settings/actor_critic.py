"""Settings of the actor-critic baselines."""

from __future__ import annotations

from dataclasses import dataclass

from rllib_agentmixer.core.settings.base import TeamSettings, setting
from rllib_agentmixer.core.settings.ranges import boolean, one_of
from rllib_agentmixer.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MAPPOSettings(TeamSettings):
    """No modifier, per-agent ratios, V(s)."""

    ratio: str = setting("agent", one_of("joint", "agent"))
    """Each agent's own clipped ratio [MAPPO]; ``joint`` compares the team's probability."""


@dataclass(frozen=True, kw_only=True)
class IPPOSettings(MAPPOSettings):
    """MAPPO whose critics see what their agents see."""

    critic_input: str = setting("obs", one_of("state", "obs"))
    """V_i(h_i) [de Witt et al. 2020]; ``state`` is MAPPO."""

    individual_rewards: bool = setting(False, boolean)  # type: ignore[misc]
    """Whether each agent learns from its own reward, until it leaves, instead of the team's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.individual_rewards and self.critic_input != "obs":
            raise ConfigError(
                "individual_rewards=True needs one value per agent: critic_input='obs', got "
                f"{self.critic_input!r}"
            )
