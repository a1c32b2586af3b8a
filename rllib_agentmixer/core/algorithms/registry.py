"""Registry of algorithms."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rllib_agentmixer.core.settings.actor_critic import IPPOSettings, MAPPOSettings
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.core.settings.ranges import one_of
from rllib_agentmixer.core.settings.rllib_settings import INHERITED_DEFAULTS, INHERITED_RANGES

HYPERPARAMETERS: dict[str, type[TeamSettings]] = {
    "agentmixer": AgentMixerSettings,
    "mappo": MAPPOSettings,
    "ippo": IPPOSettings,
}
"""Algorithm -> its settings."""


def setting_rows(algorithm: str = "agentmixer") -> list[tuple[str, Any, str]]:
    """Name, default and allowed values of every setting of an algorithm, for listings.

    Raises:
        ConfigError: no such algorithm.
    """
    one_of(*HYPERPARAMETERS).check("algorithm", algorithm)
    own = [
        (entry.name, entry.default, entry.metadata["range"].words)
        for entry in fields(HYPERPARAMETERS[algorithm])
    ]
    inherited = [
        (name, INHERITED_DEFAULTS.get(name, "RLlib's"), allowed.words)
        for name, allowed in INHERITED_RANGES.items()
    ]
    return own + inherited
