"""AgentMixer (Li et al., AAAI 2025, arXiv:2401.08728)."""

from __future__ import annotations

from rllib_agentmixer.core.algorithms.actor_critic import ON_POLICY_SPACE, POLICY_GRADIENT
from rllib_agentmixer.core.algorithms.entry import AlgorithmEntry
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.teams.joint_policy import agentmixer_team

AGENTMIXER = AlgorithmEntry(
    name="agentmixer",
    class_name="AgentMixer",
    summary="individual policies, correlated by a policy modifier while they train",
    settings=AgentMixerSettings,
    team=agentmixer_team,
    learners=POLICY_GRADIENT,
    search_space=ON_POLICY_SPACE
    | {
        "modifier_lr": "loguniform(1e-5, 3e-3)",
        "dispersion_gain": "choice(1.0, 3.0, 10.0)",
        "igc": "choice(strict, gumbel)",
        "correlation": "choice(state, autoregressive)",
    },
)
"""Policies that mix through a modifier; the ratio is that of the joint probability."""

ENTRIES = (AGENTMIXER,)
