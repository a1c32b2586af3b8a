"""Value-based algorithms, which learn from replayed episodes."""

from __future__ import annotations

from rllib_agentmixer.core.algorithms.entry import AlgorithmEntry
from rllib_agentmixer.core.learners.q_learning import QLearner
from rllib_agentmixer.core.settings.value_based import ReplaySettings, ValueSettings
from rllib_agentmixer.core.teams.factored_values import FactoredValues

VDN = AlgorithmEntry(
    name="vdn",
    class_name="VDN",
    summary="Q-learning of a team value that is the sum of the agents' own",
    settings=ValueSettings,
    rllib=ReplaySettings,
    team=FactoredValues,
    learners={"q": QLearner},
    data="replay",
    action_kinds=frozenset({"discrete"}),
    search_space={
        "lr": "loguniform(1e-4, 3e-3)",
        "gamma": "choice(0.95, 0.99)",
        "hidden_size": "choice(64, 128)",
        "target_network_update_freq": "choice(50, 200, 800)",
        "updates_per_episode": "choice(0.5, 1.0, 2.0)",
    },
)
"""The sum of individual values is the team's (Sunehag et al. 2018, arXiv:1706.05296)."""

ENTRIES = (VDN,)
