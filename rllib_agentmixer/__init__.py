"""AgentMixer and its baselines for cooperative multi-agent learning on Ray RLlib.

``rllib_agentmixer.core`` holds the mathematics in plain PyTorch, ``adapters`` wires it
into RLlib, ``envs`` turns PettingZoo environments into team environments, and ``runtime``
plays exported policies without Ray.

The names below are imported on first use: ``import rllib_agentmixer`` alone loads neither
Ray nor PyTorch, so the command line starts at once and an exported policy runs where
neither Ray nor Gymnasium is installed.

Reference: Li et al., "AgentMixer: Multi-Agent Correlated Policy Factorization", AAAI 2025,
arXiv:2401.08728.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters.classic.algorithms import (
        IPPO,
        MAPPO,
        AgentMixer,
        AgentMixerConfig,
        IPPOConfig,
        MAPPOConfig,
    )
    from .envs import ENVS, make_env, register_env
    from .runtime import load_policies

__version__ = "0.1.0"

__all__ = [
    "ENVS",
    "IPPO",
    "MAPPO",
    "AgentMixer",
    "AgentMixerConfig",
    "IPPOConfig",
    "MAPPOConfig",
    "__version__",
    "load_policies",
    "make_env",
    "register_env",
]

_HOME_OF = {
    "AgentMixer": ".adapters.classic.algorithms",
    "AgentMixerConfig": ".adapters.classic.algorithms",
    "IPPO": ".adapters.classic.algorithms",
    "IPPOConfig": ".adapters.classic.algorithms",
    "MAPPO": ".adapters.classic.algorithms",
    "MAPPOConfig": ".adapters.classic.algorithms",
    "ENVS": ".envs",
    "make_env": ".envs",
    "register_env": ".envs",
    "load_policies": ".runtime",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name], __name__), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
