"""RLlib's callbacks over sub-environments, after RLlib's own test_callbacks_old_api_stack."""

import numpy as np
import pytest
from algorithms_test_helpers import Counter, differences, learner_stats, tiny
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.policy.sample_batch import SampleBatch

from rllib_agentmixer.adapters.classic.callbacks import overrides

SEEN: list = []


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()


class Lesson(Counter):
    """Rewards are the level that a curriculum sets; infos hold each agent's fuel."""

    level = 1.0

    def set_task(self, level):
        self.level = level

    def reset(self, seed=None, options=None):
        obs, _ = super().reset(seed, options)
        return obs, {name: {"fuel": 10.0} for name in self.possible_agents}

    def step(self, actions):
        obs, rewards, terminated, truncated, _ = super().step(actions)
        infos = {"a": {"fuel": 10.0 - self.count}, "b": {"fuel": 20.0}}
        return obs, dict.fromkeys(rewards, self.level), terminated, truncated, infos


def lesson(config):
    return Lesson(**config)


class Ends(RLlibCallback):
    def on_episode_end(self, *, episode, **kwargs):
        SEEN.append("end")
        episode.custom_metrics["from_list"] = 1.0


class Batches(RLlibCallback):
    def on_sample_end(self, *, samples, **kwargs):
        SEEN.append("sample")

    def on_train_result(self, *, result, **kwargs):
        SEEN.append("result")


def test_each_of_several_callbacks_is_called(build):
    result = build(tiny("climbing").callbacks(callbacks_class=[Ends, Batches])).train()
    assert {"end", "sample", "result"} <= set(SEEN)
    assert result["env_runners"]["custom_metrics"]["from_list_mean"] == 1.0


def test_hooks_count_as_overridden_also_in_one_of_several():
    config = tiny("climbing").callbacks(callbacks_class=[Ends, Batches])
    config.validate()
    combined = config.callbacks_class()
    assert overrides(combined, "on_episode_end")
    assert overrides(combined, "on_sample_end")
    assert not overrides(combined, "on_postprocess_trajectory")
    assert not overrides(RLlibCallback(), "on_episode_end")


class Watcher(RLlibCallback):
    """Notes what RLlib's examples read from episodes."""

    def on_episode_start(self, *, episode, **kwargs):
        SEEN.append(("start", episode.last_info_for("b")["fuel"], episode.last_observation_for()))

    def on_episode_step(self, *, worker, base_env, episode, env_index, **kwargs):
        env = base_env.get_sub_environments()[env_index]
        assert episode.worker is worker
        assert episode.policy_for("a") in episode.policy_map
        assert episode.get_agents() == ["a", "b"]
        # One that ended has been reset already; its episode still shows the end.
        assert episode.length in (env.count, env.length)
        assert episode.last_info_for("a") == {"fuel": 10.0 - episode.length}
        assert episode.last_info_for() == episode.last_info_for("a")
        assert episode.last_info_for("nobody") is None
        assert episode.last_observation_for("b").tolist() == [episode.length]
        SEEN.append(("step", env_index))

    def on_episode_end(self, *, episode, **kwargs):
        SEEN.append(("end", episode.last_info_for("a")["fuel"], episode.last_observation_for("a")))
        with pytest.raises(KeyError, match="no agent 'nobody'"):
            episode.last_observation_for("nobody")


@pytest.mark.parametrize("batch_mode", ["truncate_episodes", "complete_episodes"])
def test_episodes_hold_the_newest_infos_and_observations(build, batch_mode):
    config = tiny(lesson, num_envs=3, train_batch_size=24).callbacks(Watcher)
    build(config.env_runners(batch_mode=batch_mode)).train()
    starts = [entry for entry in SEEN if entry[0] == "start"]
    ends = [entry for entry in SEEN if entry[0] == "end"]
    assert {entry[1] for entry in SEEN if entry[0] == "step"} == {0, 1, 2}
    assert {(fuel, *obs) for _, fuel, obs in starts} == {(10.0, 0.0)}
    assert {(fuel, *obs) for _, fuel, obs in ends} == {(7.0, 3.0)}


class Fuel(RLlibCallback):
    def on_episode_end(self, *, episode, **kwargs):
        SEEN.append(episode.last_info_for(episode.get_agents()[0]))


def test_batched_environments_show_their_diagnostics_as_infos(build):
    build(tiny("memory_game", num_envs=2, train_batch_size=32).callbacks(Fuel)).train()
    assert SEEN
    assert all(np.isfinite(list(info.values())).all() for info in SEEN)


def test_a_curriculum_reaches_every_sub_environment(build):
    algorithm = build(tiny(lesson, num_envs=4))
    assert algorithm.train()["env_runners"]["episode_return_mean"] == 3.0
    found = algorithm.env_runner_group.foreach_env(lambda env: env.set_task(5.0))
    assert [len(envs) for envs in found] == [4]
    algorithm.train()
    returns = algorithm.train()["env_runners"]["hist_stats"]["episode_reward"]
    assert returns[-10:] == [15.0] * 10


class HarderEvaluation(RLlibCallback):
    def on_evaluate_start(self, *, algorithm, **kwargs):
        algorithm.eval_env_runner_group.foreach_env(lambda env: env.set_task(7.0))


def test_a_task_set_when_evaluation_starts_is_what_is_evaluated(build):
    config = tiny(lesson, num_envs=8).callbacks(HarderEvaluation)
    result = build(config.evaluation(evaluation_interval=1)).train()
    assert result["evaluation"]["individual"]["episode_return_mean"] == 21.0
    assert result["env_runners"]["episode_return_mean"] == 3.0


class Created(RLlibCallback):
    def on_sub_environment_created(self, *, sub_environment, env_context, env_index, **kwargs):
        SEEN.append((sub_environment, env_context.vector_index, env_index))


def test_every_sub_environment_is_reported_once(build):
    algorithm = build(tiny(lesson, num_envs=3).callbacks(Created))
    envs = algorithm.team_worker.vector_env.sub_environments()
    assert [(entry[1], entry[2]) for entry in SEEN] == [(0, 0), (1, 1), (2, 2)]
    assert [entry[0] for entry in SEEN] == envs
    assert all(isinstance(env, Lesson) for env in envs)


def test_the_replacement_of_a_failed_sub_environment_is_reported(build):
    env_config = {"raise_at": 2, "failures": ["once"]}
    config = tiny(lesson, num_envs=2, env_config=env_config).callbacks(Created)
    config.fault_tolerance(restart_failed_sub_environments=True)
    algorithm = build(config)
    SEEN.clear()
    algorithm.train()
    ((replaced, _, index),) = SEEN
    assert algorithm.team_worker.vector_env.sub_environments()[index] is replaced


class Pieces(RLlibCallback):
    def on_postprocess_trajectory(
        self, *, episode, agent_id, policies, postprocessed_batch, original_batches, **kwargs
    ):
        assert len(set(postprocessed_batch[SampleBatch.EPS_ID])) == 1
        policy, original = original_batches[agent_id]
        assert policy is policies["default_policy"]
        assert original.count == postprocessed_batch.count
        ended = postprocessed_batch[SampleBatch.TERMINATEDS][-1]
        SEEN.append((episode.env_id, episode.length, postprocessed_batch.count, bool(ended)))


@pytest.mark.parametrize("use_gru", [False, True])
@pytest.mark.parametrize("batch_mode", ["truncate_episodes", "complete_episodes"])
def test_each_episode_is_postprocessed_apart_and_training_stays_the_same(
    build, use_gru, batch_mode
):
    results = []
    for callbacks in (RLlibCallback, Pieces):
        config = tiny(lesson, num_envs=3, train_batch_size=24, use_gru=use_gru)
        config.env_runners(batch_mode=batch_mode).callbacks(callbacks)
        results.append(build(config).train())
    assert sum(entry[2] for entry in SEEN) == results[0]["num_env_steps_sampled_lifetime"]
    assert {entry[0] for entry in SEEN} == {0, 1, 2}
    assert all(length == 3 for _, length, _, ended in SEEN if ended)
    assert differences(*map(learner_stats, results)) == []


class NothingToLearn(RLlibCallback):
    def on_postprocess_trajectory(self, *, postprocessed_batch, **kwargs):
        postprocessed_batch["advantages"][:] = 0.0


def test_what_the_callback_changes_is_what_is_learned_from(build):
    config = tiny(lesson).callbacks(NothingToLearn)
    algorithm = build(config)
    assert not algorithm.team_worker.sample()["advantages"].any()


def test_off_policy_learning_refuses_the_callback_that_it_does_not_call():
    from rllib_agentmixer import VDNConfig
    from rllib_agentmixer.errors import ConfigError

    config = tiny(lesson, config_class=VDNConfig).callbacks(Pieces)
    with pytest.raises(ConfigError, match="on_postprocess_trajectory is not called"):
        config.validate()
