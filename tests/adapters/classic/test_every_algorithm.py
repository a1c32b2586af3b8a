"""Properties of every registered algorithm on every registered environment."""

import math

import pytest
from algorithms_test_helpers import differences, learner_stats, tiny, weights_of

from rllib_agentmixer.adapters.classic.algorithms import algorithm_class
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.envs import ENVS, make_env
from rllib_agentmixer.errors import ConfigError, MissingExtraError
from rllib_agentmixer.export import export_policies
from rllib_agentmixer.runtime import PARITY_TOLERANCE, load_policies
from rllib_agentmixer.tracking import flatten

REPLAY_KEYS = {
    "td_loss",
    "td_error_abs",
    "q_taken_mean",
    "target_mean",
    "grad_norm",
    "cur_lr",
    "epsilon",
}
LEARNER_KEYS = {
    "policy_loss",
    "vf_loss",
    "entropy",
    "kl",
    "clip_fraction",
    "explained_variance",
    "grad_norm_individual_policies",
    "grad_norm_critic",
    "grad_norm",
    "cur_lr",
    "entropy_coeff",
}
MODIFIER_KEYS = {
    "mode_agreement",
    "kl_joint_individual",
    "joint_entropy",
    "individual_entropy",
    "grad_norm_policy_modifier",
}
EVALUATION_KEYS = {"individual", "joint", "individual_sampled", "joint_sampled", "central_gap"}
MORTAL = tuple(name for name in ENVS if name.startswith("skirmish"))
"""Environments whose agents die, and receive nothing from then on."""
SHORT = {
    "predator_prey": {"max_steps": 8},
    "simple_spread": {"max_cycles": 8},
    "simple_reference": {"max_cycles": 8},
    "simple_speaker_listener": {"max_cycles": 8},
    "simple_tag": {"max_cycles": 8},
    "multiwalker": {"max_cycles": 8},
    "pursuit": {"max_cycles": 8, "n_pursuers": 3},
    "knights_archers_zombies": {"max_cycles": 8},
    "ma_mujoco": {"scenario": "HalfCheetah", "partition": "2x3", "max_steps": 8},
    "vmas": {"scenario": "balance", "max_steps": 8},
    "lbf": {"max_steps": 8},
    "rware": {"max_steps": 8},
    "open_spiel": {"horizon": 8},
    **{name: {"max_steps": 8} for name in MORTAL},
}
"""Settings with which an episode ends within the 16 steps that a sub-environment takes."""
AGENTMIXER_VARIANTS = (
    {"use_gru": True},
    {"igc": "gumbel"},
    {"igc": "none"},
    {"igc": "none", "use_gru": True},
    {"igc": "none", "distillation_coeff": 1.0},
    {"correlation": "signal", "use_gru": True},
    {"correlation": "autoregressive", "use_gru": True},
    {"correlation": "autoregressive", "agent_order": "random", "igc": "gumbel"},
    {"policy_modifier": "hypernetwork", "num_mixer_blocks": 2},
    {"policy_modifier": "attention"},
    {"policy_modifier": "linear"},
    {"policy_modifier": "none"},
    {"learner": "a2c"},
)
BASELINE_VARIANTS = ({"use_gru": True}, {"parameter_sharing": "shared"}, {"learner": "a2c"})
VARIED = ("predator_prey", "continuous_game")
"""One environment of each kind of action, on which every variant is tried."""
BASELINES_PLAY = (*VARIED, "climbing", "simple_spread")
FAMILIES = {entry.constructor: name for name, entry in reversed(ENVS.items()) if entry.extra}
TRAINED = [
    name
    for name, entry in ENVS.items()
    if entry.install is None and (not entry.extra or name in FAMILIES.values())
]
"""Own environments, and the first of those that one third-party constructor makes."""


def is_taken(algorithm, settings):
    """Whether an algorithm has all of these settings and values."""
    try:
        ALGORITHMS[algorithm].make_settings(**settings)
    except (TypeError, ConfigError):
        return False
    return True


CASES = [
    (algorithm, env, settings)
    for algorithm, entry in ALGORITHMS.items()
    for env in (TRAINED if algorithm == "agentmixer" else BASELINES_PLAY)
    for variants in [AGENTMIXER_VARIANTS if algorithm == "agentmixer" else BASELINE_VARIANTS]
    for settings in ({}, *(variants if env in VARIED else ()))
    if is_taken(algorithm, settings)
    if "continuous" in entry.action_kinds or "continuous" not in ENVS[env].actions
]


class Trained:
    """An algorithm after one iteration, and that iteration's result."""

    def __init__(self, algorithm):
        self.algorithm = algorithm
        self.result = algorithm.train()


def _id(case):
    algorithm, env, settings = case
    return "-".join([algorithm, env, *(f"{name}={value}" for name, value in settings.items())])


@pytest.fixture(scope="module", params=CASES, ids=_id)
def trained(request, ray_cluster):
    name, env, settings = request.param
    try:
        make_env(env, **SHORT.get(env, {})).close()
    except MissingExtraError as error:
        pytest.skip(str(error))
    config = tiny(
        env, env_config=SHORT.get(env), config_class=algorithm_class(name).config_class, **settings
    )
    config.evaluation(evaluation_interval=1)
    found = Trained(config.build_algo())
    yield found
    found.algorithm.stop()


def test_an_iteration_reports_finite_numbers_under_the_documented_keys(trained):
    stats = learner_stats(trained.result)
    is_replay = trained.algorithm.config.entry.data == "replay"
    assert stats.keys() >= (REPLAY_KEYS if is_replay else LEARNER_KEYS)
    has_modifier = not trained.algorithm.team_policy.module.is_product
    assert (stats.keys() >= MODIFIER_KEYS) == has_modifier
    is_agentmixer = hasattr(trained.algorithm.config, "modifier_lr")
    assert (stats.keys() >= {"cur_modifier_lr", "temperature"}) == is_agentmixer
    assert all(math.isfinite(value) for value in stats.values())
    assert math.isfinite(trained.result["env_runners"]["episode_return_mean"])
    assert trained.result["num_env_steps_sampled_lifetime"] == 64


def test_evaluation_reports_joint_and_individual_play_per_agent(trained):
    evaluation = trained.result["evaluation"]
    assert evaluation.keys() >= EVALUATION_KEYS
    agents = set(trained.algorithm.team_spec.agents)
    for kind in EVALUATION_KEYS - {"central_gap"}:
        assert evaluation[kind]["num_episodes"] == 4
        assert set(evaluation[kind]["agent_return_mean"]) == agents
        assert all(math.isfinite(value) for value in flatten(evaluation[kind]).values())
        own = list(evaluation[kind]["agent_return_mean"].values())
        team = evaluation[kind]["episode_return_mean"]
        name = trained.algorithm.config.env
        if ENVS[name].team_reward == "sum":
            assert sum(own) == pytest.approx(team, abs=1e-6)
        elif name in MORTAL:
            assert all(value <= team + 1e-6 for value in own)
        else:  # every agent receives the team's reward
            assert own == pytest.approx([team] * len(agents))
    gap = (
        evaluation["joint"]["episode_return_mean"] - evaluation["individual"]["episode_return_mean"]
    )
    assert evaluation["central_gap"] == pytest.approx(gap)


def test_a_checkpoint_brings_back_weights_and_returns(trained, tmp_path):
    algorithm = trained.algorithm
    algorithm.save(str(tmp_path / "checkpoint"))
    restored = type(algorithm).from_checkpoint(str(tmp_path / "checkpoint"))
    old, new = (weights_of(a) for a in (algorithm, restored))
    again = restored.evaluate()
    restored.stop()
    assert differences(old, new) == []
    for kind in EVALUATION_KEYS:
        assert differences(trained.result["evaluation"][kind], again[kind]) == []


def test_the_export_acts_like_the_algorithm(trained, tmp_path):
    manifest = export_policies(trained.algorithm, tmp_path / "exported")
    assert manifest["parity"]["max_difference"] <= PARITY_TOLERANCE
    policies = load_policies(tmp_path / "exported")
    assert tuple(policies) == trained.algorithm.team_spec.agents
