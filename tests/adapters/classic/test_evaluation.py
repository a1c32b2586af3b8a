"""Joint and individual policies play side by side, repeatably, and training does not notice."""

import numpy as np
import pytest
from algorithms_test_helpers import (
    Counter,
    counter,
    differences,
    make_decisive,
    tiny,
    training_state,
    weights_of,
)

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.rollouts.episodes import EpisodeRecord
from rllib_agentmixer.rollouts.evaluation import POLICY_VARIANTS, share, summarize
from rllib_agentmixer.rollouts.saved_team import load_team
from rllib_agentmixer.tracking import metrics_of

KINDS = ("individual", "joint", "individual_sampled", "joint_sampled")
SHORT = {"max_steps": 12}


def returns(results):
    return {kind: results[kind] for kind in KINDS}


@pytest.mark.parametrize("duration", [1, 5, 9])
def test_exactly_as_many_episodes_are_played_as_asked(build, duration):
    config = tiny(env_config=SHORT).evaluation(evaluation_duration=duration)
    results = build(config).evaluate()
    assert [results[kind]["num_episodes"] for kind in KINDS] == [duration] * 4
    assert results["env_runners"]["num_episodes"] == duration


@pytest.mark.parametrize("interval", [None, 2])
def test_evaluating_twice_gives_equal_results(build, interval):
    config = tiny(env_config=SHORT).evaluation(evaluation_interval=interval)
    algorithm = build(config)
    algorithm.train()
    assert differences(*(returns(algorithm.evaluate()) for _ in range(2))) == []


def test_without_a_seed_every_evaluation_draws_fresh_episodes(build):
    config = tiny(env_config=SHORT).evaluation(evaluation_seed=None, evaluation_duration=16)
    algorithm = build(config)
    assert differences(*(returns(algorithm.evaluate()) for _ in range(2))) != []


def test_another_seed_plays_other_episodes(build):
    found = []
    for seed in (0, 1):
        config = tiny(env_config=SHORT).evaluation(evaluation_seed=seed, evaluation_duration=16)
        found.append(returns(build(config).evaluate()))
    assert differences(*found) != []


@pytest.mark.parametrize("interval", [None, 1])
def test_evaluation_leaves_training_bit_equal(build, interval):
    plain, watched = (build(env_config=SHORT, use_gru=True) for _ in range(2))
    if interval:
        watched = build(tiny(env_config=SHORT, use_gru=True).evaluation(evaluation_interval=1))
    for _ in range(2):
        plain.train()
        watched.train()
        watched.evaluate()
    states = [training_state(algorithm) for algorithm in (plain, watched)]
    for state in states:
        del state["counters"]  # these count evaluation steps
    assert differences(*states) == []
    assert plain.num_env_steps == watched.num_env_steps


def test_results_appear_in_the_training_result_at_the_interval(build):
    config = tiny(env_config=SHORT).evaluation(evaluation_interval=2)
    algorithm = build(config)
    results = [algorithm.train() for _ in range(4)]
    assert ["central_gap" in result.get("evaluation", {}) for result in results][1] is True
    assert results[0].get("evaluation", {}).get("central_gap") is None
    assert "central_gap" in results[3]["evaluation"]


@pytest.mark.parametrize("env", ["predator_prey", "continuous_game"])
def test_with_strict_consistency_decentralising_costs_nothing(build, env):
    env_config = SHORT if env == "predator_prey" else {"repeat": 3}
    results = make_decisive(build(env=env, env_config=env_config)).evaluate()
    assert results["central_gap"] == 0.0
    assert differences(results["joint"], results["individual"]) == []


def test_without_consistency_joint_and_individual_modes_may_differ(build):
    config = tiny(env_config=SHORT, igc="none").evaluation(evaluation_duration=16)
    results = make_decisive(build(config)).evaluate()
    assert differences(results["joint"], results["individual"]) != []
    gap = results["joint"]["episode_return_mean"] - results["individual"]["episode_return_mean"]
    assert results["central_gap"] == gap


def test_schedules_of_training_hold_in_evaluation(build):
    config = tiny(env_config=SHORT, temperature=[[0, 2.0], [100, 1.0]])
    algorithm = build(config.evaluation(evaluation_interval=1))
    algorithm.train()
    algorithm.evaluate()
    expected = 2.0 - 64 / 100
    assert algorithm.eval_env_runner.get_policy().module.temperature == pytest.approx(expected)


def test_evaluation_steps_are_counted_apart_from_training(build):
    algorithm = build(env=counter, env_config={"length": 3})
    results = algorithm.evaluate()
    assert results["num_env_steps_sampled_this_iter"] == 4 * 4 * 3
    assert algorithm.num_env_steps == 0


def test_other_units_than_episodes_are_refused(build):
    config = tiny(counter).evaluation(evaluation_duration_unit="timesteps")
    with pytest.raises(ConfigError, match=r"evaluation_duration_unit=.* has no effect here"):
        build(config)


def test_a_summary_holds_the_statistics_of_its_episodes():
    records = [
        EpisodeRecord(1.0, 2, np.array([1.0, 3.0]), diagnostics={"won": 1.0}),
        EpisodeRecord(4.0, 6, np.array([3.0, 9.0]), diagnostics={"won": 0.0}, is_cut=True),
    ]
    assert summarize(records, ("a", "b")) == {
        "episode_return_mean": 2.5,
        "episode_return_std": 1.5,
        "episode_return_min": 1.0,
        "episode_return_max": 4.0,
        "episode_len_mean": 4.0,
        "num_episodes": 2,
        "num_episodes_cut": 1,
        "agent_return_mean": {"a": 2.0, "b": 6.0},
        "diagnostics": {"won_mean": 0.5},
    }
    empty = summarize([], ("a", "b"))
    assert empty["num_episodes"] == 0
    assert np.isnan(empty["episode_return_mean"])


def test_an_environments_number_replaces_no_measured_one():
    own = {"episode_return": 500.0, "episode_len": 20.0, "num_episodes": 7.0}
    summary = summarize([EpisodeRecord(5.0, 3, np.array([5.0]), diagnostics=own)], ("a",))
    assert summary["episode_return_mean"] == 5.0
    assert summary["episode_len_mean"] == 3.0
    assert summary["num_episodes"] == 1
    assert summary["diagnostics"] == {f"{name}_mean": value for name, value in own.items()}


def test_episodes_are_shared_out_evenly():
    assert share(7, [1, 3, 4]) == {1: 3, 3: 2, 4: 2}
    assert share(1, [2, 5]) == {2: 1, 5: 0}


def test_contestants_are_named_after_policy_and_exploration():
    assert tuple(variant.key for variant in POLICY_VARIANTS) == KINDS


class Noticed(Counter):
    """Environment whose first agent's first action is the episode's length."""

    def step(self, actions):
        if self.count == 0:
            self.length = 1 + int(actions["a"])
        return super().step(actions)


def test_long_episodes_are_not_dropped_in_favour_of_short_ones(build):
    # Episodes of 1 and of 2 steps are equally likely; playing until enough have ended would
    # see more short ones.
    config = tiny(lambda _: Noticed(), env_config={"x": 0}, num_envs=64)
    config.training(train_batch_size=128).evaluation(evaluation_duration=640)
    length = build(config).evaluate()["joint_sampled"]["episode_len_mean"]
    assert length == pytest.approx(1.5, abs=0.08)


# Remote evaluation workers.


@pytest.fixture(scope="module")
def remotely_evaluated(ray_cluster):
    config = tiny(counter, env_config={"length": 3}, temperature=[[0, 2.0], [400, 1.0]])
    config.env_runners(observation_filter="MeanStdFilter")
    config.evaluation(evaluation_interval=1, evaluation_num_env_runners=1, evaluation_duration=6)
    algorithm = config.build_algo()
    results = [algorithm.train() for _ in range(3)]
    yield algorithm, results
    algorithm.stop()


def test_a_remote_worker_plays_exactly_the_episodes_asked_for(remotely_evaluated):
    _, results = remotely_evaluated
    for result in results:
        assert [result["evaluation"][kind]["num_episodes"] for kind in KINDS] == [6] * 4
        assert result["evaluation"]["joint"]["episode_return_mean"] == 6
        assert result["evaluation"]["num_healthy_workers"] == 1


def test_a_remote_evaluation_worker_acts_as_training_would(remotely_evaluated):
    algorithm, _ = remotely_evaluated
    algorithm.evaluate()
    ask = algorithm.eval_env_runner_group.foreach_env_runner
    (weights,) = ask(lambda worker: worker.get_policy().get_weights(), local_env_runner=False)
    assert differences(weights, weights_of(algorithm)) == []
    (temperature,) = ask(
        lambda worker: worker.get_policy().module.temperature, local_env_runner=False
    )
    assert temperature == pytest.approx(2.0 - 192 / 400)


def test_statistics_of_filters_are_not_counted_again_by_evaluation(remotely_evaluated):
    algorithm, _ = remotely_evaluated
    algorithm.evaluate()
    seen = np.tile(np.arange(48) % 3, 4)
    (remote,) = algorithm.eval_env_runner_group.foreach_env_runner(
        lambda worker: worker.get_filters()["default_policy"], local_env_runner=False
    )
    for found in (algorithm.env_runner.team_filter, remote):
        assert (found.running_stats.count == len(seen)).all()
        assert found.running_stats.mean == pytest.approx(np.full(3, seen.mean()))


def test_evaluation_runs_beside_training_for_as_long_as_it_lasts(build):
    config = tiny(counter, env_config={"length": 3})
    config.evaluation(
        evaluation_interval=1,
        evaluation_num_env_runners=1,
        evaluation_parallel_to_training=True,
        evaluation_duration="auto",
    )
    algorithm = build(config)
    result = algorithm.train()
    played = [result["evaluation"][kind]["num_episodes"] for kind in KINDS]
    assert played[0] >= 4
    assert len(set(played)) == 1
    assert played[0] % 4 == 0
    assert result["num_env_steps_sampled_lifetime"] == 64


def test_the_environments_own_numbers_become_metrics(build):
    config = tiny("skirmish_3v3", env_config={"max_steps": 8}, num_envs=4)
    config.evaluation(evaluation_interval=1)
    result = build(config).train()
    shares = [
        result["evaluation"][kind]["diagnostics"]["won_mean"] for kind in ("individual", "joint")
    ]
    shares.append(result["env_runners"]["custom_metrics"]["diagnostics/won_mean"])
    assert all(0 <= share <= 1 for share in shares)
    assert "env_runners/custom_metrics/diagnostics/won_mean" in metrics_of(result)
    assert result["environment"] == {
        "name": "skirmish_3v3",
        "version": "1",
        "config": {"max_steps": 8},
        "team_reward": "shared",
    }


@pytest.mark.parametrize("sample_async", [False, True])
def test_what_is_evaluated_is_what_is_saved_with_remote_workers_and_a_filter(
    build, tmp_path, sample_async
):
    config = tiny("simple_spread", env_config={"max_cycles": 8}, num_envs=2, lr=0.02)
    config.env_runners(
        num_env_runners=2, observation_filter="MeanStdFilter", sample_async=sample_async
    ).evaluation(evaluation_interval=1, evaluation_duration=2)
    algorithm = build(config)
    for _ in range(2):
        result = algorithm.train()["evaluation"]["individual"]
        algorithm.save(str(tmp_path / "c"))
        team = load_team(tmp_path / "c")
        records = team.play(2, policy="individual", explore=False, seed=0, num_envs=2)
        replayed = [record.episode_return for record in records]
        assert result["episode_return_mean"] == pytest.approx(np.mean(replayed), rel=1e-6)
