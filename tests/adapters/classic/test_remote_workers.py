"""Remote workers: they sample apart, act with the driver's weights, and fail without damage."""

import time

import numpy as np
import pytest
from algorithms_test_helpers import counter, differences, tiny, weights_of
from ray.rllib.policy.sample_batch import SampleBatch

from rllib_agentmixer.errors import EnvContractError, user_error

PATIENCE_S = 120.0

ITERATIONS = 3
TEMPERATURE = [[0, 2.0], [400, 1.0]]


@pytest.fixture(scope="module")
def trained(ray_cluster):
    """Two remote workers after a few iterations, whose observations are known beforehand."""
    config = tiny(counter, env_config={"length": 3}, temperature=TEMPERATURE)
    config.env_runners(num_env_runners=2, observation_filter="MeanStdFilter")
    algorithm = config.build_algo()
    for _ in range(ITERATIONS):
        algorithm.train()
    yield algorithm
    algorithm.stop()


def ask(algorithm, function):
    return algorithm.env_runner_group.foreach_env_runner(function, local_env_runner=False)


def test_every_worker_has_the_weights_of_the_driver(trained):
    expected = weights_of(trained)
    found = ask(trained, lambda worker: worker.get_policy().get_weights())
    assert len(found) == 2
    for weights in found:
        assert differences(weights, expected) == []


def test_schedules_reach_every_worker(trained):
    steps = 64 * ITERATIONS
    expected = 2.0 - steps / 400
    found = ask(trained, lambda worker: worker.get_policy().module.temperature)
    assert found == pytest.approx([expected, expected])
    assert ask(trained, lambda worker: worker.global_vars["timestep"]) == [steps, steps]


def test_filters_of_all_workers_hold_all_rows_once(trained):
    seen = np.tile(np.arange(8 * ITERATIONS) % 3, 8)
    filters = ask(trained, lambda worker: worker.get_filters()["default_policy"])
    for found in (trained.env_runner.team_filter, *filters):
        assert (found.running_stats.count == len(seen)).all()
        assert found.running_stats.mean == pytest.approx(np.full(3, seen.mean()))
        assert found.running_stats.std == pytest.approx(np.full(3, seen.std(ddof=1)))


def test_workers_draw_different_actions(trained):
    first, second = ask(trained, lambda worker: worker.sample()[SampleBatch.ACTIONS])
    assert first.shape == second.shape == (32, 2)
    assert (first != second).any()


def test_the_driver_of_remote_workers_steps_a_single_copy(trained):
    assert trained.env_runner.vector_env.num_envs == 1
    assert ask(trained, lambda worker: worker.vector_env.num_envs) == [4, 4]


# Faults.


def test_training_goes_on_when_the_environment_of_one_worker_raises(build, tmp_path):
    env_config = {"raise_at": 2, "flag": str(tmp_path / "flag")}
    config = tiny(counter, env_config=env_config, num_envs=2)
    config.env_runners(num_env_runners=2).fault_tolerance(
        restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0
    )
    algorithm = build(config)
    results = [algorithm.train()]
    assert (tmp_path / "flag").exists()
    # A worker is a process: on a busy machine its restart outlasts many iterations.
    deadline = time.monotonic() + PATIENCE_S
    while results[-1]["num_healthy_workers"] < 2 and time.monotonic() < deadline:
        results.append(algorithm.train())
    assert results[-1]["num_healthy_workers"] == 2
    assert sum(result["num_remote_worker_restarts"] for result in results) >= 1
    steps = results[-1]["num_env_steps_sampled_lifetime"]
    assert algorithm.train()["num_env_steps_sampled_lifetime"] >= steps + 64
    weights = ask(algorithm, lambda worker: worker.get_policy().get_weights())
    assert differences(weights[0], weights[1]) == []


def test_without_restarts_the_cause_of_a_dead_worker_is_told(build):
    env_config = {"raise_at": 2, "failures": ["the cause"] * 100}
    config = tiny(counter, env_config=env_config, num_envs=2).env_runners(num_env_runners=1)
    config.fault_tolerance(restart_failed_env_runners=False)
    algorithm = build(config)
    with pytest.raises(Exception, match="the cause") as raised:
        algorithm.train()
    error = user_error(raised.value)
    assert isinstance(error, EnvContractError)
    assert "step 2" in str(error)


def test_a_copy_that_raises_is_replaced_and_its_episode_not_counted(build):
    env_config = {"raise_at": 2, "failures": ["first", "second"]}
    config = tiny(counter, env_config=env_config)
    config.fault_tolerance(restart_failed_sub_environments=True)
    algorithm = build(config)
    result = algorithm.train()
    assert result["env_runners"]["num_faulty_episodes"] == 2
    assert result["env_runners"]["episode_return_mean"] == 1 + 2 + 3
    assert result["num_env_steps_sampled_lifetime"] == 64
    assert algorithm.train()["env_runners"]["episode_return_mean"] == 1 + 2 + 3


def test_an_environment_that_raises_on_the_driver_names_copy_step_and_cause(build):
    env_config = {"raise_at": 2, "failures": ["the cause"]}
    algorithm = build(env=counter, env_config=env_config)
    with pytest.raises(Exception, match="the cause") as raised:
        algorithm.train()
    error = user_error(raised.value)
    assert isinstance(error, EnvContractError)
    assert "sub-environment 0 of counter, step 2" in str(error)
    assert isinstance(error.__cause__, RuntimeError)


def test_training_gives_up_once_no_worker_has_sampled_for_long(build, monkeypatch):
    algorithm = build(env="climbing")
    module = "rllib_agentmixer.adapters.classic.sampling"
    monkeypatch.setattr(f"{module}.synchronous_parallel_sample", lambda **_: None)
    assert algorithm.training_step() == {}
    patience = 60 + 3 * algorithm.config.delay_between_env_runner_restarts_s
    algorithm.patience._last_sample_at -= patience
    with pytest.raises(EnvContractError, match="num_env_runners=0"):
        algorithm.training_step()
