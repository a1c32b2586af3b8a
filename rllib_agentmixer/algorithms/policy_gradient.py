"""Policy-gradient rivals on RLlib: MAPPO and IPPO.

They are points in AgentMixer's own space of settings, on the same networks, worker,
evaluation and export:

=========  ================  ==========  ===================
name       joint policy      ratio       critic
=========  ================  ==========  ===================
AgentMixer policy modifier   team's      V(s)
MAPPO      product           each one's  V(s)
IPPO       product           each one's  V_i(h_i)
=========  ================  ==========  ===================
"""

from __future__ import annotations

from ray.tune.registry import register_trainable

from rllib_agentmixer.algorithms.team_algorithm import TeamAlgorithm
from rllib_agentmixer.algorithms.team_config import TeamConfig


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
    """Make the algorithms known to Tune by name."""
    register_trainable("MAPPO", MAPPO)
    register_trainable("IPPO", IPPO)


register_with_rllib()
