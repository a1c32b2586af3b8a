"""Actor-critic baselines: points in AgentMixer's own space of settings.

=========  ================  ==========  ===================
name       joint policy      ratio       critic
=========  ================  ==========  ===================
AgentMixer policy modifier   team's      V(s)
MAPPO      product           each one's  V(s)
IPPO       product           each one's  V_i(h_i)
=========  ================  ==========  ===================
"""

from __future__ import annotations

from rllib_agentmixer.core.algorithms.entry import AlgorithmEntry
from rllib_agentmixer.core.learners.learner import Learner
from rllib_agentmixer.core.learners.policy_gradient import A2CLearner, PPOLearner
from rllib_agentmixer.core.settings.actor_critic import PolicyGradientSettings
from rllib_agentmixer.core.teams.product_policy import ProductPolicy

POLICY_GRADIENT: dict[str, type[Learner]] = {"ppo": PPOLearner, "a2c": A2CLearner}

ON_POLICY_SPACE = {
    "lr": "loguniform(1e-4, 3e-3)",
    "entropy_coeff": "loguniform(1e-4, 5e-2)",
    "clip_param": "uniform(0.1, 0.3)",
    "lambda_": "choice(0.9, 0.95, 0.98)",
    "num_epochs": "choice(5, 10, 15)",
    "advantage_scale": "choice(standard, hysteretic, robust)",
}
"""Ranges that policy-gradient algorithms share: those of the tuned examples with some
margin."""

MAPPO = AlgorithmEntry(
    name="mappo",
    class_name="MAPPO",
    summary="PPO on every agent's own policy with a central critic V(s)",
    settings=PolicyGradientSettings,
    defaults={"ratio": "agent"},
    team=ProductPolicy,
    learners=POLICY_GRADIENT,
    search_space=ON_POLICY_SPACE | {"hidden_size": "choice(64, 128)"},
)
"""Differs from AgentMixer: no modifier, a ratio per agent (Yu et al. 2022, arXiv:2103.01955)."""

IPPO = AlgorithmEntry(
    name="ippo",
    class_name="IPPO",
    summary="PPO on every agent's own policy with critics V_i(h_i) of their own",
    settings=PolicyGradientSettings,
    defaults={"ratio": "agent", "critic_input": "obs"},
    team=ProductPolicy,
    learners=POLICY_GRADIENT,
    search_space=ON_POLICY_SPACE | {"hidden_size": "choice(64, 128)"},
)
"""Differs from MAPPO: critics see what their agents see (de Witt et al. 2020, arXiv:2011.09533)."""

ENTRIES = (MAPPO, IPPO)
