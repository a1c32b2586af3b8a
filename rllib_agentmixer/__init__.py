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
    from .core.algorithms.entry import AlgorithmEntry
    from .core.algorithms.registry import register_algorithm
    from .envs import ENVS, make_env, register_env
    from .rollouts.saved_team import load_team
    from .runtime import load_policies

__version__ = "0.1.0"

__all__ = [
    "ENVS",
    "IPPO",
    "MAPPO",
    "AgentMixer",
    "AgentMixerConfig",
    "AlgorithmEntry",
    "IPPOConfig",
    "MAPPOConfig",
    "__version__",
    "load_policies",
    "load_team",
    "make_env",
    "register_algorithm",
    "register_env",
]

_HOME_OF = {
    "AlgorithmEntry": ".core.algorithms.entry",
    "register_algorithm": ".core.algorithms.registry",
    "ENVS": ".envs",
    "make_env": ".envs",
    "register_env": ".envs",
    "load_policies": ".runtime",
    "load_team": ".rollouts.saved_team",
}
_ALGORITHMS = ".adapters.classic.algorithms"
"""Home of the two classes of every algorithm, ``<class_name>`` and ``<class_name>Config``."""


def __getattr__(name: str) -> Any:
    if name.startswith("_") or (not name[0].isupper() and name not in _HOME_OF):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOME_OF.get(name, _ALGORITHMS), __name__)
    if not hasattr(home, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(home, name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
