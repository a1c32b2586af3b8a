"""Equilibrium gaps of algorithms on matrix games: on demand, and logged while they train."""

import pytest
from algorithms_test_helpers import learner_stats, tiny

from rllib_agentmixer.adapters.classic.algorithms import algorithm_class
from rllib_agentmixer.analysis import from_algorithm
from rllib_agentmixer.errors import ConfigError

GAPS = {
    "joint_correlated_gap",
    "joint_coarse_gap",
    "individual_nash_gap",
    "joint_expected_payoff",
    "individual_expected_payoff",
}


@pytest.mark.parametrize(
    ("name", "settings"),
    [("agentmixer", {}), ("agentmixer", {"correlation": "autoregressive"}), ("mappo", {})],
)
def test_training_on_a_matrix_game_logs_the_gaps(name, settings):
    config = tiny(
        "climbing", config_class=algorithm_class(name).config_class, num_envs=16, **settings
    )
    algorithm = config.build_algo()
    stats = learner_stats(algorithm.train())
    found = from_algorithm(algorithm).metrics()
    algorithm.stop()
    assert {key: stats[key] for key in GAPS} == pytest.approx(found)


def _unexpected(_env):
    raise AssertionError("the table of a large game was built")


def test_analysis_refuses_what_it_cannot_enumerate(monkeypatch):
    algorithm = tiny("predator_prey", env_config={"max_steps": 4}).build_algo()
    with pytest.raises(ConfigError, match="predator_prey has no payoff table"):
        from_algorithm(algorithm)
    assert not GAPS & set(learner_stats(algorithm.train()))
    algorithm.stop()
    algorithm = tiny("permutation", env_config={"num_agents": 7}).build_algo()
    # Too much to build at every iteration, so nobody may even ask for the table.
    monkeypatch.setattr(type(algorithm.team_worker.vector_env), "payoffs", _unexpected)
    with pytest.raises(ConfigError, match=r"823,543 joint actions, at most 50,000"):
        from_algorithm(algorithm)
    assert not GAPS & set(learner_stats(algorithm.train()))
    algorithm.stop()
