"""The vectorised worker: what it samples, counts, filters, writes, and reports to callbacks."""

import numpy as np
import pytest
import torch
from algorithms_test_helpers import Counter, counter, learner_stats, make_decisive, outputs_of, tiny
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.policy.sample_batch import SampleBatch

from rllib_agentmixer.core.data.batch import map_tensors
from rllib_agentmixer.errors import ConfigError

# Batches.


def recomputed_log_prob(algorithm, batch):
    with torch.no_grad():
        output = algorithm.team_policy.module(batch.inputs, batch.hidden)
    return output.joint.log_prob(batch.actions)[batch.valid].numpy()


def sampled(algorithm):
    rows = algorithm.env_runner.sample()
    return rows, algorithm.team_policy.experience(rows)


@pytest.mark.parametrize("env", ["predator_prey", "continuous_game"])
@pytest.mark.parametrize("use_gru", [False, True])
def test_with_unchanged_weights_the_ratio_is_one_on_every_row(build, env, use_gru):
    env_config = {"max_steps": 7} if env == "predator_prey" else {"repeat": 7}
    algorithm = make_decisive(build(env=env, env_config=env_config, use_gru=use_gru))
    for _ in range(2):  # the second fragment begins in the middle of episodes
        rows, batch = sampled(algorithm)
        assert batch.valid.sum() == rows.count == 64
        expected = batch.targets.log_prob[batch.valid].numpy()
        assert recomputed_log_prob(algorithm, batch) == pytest.approx(expected, abs=1e-5)


def test_recurrent_sequences_depend_on_the_state_they_start_with(build):
    algorithm = make_decisive(build(env_config={"max_steps": 20}, use_gru=True))
    _, batch = sampled(algorithm)
    forgetful = map_tensors(batch.hidden, torch.zeros_like)
    without = recomputed_log_prob(algorithm, type(batch)(**{**vars(batch), "hidden": forgetful}))
    assert np.abs(without - batch.targets.log_prob[batch.valid].numpy()).max() > 0.05


def test_sequences_are_cut_at_episode_ends_and_evenly_where_longer_than_allowed(build):
    algorithm = build(env=counter, env_config={"length": 7}, use_gru=True)
    rows, _ = sampled(algorithm)
    lengths = rows[SampleBatch.SEQ_LENS].tolist()
    # Each of 4 sub-environments: episodes of 7 as 4 + 3 (at most 5), and the first 2 steps of a
    # third one.
    assert lengths == [4, 3, 4, 3, 2] * 4
    starts = np.cumsum([0, *lengths[:-1]])
    at_episode_start = rows[SampleBatch.OBS][starts, -1] == 0
    assert at_episode_start.tolist() == [True, False, True, False, True] * 4
    for state in (rows["state_in_0"], rows["state_in_1"]):
        used = np.abs(state).reshape(len(state), -1).max(1) > 0
        assert used.tolist() == (~at_episode_start).tolist()


def test_a_batch_holds_the_columns_of_rllib_copy_by_copy(build):
    algorithm = build(env=counter, env_config={"length": 3})
    rows, _ = sampled(algorithm)
    assert rows.count == 64
    assert rows[SampleBatch.OBS][:, -1].tolist() == (np.tile(np.arange(16) % 3, 4)).tolist()
    assert rows[SampleBatch.REWARDS].tolist() == (np.tile(np.arange(16) % 3, 4) + 1).tolist()
    ends = np.tile(np.arange(16) % 3 == 2, 4)
    assert rows[SampleBatch.TERMINATEDS].tolist() == ends.tolist()
    assert not rows[SampleBatch.TRUNCATEDS].any()
    episodes = rows[SampleBatch.EPS_ID]
    assert len(set(episodes)) == 4 * 6
    assert (episodes[1:] != episodes[:-1]).tolist() == [
        bool(end) or (row + 1) % 16 == 0 for row, end in enumerate(ends[:-1])
    ]


def various_lengths(config):
    """Sub-environments with a length of their own each, taken in turn."""
    lengths = config["lengths"]
    return Counter(length=lengths[config.vector_index % len(lengths)])


def test_complete_episodes_mode_gives_whole_episodes_only(build):
    env_config = {"lengths": [2, 5, 3, 7]}
    config = tiny(various_lengths, env_config=env_config, train_batch_size=40)
    config.env_runners(batch_mode="complete_episodes")
    algorithm = build(config)
    for _ in range(2):
        rows = algorithm.env_runner.sample()
        assert rows.count >= 40
        for episode in rows.split_by_episode():
            assert episode[SampleBatch.OBS][:, -1].tolist() == list(range(episode.count))
            assert episode[SampleBatch.TERMINATEDS].tolist()[-1]


def test_complete_episodes_mode_trains_recurrent_teams(build):
    config = tiny(various_lengths, env_config={"lengths": [2, 5, 3]}, use_gru=True)
    config.env_runners(batch_mode="complete_episodes")
    result = build(config).train()
    assert np.isfinite(learner_stats(result)["total_loss"])


def test_without_exploration_the_team_takes_its_modes(build):
    config = tiny(env_config={"max_steps": 7})
    config.env_runners(explore=False)
    algorithm = make_decisive(build(config))
    rows = algorithm.env_runner.sample()
    logits = rows[SampleBatch.ACTION_DIST_INPUTS].reshape(-1, 2, 5)
    assert (rows[SampleBatch.ACTIONS] == logits.argmax(-1)).all()


# Actions.


def played(build, normalize_actions, low, high):
    """(stored actions, actions that reached the environment), [T, N]."""
    log = []
    env_config = {"continuous": True, "low": low, "high": high}
    config = tiny(lambda config: Counter(**config, log=log), env_config=env_config, num_envs=1)
    config.environment(normalize_actions=normalize_actions, clip_actions=not normalize_actions)
    stored = build(config).env_runner.sample()[SampleBatch.ACTIONS]
    return stored, np.array([[actions["a"][0], actions["b"][0]] for actions in log])


def test_normalized_actions_span_the_bounds_and_are_stored_in_policy_units(build):
    stored, received = played(build, normalize_actions=True, low=-3.0, high=5.0)
    assert (np.abs(stored) > 1).any()
    assert received == pytest.approx(np.clip(stored, -1, 1) * 4 + 1, abs=1e-5)


def test_clipped_actions_are_cut_at_the_bounds_and_stored_as_sampled(build):
    stored, received = played(build, normalize_actions=False, low=-0.25, high=0.5)
    assert (stored > 0.5).any()
    assert (stored < -0.25).any()
    assert received == pytest.approx(np.clip(stored, -0.25, 0.5), abs=1e-6)


# Metrics and callbacks.


def test_returns_are_team_returns_and_agents_have_their_own(build):
    result = build(env=counter, env_config={"length": 3}).train()["env_runners"]
    assert result["episode_return_mean"] == 1 + 2 + 3
    assert result["episode_len_mean"] == 3
    assert result["policy_reward_mean"] == {"a": 6.0, "b": 6.0}
    assert result["num_episodes"] == 4 * 5


class Recorder(RLlibCallback):
    """Counts its calls and reports values of its own."""

    calls: list = []  # noqa: RUF012

    def on_sub_environment_created(self, *, sub_environment, env_context, **kwargs):
        self.calls.append("environment")

    def on_episode_start(self, *, episode, **kwargs):
        episode.user_data["rewards"] = 0.0

    def on_episode_step(self, *, episode, **kwargs):
        episode.user_data["rewards"] = episode.total_reward

    def on_episode_end(self, *, episode, worker, policies, env_index, **kwargs):
        assert "default_policy" in policies
        assert env_index == episode.env_id < worker.vector_env.num_envs
        episode.custom_metrics["followed"] = episode.user_data["rewards"]
        episode.custom_metrics["length"] = episode.length
        episode.custom_metrics["agent_a"] = episode.agent_rewards["a"]
        episode.hist_data["lengths"] = [episode.length]

    def on_sample_end(self, *, samples, **kwargs):
        self.calls.append("sample")
        samples["marked"] = np.ones(samples.count)

    def on_learn_on_batch(self, *, train_batch, result, **kwargs):
        result["marked"] = float(train_batch["marked"].sum())

    def on_evaluate_start(self, **kwargs):
        self.calls.append("evaluation starts")

    def on_evaluate_end(self, *, evaluation_metrics, **kwargs):
        team = evaluation_metrics["env_runners"]["team"]
        evaluation_metrics["from_callback"] = team["central_gap"]

    def on_train_result(self, *, result, **kwargs):
        result["from_callback"] = result["training_iteration"]


def test_every_callback_of_rllib_is_called(build, monkeypatch):
    monkeypatch.setattr(Recorder, "calls", [])
    config = tiny(counter, env_config={"length": 3}).callbacks(Recorder)
    config.evaluation(evaluation_interval=1)
    algorithm = build(config)
    result = algorithm.train()
    custom = result["env_runners"]["custom_metrics"]
    assert custom["followed_mean"] == custom["agent_a_max"] == 6
    assert custom["length_min"] == custom["length_max"] == 3
    assert result["env_runners"]["hist_stats"]["lengths"] == [3] * 20
    learned = result["info"]["learner"]["default_policy"]["custom_metrics"]
    assert learned == {"marked": 64.0}
    assert result["from_callback"] == 1
    assert result["evaluation"]["from_callback"] == result["evaluation"]["central_gap"]
    assert {"environment", "sample", "evaluation starts"} <= set(Recorder.calls)


def test_callbacks_see_whole_episodes_in_complete_episodes_mode(build):
    env_config = {"lengths": [2, 5]}
    config = tiny(various_lengths, env_config=env_config, num_envs=2, train_batch_size=12)
    config.env_runners(batch_mode="complete_episodes").callbacks(Recorder)
    algorithm = build(config)
    for _ in range(3):
        history = algorithm.train()["env_runners"]["hist_stats"]
        assert set(history["lengths"]) <= {2, 5}


def test_complete_episodes_mode_counts_exactly_the_episodes_of_its_batch(build):
    # A sub-environment that has finished its share keeps stepping; its later episodes are biased
    # to be short and would bias the mean return.
    env_config = {"lengths": [2, 50]}
    config = tiny(various_lengths, env_config=env_config, num_envs=2, train_batch_size=4)
    config.env_runners(batch_mode="complete_episodes")
    worker = build(config).env_runner
    batch = worker.sample()
    lengths = sorted(metrics.episode_length for metrics in worker.get_metrics())
    assert lengths == sorted(episode.count for episode in batch.split_by_episode())


def test_callbacks_follow_an_episode_across_a_resume(build, tmp_path):
    config = tiny(counter, env_config={"length": 10}).callbacks(Recorder)
    algorithm = build(config)
    algorithm.train()  # 16 steps of every sub-environment: 6 into the second episode
    path = algorithm.save(str(tmp_path / "checkpoint")).checkpoint.path
    resumed = build(config.copy(copy_frozen=False))
    resumed.restore(path)
    custom = resumed.train()["env_runners"]["custom_metrics"]
    assert custom["length_min"] == custom["length_max"] == 10
    assert custom["followed_mean"] == 55


# Writers.


def test_an_output_folder_gets_every_row(build, tmp_path):
    config = tiny(counter).offline_data(output=str(tmp_path / "out"))
    config.env_runners(batch_mode="complete_episodes")  # RLlib asks for it
    steps = build(config).train()["num_env_steps_sampled_lifetime"]
    batches = outputs_of(tmp_path / "out")
    assert sum(len(batch["rewards"]) for batch in batches) == steps >= 64


def test_compressed_observations_are_learned_from_like_plain_ones(build):
    plain, compressed = (tiny(env_config={"max_steps": 7}) for _ in range(2))
    compressed.env_runners(compress_observations=True)
    losses = [learner_stats(build(c).train())["total_loss"] for c in (plain, compressed)]
    assert losses[0] == losses[1]


# Observation filters.


def test_the_filter_learns_all_raw_rows_and_leaves_masks_alone(build):
    config = tiny(counter, env_config={"length": 3})
    config.env_runners(observation_filter="MeanStdFilter").evaluation(evaluation_interval=1)
    algorithm = build(config)
    for _ in range(3):
        algorithm.train()
    seen = np.tile(np.arange(48) % 3, 4)
    learned = algorithm.env_runner.team_filter.running_stats
    assert (learned.count == len(seen)).all()
    assert learned.mean == pytest.approx(np.full(3, seen.mean()))
    assert learned.std == pytest.approx(np.full(3, seen.std(ddof=1)))
    rows = algorithm.env_runner.sample()[SampleBatch.OBS]
    slices = algorithm.team_policy.model.layout.slices
    assert (rows[:, slices["action_mask"]] == 1).all()
    assert (rows[:, slices["alive"]] == 1).all()
    raw = np.tile(np.arange(48, 64) % 3, 4)
    expected = (raw - seen.mean()) / seen.std(ddof=1)
    for name in ("obs", "state"):
        assert rows[:, slices[name]] == pytest.approx(
            np.repeat(expected[:, None], slices[name].stop - slices[name].start, axis=1), abs=1e-5
        )


def test_evaluation_uses_the_statistics_of_training_and_adds_nothing(build):
    config = tiny(counter, env_config={"length": 3})
    config.env_runners(observation_filter="MeanStdFilter").evaluation(evaluation_interval=1)
    algorithm = build(config)
    algorithm.train()
    algorithm.evaluate()
    training = algorithm.env_runner.team_filter.running_stats
    evaluation = algorithm.eval_env_runner.team_filter.running_stats
    assert (evaluation.count == 64).all()
    assert (training.count == 64).all()
    assert evaluation.mean.tolist() == training.mean.tolist()
    assert evaluation.squares.tolist() == training.squares.tolist()


def test_an_unknown_filter_is_refused():
    with pytest.raises(ConfigError, match=r"observation_filter must be .*got 'ConcurrentMean"):
        tiny().env_runners(observation_filter="ConcurrentMeanStdFilter").build_algo()


# The rest of RLlib's interface.


def test_a_worker_without_episodes_to_sample_says_so(build):
    worker = build(env=counter).env_runner
    worker.actor = None
    with pytest.raises(ConfigError, match="no environment to sample from"):
        worker.sample()
    with pytest.raises(RuntimeError, match="worker 0 has no policy or no environment"):
        worker.assert_healthy()


def test_other_inputs_than_the_sampler_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"input_=.* has no effect here"):
        tiny(counter).offline_data(input_=str(tmp_path)).build_algo()


def test_every_worker_shows_its_sub_environments_as_one_environment(build):
    worker = build(env=counter).env_runner
    assert worker.env.vector_env.num_envs == 4
    envs = worker.vector_env.sub_environments()
    assert worker.foreach_env(lambda env: env) == envs
    assert worker.async_env.get_sub_environments(as_dict=True) == dict(enumerate(envs))
    spaces = (worker.env.observation_space, worker.env.action_space)
    assert worker.get_spaces()["__env__"] == spaces
    assert worker.async_env.observation_space == worker.env.observation_space
    assert worker.async_env.action_space == worker.env.action_space


def test_an_episode_is_rendered_from_its_first_picture_on(build):
    algorithm = build(env_config={"max_steps": 6})
    frames = algorithm.team.render(policy="individual", explore=True, seed=3)
    assert 1 <= len(frames) <= 6
    assert all(frame.dtype == np.uint8 and frame.shape[-1] == 3 for frame in frames)
