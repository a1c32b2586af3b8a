"""RLlib wiring: adapters that move data between RLlib and the core, and no mathematics.

``ALGORITHMS`` maps names to configuration classes; tests, command line, README table and
documentation read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rllib_agentmixer.algorithms.agentmixer import AgentMixerConfig


def _agentmixer() -> type[AgentMixerConfig]:
    from rllib_agentmixer.algorithms.agentmixer import AgentMixerConfig

    return AgentMixerConfig


ALGORITHMS: dict[str, Callable[[], type[AgentMixerConfig]]] = {"agentmixer": _agentmixer}
"""Name -> function that returns the configuration class (importing Ray only then)."""
