"""RLlib's two classes of every algorithm in the registry: configuration and algorithm.

Classes without documentation of their own are made here from their entries.
"""

from __future__ import annotations

from typing import Any

from ray.tune.registry import register_trainable

from rllib_agentmixer.adapters.classic.algorithm import TeamAlgorithm
from rllib_agentmixer.adapters.classic.config import ClassicConfig, OnPolicyConfig, ReplayConfig
from rllib_agentmixer.adapters.classic.model import register_environments, register_model
from rllib_agentmixer.adapters.classic.on_policy import OnPolicyAlgorithm
from rllib_agentmixer.adapters.classic.replay import ReplayAlgorithm
from rllib_agentmixer.core.algorithms.entry import AlgorithmEntry
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.errors import ConfigError


class AgentMixerConfig(OnPolicyConfig):
    """Configuration of AgentMixer-PPO with the authors' settings as defaults.

    Example:
        >>> config = (
        ...     AgentMixerConfig()
        ...     .environment("predator_prey", env_config={"penalty": -1.0})
        ...     .env_runners(num_env_runners=2, num_envs_per_env_runner=32)
        ...     .training(lr=5e-4, modifier_lr=5e-5, igc="strict")
        ... )
    """

    algorithm = "agentmixer"


class AgentMixer(OnPolicyAlgorithm):
    """AgentMixer-PPO: individual policies, correlated by a policy modifier while they train.

    Reference: Li et al., "AgentMixer: Multi-Agent Correlated Policy Factorization", AAAI 2025,
    arXiv:2401.08728.
    """

    config_class = AgentMixerConfig


class MAPPOConfig(OnPolicyConfig):
    """Multi-agent PPO: no policy modifier, per-agent clipped ratios, V(s) for all.

    Value normalisation, Huber value loss and death masking as published (Yu et al. 2022,
    arXiv:2103.01955). Published runs share parameters: ``parameter_sharing="shared"``.
    """

    algorithm = "mappo"


class MAPPO(OnPolicyAlgorithm):
    """PPO on every agent's own policy with a central critic (arXiv:2103.01955)."""

    config_class = MAPPOConfig


class IPPOConfig(OnPolicyConfig):
    """Independent PPO: MAPPO whose critics see only what their agents see.

    Reference: de Witt et al. 2020, arXiv:2011.09533.
    """

    algorithm = "ippo"


class IPPO(OnPolicyAlgorithm):
    """PPO on every agent's own policy with critics of their own (arXiv:2011.09533)."""

    config_class = IPPOConfig


PARENTS: dict[str, tuple[type[ClassicConfig], type[TeamAlgorithm]]] = {
    "on_policy": (OnPolicyConfig, OnPolicyAlgorithm),
    "replay": (ReplayConfig, ReplayAlgorithm),
}
"""Kind of data -> parents of an algorithm's classes."""


def rllib_classes(entry: AlgorithmEntry, module: str) -> tuple[type[Any], type[Any]]:
    """Configuration and algorithm class of an entry, as members of a module.

    Args:
        entry: of the algorithm.
        module: that binds them as ``<class_name>Config`` and ``<class_name>``, so that they
            can be pickled by reference.
    """
    config_parent, algorithm_parent = PARENTS[entry.data]
    doc = f"{entry.class_name}: {entry.summary}."
    body = {"algorithm": entry.name, "__doc__": doc, "__module__": module}
    config = type(f"{entry.class_name}Config", (config_parent,), body)
    body = {"config_class": config, "__doc__": doc, "__module__": module}
    return config, type(entry.class_name, (algorithm_parent,), body)


for _entry in ALGORITHMS.values():
    if _entry.class_name not in globals() and _entry.name not in TeamAlgorithm.known:
        _config, _algorithm = rllib_classes(_entry, __name__)
        globals().update({_config.__name__: _config, _algorithm.__name__: _algorithm})


def algorithm_class(name: str) -> type[TeamAlgorithm]:
    """RLlib's algorithm class of a registered algorithm.

    Raises:
        ConfigError: no such algorithm, or none of RLlib's classes was made for it.
    """
    entry = ALGORITHMS[name]
    if name not in TeamAlgorithm.known:
        raise ConfigError(
            f"{name!r} has an entry but no RLlib classes; beside register_algorithm, write "
            f"class {entry.class_name}Config(OnPolicyConfig): algorithm = {name!r} and class "
            f"{entry.class_name}(OnPolicyAlgorithm): config_class = {entry.class_name}Config"
        )
    return TeamAlgorithm.known[name]


def config_of(name: str) -> Any:
    """A configuration of a registered algorithm with its defaults.

    Raises:
        ConfigError: no such algorithm.
    """
    return algorithm_class(name).get_default_config()


def register_with_rllib() -> None:
    """Register algorithms, model and environments by name with Tune and RLlib.

    Done on import; a Ray that is started after another one was shut down needs it again.
    """
    register_model()
    for kind in TeamAlgorithm.known.values():
        register_trainable(kind.__name__, kind)
    register_environments()


register_with_rllib()
