"""RLlib's classic API stack, and the parents of the two classes that an algorithm has there.

An algorithm of one's own is an :class:`~rllib_agentmixer.AlgorithmEntry` and two classes:

>>> class MineConfig(OnPolicyConfig):
...     algorithm = "mine"
>>> class Mine(OnPolicyAlgorithm):
...     config_class = MineConfig
"""

from .config import OnPolicyConfig, ReplayConfig
from .on_policy import OnPolicyAlgorithm
from .replay import ReplayAlgorithm

__all__ = ["OnPolicyAlgorithm", "OnPolicyConfig", "ReplayAlgorithm", "ReplayConfig"]
