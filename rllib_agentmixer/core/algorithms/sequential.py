"""Algorithms whose agents are updated, or act, one after the other."""

from __future__ import annotations

from rllib_agentmixer.core.algorithms.actor_critic import ON_POLICY_SPACE
from rllib_agentmixer.core.algorithms.entry import AlgorithmEntry
from rllib_agentmixer.core.learners.sequential import HAPPOLearner
from rllib_agentmixer.core.settings.sequential import HAPPOSettings
from rllib_agentmixer.core.teams.product_policy import ProductPolicy

HAPPO = AlgorithmEntry(
    name="happo",
    class_name="HAPPO",
    summary="PPO on one agent after the other, each correcting for those updated before it",
    settings=HAPPOSettings,
    team=ProductPolicy,
    learners={"happo": HAPPOLearner},
    rllib_defaults={"num_epochs": 5},
    search_space=ON_POLICY_SPACE | {"hidden_size": "choice(64, 128)"},
)
"""Differs from MAPPO in the order of updates (Kuba et al. 2022, arXiv:2109.11251)."""

ENTRIES = (HAPPO,)
