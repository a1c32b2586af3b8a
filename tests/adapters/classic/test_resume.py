"""Seeded runs repeat bit for bit, and interrupted ones continue identically."""

import pytest
from algorithms_test_helpers import differences, measured, tiny, training_state, weights_of

from rllib_agentmixer import AgentMixerConfig

SCHEDULES = {
    "lr": [[0, 1e-3], [400, 1e-4]],
    "modifier_lr": [[0, 1e-3], [400, 0.0]],
    "entropy_coeff": [[0, 0.1], [400, 0.0]],
    "temperature": [[0, 2.0], [400, 1.0]],
}
SHORT_PREY = {"env": "predator_prey", "env_config": {"max_steps": 10}, "minibatch_size": 16}
CASES = {
    "schedules": {**SHORT_PREY, **SCHEDULES},
    "recurrent": {**SHORT_PREY, "use_gru": True},
    "filtered": {**SHORT_PREY, "filtered": True},
    "continuous": {"env": "continuous_game", "env_config": {"repeat": 3}, "minibatch_size": 16},
    "kl_penalty": {**SHORT_PREY, "use_kl_loss": True, "kl_target": 1e-6},
    "loop": {"env": "rllib_agentmixer.envs.games.predator_prey:PredatorPrey", "minibatch_size": 16},
}


def make_config(filtered=False, workers=0, seed=1, **settings):
    config = tiny(**{"num_epochs": 2, **settings})
    config.env_runners(
        num_env_runners=workers, observation_filter="MeanStdFilter" if filtered else "NoFilter"
    )
    config.debugging(seed=seed)
    return config


def assert_equal_runs(one, other):
    """Assert equal training and, by the next iteration, equal sampling."""
    assert differences(training_state(one), training_state(other)) == []
    filters = [dict(algorithm.env_runner.filters) for algorithm in (one, other)]
    for name, found in filters[0].items():
        if hasattr(found, "running_stats"):
            assert (
                differences(vars(found.running_stats), vars(filters[1][name].running_stats)) == []
            )
    assert differences(measured(one.train()), measured(other.train())) == []
    assert differences(training_state(one), training_state(other)) == []


def train(algorithm, iterations):
    for _ in range(iterations):
        algorithm.train()
    return algorithm


@pytest.mark.parametrize("case", CASES)
def test_two_runs_of_one_seed_are_bit_equal(build, case):
    runs = [train(build(make_config(**CASES[case])), 3) for _ in range(2)]
    assert_equal_runs(*runs)


def test_another_seed_gives_another_run(build):
    runs = [train(build(make_config(**SHORT_PREY, seed=seed)), 1) for seed in (1, 2)]
    changed = differences(*(weights_of(run) for run in runs))
    assert any("individual_policies.head" in line for line in changed)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", ["from_checkpoint", "restore"])
def test_a_resumed_run_equals_an_uninterrupted_one(build, keep, tmp_path, case, way):
    config = make_config(**CASES[case])
    uninterrupted = train(build(config.copy(copy_frozen=False)), 2)
    path = uninterrupted.save(str(tmp_path / "checkpoint")).checkpoint.path
    if way == "restore":
        resumed = build(config.copy(copy_frozen=False))
        resumed.restore(path)
    else:
        resumed = keep(AgentMixerConfig().algo_class.from_checkpoint(path))
    before = train(uninterrupted, 1)
    assert_equal_runs(before, train(resumed, 1))


def test_a_checkpoint_from_before_the_first_step_leads_back_to_the_start(build, tmp_path):
    algorithm = build(make_config(**CASES["recurrent"]))
    path = algorithm.save(str(tmp_path / "checkpoint")).checkpoint.path
    first = training_state(train(algorithm, 2))
    algorithm.restore(path)
    assert differences(training_state(train(algorithm, 2)), first) == []


def test_resumed_schedules_stand_where_they_were(build, keep, tmp_path):
    algorithm = train(build(make_config(**CASES["schedules"])), 2)
    path = algorithm.save(str(tmp_path / "checkpoint")).checkpoint.path
    resumed = keep(type(algorithm).from_checkpoint(path))
    share = 128 / 400
    expected = {
        "lr": 1e-3 + share * (1e-4 - 1e-3),
        "modifier_lr": 1e-3 * (1 - share),
        "entropy_coeff": 0.1 * (1 - share),
        "temperature": 2.0 - share,
    }
    assert resumed.team_policy.learner.current == pytest.approx(expected)
    assert resumed.team_policy.module.temperature == pytest.approx(expected["temperature"])
    rates = [group["lr"] for group in resumed.team_policy.learner.optimizer.param_groups]
    assert rates == pytest.approx([expected["lr"], expected["modifier_lr"]])


def test_the_mean_return_after_a_resume_still_counts_earlier_episodes(build, keep, tmp_path):
    # Fewer than the 100 episodes over which RLlib smooths have ended, so all of them count.
    algorithm = train(build(make_config(**SHORT_PREY)), 2)
    path = algorithm.save(str(tmp_path / "checkpoint")).checkpoint.path
    resumed = keep(type(algorithm).from_checkpoint(path))
    assert len(algorithm._episode_history) > 0
    expected = algorithm.train()["env_runners"]
    found = resumed.train()["env_runners"]
    assert found["hist_stats"]["episode_reward"] == expected["hist_stats"]["episode_reward"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_with_remote_workers_resumes_bit_for_bit(build, keep, tmp_path, workers):
    config = make_config(**CASES["recurrent"], filtered=True, workers=workers)
    uninterrupted = train(build(config), 1)
    path = uninterrupted.save(str(tmp_path / "checkpoint")).checkpoint.path
    resumed = keep(type(uninterrupted).from_checkpoint(path))
    assert_equal_runs(uninterrupted, resumed)


def test_with_another_number_of_workers_training_goes_on_in_fresh_episodes(build, keep, tmp_path):
    algorithm = train(build(make_config(**SHORT_PREY)), 1)
    path = algorithm.save(str(tmp_path / "checkpoint")).checkpoint.path
    resumed = build(make_config(**SHORT_PREY, workers=1))
    resumed.restore(path)
    old, new = (weights_of(a) for a in (algorithm, resumed))
    assert differences(old, new) == []
    assert resumed.train()["num_env_steps_sampled_lifetime"] == 128
