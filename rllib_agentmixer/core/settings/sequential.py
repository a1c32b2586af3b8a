"""Settings of algorithms that update or act one agent after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rllib_agentmixer.core.settings.actor_critic import ActorCriticSettings
from rllib_agentmixer.core.settings.base import setting
from rllib_agentmixer.core.settings.ranges import one_of


@dataclass(frozen=True, kw_only=True)
class HAPPOSettings(ActorCriticSettings):
    """Settings of HAPPO [Kuba et al. 2022]."""

    ratio: ClassVar[str] = "agent"

    parameter_sharing: Any = setting("separate", one_of("separate"))
    """Every agent has its own parameters: an update of one must leave the others alone."""
