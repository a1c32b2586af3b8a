"""AgentMixer on RLlib: ``AgentMixerConfig`` and ``AgentMixer``.

Reference: Li et al., "AgentMixer: Multi-Agent Correlated Policy Factorization", AAAI 2025,
arXiv:2401.08728.
"""

from __future__ import annotations

from ray.tune.registry import register_trainable

from rllib_agentmixer.algorithms.team_algorithm import TeamAlgorithm
from rllib_agentmixer.algorithms.team_config import TeamConfig
from rllib_agentmixer.algorithms.team_model import register_environments, register_model


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


def register_with_rllib() -> None:
    """Make algorithm, model and environments known to Tune and RLlib's algorithms by name.

    Done on import; a Ray that is started after another one was shut down needs it again.
    """
    register_model()
    register_trainable("AgentMixer", AgentMixer)
    register_environments()


register_with_rllib()
