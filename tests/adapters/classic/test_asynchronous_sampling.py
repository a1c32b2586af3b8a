"""Workers that sample while the driver learns: one update behind, nothing lost, nothing twice."""

import copy
import time
from pathlib import Path

import numpy as np
import pytest
from algorithms_test_helpers import (
    counter,
    differences,
    make_decisive,
    measured,
    tiny,
    training_state,
    weights_of,
)
from ray.rllib.policy.sample_batch import SampleBatch

from rllib_agentmixer import AgentMixerConfig
from rllib_agentmixer.adapters.classic.sampling import AsynchronousSampler
from rllib_agentmixer.commands.common import make_config
from rllib_agentmixer.errors import ConfigError, EnvContractError, user_error
from rllib_agentmixer.rollouts.saved_team import load_team

ITERATIONS = 4
LENGTH = 6
STEPS = 64
PATIENCE_S = 120.0


def asynchronous(env_config, workers=1, **settings):
    config = tiny(counter, env_config=env_config, **settings)
    return config.env_runners(num_env_runners=workers, sample_async=True)


def ask(algorithm, function):
    return algorithm.env_runner_group.foreach_env_runner(function, local_env_runner=False)


class Spy:
    """Records every batch that is learned from, with the weights just before."""

    def __init__(self, algorithm):
        self.policy = algorithm.team_policy
        self.group = algorithm.workers_group
        self.batches, self.weights, self.temperatures, self.under_way = [], [], [], []
        self.update = self.policy.update
        self.policy.update = self

    def __call__(self, batch):
        self.batches.append(batch.copy())
        self.weights.append(copy.deepcopy(self.policy.get_weights()))
        self.temperatures.append(self.policy.module.temperature)
        self.under_way.append(self.group.num_in_flight_async_reqs())
        return self.update(batch)

    def rewards(self):
        return np.concatenate([batch[SampleBatch.REWARDS] for batch in self.batches])


def rewards_of(num_envs, num_steps, length=LENGTH):
    """Counts of each reward: a sub-environment earns 1..length repeatedly."""
    return num_envs * np.bincount(np.arange(num_steps) % length + 1, minlength=length + 1)


@pytest.fixture(scope="module")
def trained(ray_cluster):
    """Two workers after a few iterations with all synchronised state, and the recorded batches."""
    config = asynchronous(
        {"length": LENGTH}, 2, temperature=[[0, 2.0], [400, 1.0]], lr=0.01, num_epochs=2
    )
    config.env_runners(observation_filter="MeanStdFilter")
    config.evaluation(evaluation_interval=ITERATIONS)
    algorithm = make_decisive(config.build_algo())
    algorithm.workers_group.sync_weights()
    spy = Spy(algorithm)
    results = [algorithm.train() for _ in range(ITERATIONS)]
    yield algorithm, spy, results
    algorithm.stop()


def test_the_next_batch_is_under_way_while_the_driver_learns(trained):
    _, spy, results = trained
    assert spy.under_way == [2] * ITERATIONS
    assert results[-1]["actor_manager_num_outstanding_async_reqs"] == 2


def test_batches_are_full_and_counted_when_they_are_learned_from(trained):
    algorithm, spy, results = trained
    assert [batch.count for batch in spy.batches] == [STEPS] * ITERATIONS
    steps = [STEPS * (k + 1) for k in range(ITERATIONS)]
    assert [result["num_env_steps_sampled_lifetime"] for result in results] == steps
    assert [result["num_env_steps_trained"] for result in results] == steps
    assert algorithm.num_env_steps == steps[-1]


def test_every_step_is_learned_from_once(trained):
    _, spy, _ = trained
    expected = rewards_of(8, 8 * ITERATIONS)
    assert np.bincount(spy.rewards().astype(int)).tolist() == expected.tolist()


def test_a_batch_was_sampled_with_the_policy_of_before_the_last_update(trained):
    _, spy, _ = trained
    now = copy.deepcopy(spy.policy.get_weights()), spy.policy.module.temperature

    def error(batch, index):
        """Largest difference of stored log-probabilities to those of one policy."""
        spy.policy.set_weights(spy.weights[index])
        spy.policy.module.temperature = spy.temperatures[index]
        found = spy.policy.compute_log_likelihoods(
            batch[SampleBatch.ACTIONS], batch[SampleBatch.OBS]
        )
        return np.abs(found.numpy() - batch[SampleBatch.ACTION_LOGP]).max()

    errors = [[error(batch, k) for k in range(ITERATIONS)] for batch in spy.batches]
    spy.policy.set_weights(now[0])
    spy.policy.module.temperature = now[1]
    for index, found in enumerate(errors):
        behind = max(0, index - 1)
        assert found[behind] < 1e-5
        assert all(x > 1e-3 for k, x in enumerate(found) if k != behind)


def test_episodes_are_reported_with_the_batch_that_they_are_part_of(trained):
    _, _, results = trained
    # After 8, 16, .. steps of each of 8 sub-environments.
    ended = [8 * (8 * (k + 1) // LENGTH - 8 * k // LENGTH) for k in range(ITERATIONS)]
    assert [result["env_runners"]["episodes_this_iter"] for result in results] == ended
    assert results[-1]["env_runners"]["episode_return_mean"] == sum(range(1, LENGTH + 1))


def test_evaluation_runs_beside_it(trained):
    _, _, results = trained
    found = results[-1]["evaluation"]["individual"]["episode_return_mean"]
    assert found == sum(range(1, LENGTH + 1))


def test_weights_schedules_and_filters_follow_the_driver(trained):
    algorithm, _, _ = trained
    steps = STEPS * ITERATIONS
    expected = weights_of(algorithm)
    for weights in ask(algorithm, lambda worker: worker.get_policy().get_weights()):
        assert differences(weights, expected) == []
    assert ask(algorithm, lambda worker: worker.global_vars["timestep"]) == [steps, steps]
    temperatures = ask(algorithm, lambda worker: worker.get_policy().module.temperature)
    assert temperatures == pytest.approx([2.0 - steps / 400] * 2)
    seen = np.tile(np.arange(8 * ITERATIONS) % LENGTH, 8)
    filters = ask(algorithm, lambda worker: worker.get_filters()["default_policy"])
    for found in (algorithm.env_runner.team_filter, *filters):
        assert (found.running_stats.count == len(seen)).all()
        assert found.running_stats.mean == pytest.approx(np.full(3, seen.mean()))
        assert found.running_stats.std == pytest.approx(np.full(3, seen.std(ddof=1)))


# Checkpoints.


def test_what_is_under_way_is_saved_and_a_resumed_run_is_bit_equal(build, keep, tmp_path):
    # Copies of this environment can be saved on workers, those of the one above cannot.
    config = tiny(
        env_config={"max_steps": 10}, use_gru=True, num_epochs=2, temperature=[[0, 2.0], [400, 1.0]]
    )
    config.env_runners(num_env_runners=1, sample_async=True, observation_filter="MeanStdFilter")

    def train(algorithm):
        found = [measured(algorithm.train()) for _ in range(2)]
        filters = vars(algorithm.env_runner.team_filter.running_stats)
        return copy.deepcopy((found, filters, training_state(algorithm)))

    never_saved = config.copy(copy_frozen=False).build_algo()
    train(never_saved)
    expected = train(never_saved)
    never_saved.stop()  # the tests' Ray has four CPUs
    saved = build(config)
    train(saved)
    path = saved.save(str(tmp_path / "checkpoint")).checkpoint.path
    assert differences(train(saved), expected) == []
    saved.restore(path)  # drops what this very run has under way
    assert differences(train(saved), expected) == []
    resumed = keep(type(saved).from_checkpoint(path))
    assert differences(train(resumed), expected) == []
    assert load_team(Path(path)).env_steps == 2 * STEPS


# How batches are cut.


def test_batches_of_whole_episodes_are_full(build):
    config = asynchronous({"length": LENGTH}).env_runners(batch_mode="complete_episodes")
    algorithm = build(config)
    spy = Spy(algorithm)
    for _ in range(3):
        algorithm.train()
    counts = [batch.count for batch in spy.batches]
    assert len(counts) == 3
    assert min(counts) >= STEPS
    found = np.bincount(spy.rewards().astype(int)).tolist()
    assert found == [0] + LENGTH * [sum(counts) // LENGTH]


@pytest.mark.parametrize(("fragment", "expected"), [("auto", 1), (8, 1), (4, 2), (2, 4), (3, 3)])
def test_one_request_is_for_a_whole_batch(fragment, expected):
    class Group:
        def foreach_env_runner_async(self, function, tag):
            self.asked = function.keywords

    config = asynchronous({}, 2).env_runners(rollout_fragment_length=fragment)
    group = Group()
    AsynchronousSampler(group, config)._request()
    assert group.asked == {"num_fragments": expected}


# Faults.


def test_training_goes_on_when_a_worker_dies_while_the_driver_learns(build, tmp_path):
    # In the third request of 16 steps: sampled while the driver learns from the second.
    env_config = {"length": 1000, "raise_at": 40, "flag": str(tmp_path / "flag")}
    config = asynchronous(env_config, 2, num_envs=2).fault_tolerance(
        restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0
    )
    algorithm = build(config)
    spy = Spy(algorithm)
    results = [algorithm.train() for _ in range(3)]
    assert (tmp_path / "flag").exists()
    deadline = time.monotonic() + PATIENCE_S
    while results[-1]["num_healthy_workers"] < 2 and time.monotonic() < deadline:
        results.append(algorithm.train())
    results += [algorithm.train(), algorithm.train()]
    assert results[-1]["num_healthy_workers"] == 2
    assert results[-1]["actor_manager_num_outstanding_async_reqs"] == 2
    assert {batch.count for batch in spy.batches} == {STEPS}
    weights = ask(algorithm, lambda worker: worker.get_policy().get_weights())
    assert differences(weights[0], weights[1]) == []


def test_without_restarts_a_run_can_be_saved_and_then_tells_the_cause(build, tmp_path):
    env_config = {"length": 1000, "raise_at": 40, "failures": ["the cause"]}
    config = asynchronous(env_config).fault_tolerance(restart_failed_env_runners=False)
    algorithm = build(config)
    algorithm.train()
    algorithm.train()
    algorithm.save(str(tmp_path / "checkpoint"))
    with pytest.raises(Exception, match="the cause") as raised:
        algorithm.train()
    error = user_error(raised.value)
    assert isinstance(error, EnvContractError)
    assert "step 40" in str(error)


def test_an_environment_that_hangs_delays_its_batch_but_no_stop(build, tmp_path):
    hang = tmp_path / "hang"
    config = asynchronous({"length": LENGTH, "hang": str(hang)})
    config.env_runners(sample_timeout_s=0.5, rollout_fragment_length=4)
    config.reporting(metrics_episode_collection_timeout_s=0.2)
    config.fault_tolerance(delay_between_env_runner_restarts_s=60)
    algorithm = build(config)
    spy = Spy(algorithm)

    def train_until(num_batches):
        deadline = time.monotonic() + PATIENCE_S
        while len(spy.batches) < num_batches and time.monotonic() < deadline:
            algorithm.train()

    train_until(1)
    hang.touch()
    train_until(2)  # asked for before
    result = algorithm.train()
    assert result["num_env_steps_sampled_lifetime"] == 2 * STEPS
    hang.unlink()
    train_until(3)
    found = np.bincount(spy.rewards().astype(int)).tolist()
    assert found == rewards_of(4, 48).tolist()
    hang.touch()
    train_until(4)
    algorithm.train()
    algorithm.patience._last_sample_at -= 1000.0
    with pytest.raises(EnvContractError, match="no rollout worker has sampled anything"):
        algorithm.training_step()
    started = time.monotonic()
    algorithm.stop()
    assert time.monotonic() - started < 10.0


# Settings.


def test_it_is_off_unless_asked_for():
    assert AgentMixerConfig().sample_async is False


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_env_runners": 0}, "num_env_runners=0"),
        ({"max_requests_in_flight_per_env_runner": 2}, "must be 1 with sample_async=True"),
        ({"learner": "a2c", "num_epochs": 1}, "learner='a2c' has no ratio"),
        ({"sample_async": "yes"}, "sample_async must be True or False, got 'yes'"),
    ],
)
def test_what_cannot_overlap_is_refused(settings, words):
    config = asynchronous({})
    for name, value in settings.items():
        setattr(config, name, value)
    with pytest.raises(ConfigError, match=words):
        config.validate()


def test_the_command_line_and_tune_reach_it():
    config = make_config("climbing", "mappo", 0, 1, ("sample_async=true",))
    assert config.sample_async is True
    config = AgentMixerConfig().environment("climbing").env_runners(num_env_runners=1)
    config.update_from_dict({"sample_async": True}).validate()
    assert config.sample_async is True
