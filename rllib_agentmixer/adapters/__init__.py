"""RLlib wiring: adapters that move data between RLlib and the core, and no mathematics.

``ALGORITHMS`` maps names to configuration classes; tests, command line, README table and
documentation read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.team_config import TeamConfig


def _agentmixer() -> type[TeamConfig]:
    """individual policies, correlated by a policy modifier while they train."""
    from rllib_agentmixer.adapters.classic.algorithms import AgentMixerConfig

    return AgentMixerConfig


def _mappo() -> type[TeamConfig]:
    """PPO on every agent's own policy with a central critic V(s)."""
    from rllib_agentmixer.adapters.classic.algorithms import MAPPOConfig

    return MAPPOConfig


def _ippo() -> type[TeamConfig]:
    """PPO on every agent's own policy with critics V_i(h_i) of their own."""
    from rllib_agentmixer.adapters.classic.algorithms import IPPOConfig

    return IPPOConfig


ALGORITHMS: dict[str, Callable[[], type[TeamConfig]]] = {
    "agentmixer": _agentmixer,
    "mappo": _mappo,
    "ippo": _ippo,
}
"""Name -> function that returns the configuration class (importing Ray only then).

The function's docstring is the line that listings show."""
