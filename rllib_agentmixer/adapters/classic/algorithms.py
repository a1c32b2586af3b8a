"""Algorithms on RLlib: a configuration and an algorithm class each.

Reference: Li et al., "AgentMixer: Multi-Agent Correlated Policy Factorization", AAAI 2025,
arXiv:2401.08728.
"""

from __future__ import annotations

from ray.tune.registry import register_trainable

from rllib_agentmixer.adapters.classic.algorithm import TeamAlgorithm
from rllib_agentmixer.adapters.classic.model import register_environments, register_model
from rllib_agentmixer.adapters.team_config import TeamConfig


class AgentMixerConfig(TeamConfig):
    """Configuration of AgentMixer-PPO with the authors' settings as defaults.

    Example:
        >>> config = (
        ...     AgentMixerConfig()
        ...     .environment("predator_prey", env_config={"penalty": -1.0})
        ...     .env_runners(num_env_runners=2, num_envs_per_env_runner=32)
        ...     .training(lr=5e-4, modifier_lr=5e-5, igc="strict")
        ... )
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or AgentMixer)


class AgentMixer(TeamAlgorithm):
    """AgentMixer-PPO: individual policies, correlated by a policy modifier while they train."""

    @classmethod
    def get_default_config(cls) -> AgentMixerConfig:
        return AgentMixerConfig()


class MAPPOConfig(TeamConfig):
    """Multi-agent PPO: no policy modifier, per-agent clipped ratios, V(s) for all.

    Value normalisation, Huber value loss and death masking as published (Yu et al. 2022,
    arXiv:2103.01955). Published runs share parameters: ``parameter_sharing="shared"``.
    """

    algorithm = "mappo"

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MAPPO)


class MAPPO(TeamAlgorithm):
    """PPO on every agent's own policy with a central critic (arXiv:2103.01955)."""

    @classmethod
    def get_default_config(cls) -> MAPPOConfig:
        return MAPPOConfig()


class IPPOConfig(TeamConfig):
    """Independent PPO: MAPPO whose critics see only what their agents see.

    Reference: de Witt et al. 2020, arXiv:2011.09533.
    """

    algorithm = "ippo"

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or IPPO)


class IPPO(TeamAlgorithm):
    """PPO on every agent's own policy with critics of their own (arXiv:2011.09533)."""

    @classmethod
    def get_default_config(cls) -> IPPOConfig:
        return IPPOConfig()


def register_with_rllib() -> None:
    """Make algorithm, model and environments known to Tune and RLlib's algorithms by name.

    Done on import; a Ray that is started after another one was shut down needs it again.
    """
    register_model()
    register_trainable("AgentMixer", AgentMixer)
    register_trainable("MAPPO", MAPPO)
    register_trainable("IPPO", IPPO)
    register_environments()


register_with_rllib()
