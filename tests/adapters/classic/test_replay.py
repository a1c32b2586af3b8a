"""Off-policy training: rounds, gradient steps by episodes, remote workers, exact resume."""

import numpy as np
import pytest
import torch
from algorithms_test_helpers import differences, learner_stats, tiny, training_state

from rllib_agentmixer import cli
from rllib_agentmixer.adapters.classic.algorithms import algorithm_class
from rllib_agentmixer.errors import CheckpointError, ConfigError
from rllib_agentmixer.export import export_policies
from rllib_agentmixer.rollouts.saved_team import load_team
from rllib_agentmixer.runtime import load_policies

VDN = algorithm_class("vdn")
STEPS, ENVS = 10, 4


def vdn(env="predator_prey", workers=0, **settings):
    config = tiny(env, env_config={"max_steps": 7}, config_class=VDN.config_class, **settings)
    return config.env_runners(num_env_runners=workers, rollout_fragment_length=STEPS)


def test_a_round_steps_every_sub_environment_and_learns_for_every_episode(build):
    algorithm = build(vdn(updates_per_episode=0.5))
    num_episodes = num_updates = num_reported = 0
    for iteration in range(1, 6):
        result = algorithm.train()
        num_episodes += result["env_runners"]["episodes_this_iter"]
        num_updates = algorithm.team_policy.num_grad_updates
        assert result["num_env_steps_sampled_lifetime"] == iteration * STEPS * ENVS
        assert len(algorithm.replay) == num_episodes
        assert num_updates == num_episodes // 2
        num_reported += learner_stats(result)["num_updates"]
    assert num_reported == num_updates
    assert num_episodes > 20
    stats = learner_stats(result)
    assert all(np.isfinite(value) for value in stats.values())
    assert stats["num_replayed_episodes"] == num_episodes
    assert {"td_loss", "q_taken_mean", "grad_norm", "epsilon", "cur_lr"} <= stats.keys()


def test_metrics_are_means_over_the_gradient_steps_of_a_round(build, monkeypatch):
    algorithm = build(vdn())
    losses = []
    learn = type(algorithm)._learn

    def recorded(self):
        losses.append(learn(self))
        return losses[-1]

    monkeypatch.setattr(type(algorithm), "_learn", recorded)
    stats = learner_stats(algorithm.train())
    found = [update["learner_stats"]["td_loss"] for update in losses]
    assert len(set(found)) > 1
    assert stats["td_loss"] == pytest.approx(np.mean(found))


def test_learning_begins_after_the_first_steps(build):
    algorithm = build(vdn(num_steps_sampled_before_learning_starts=3 * STEPS * ENVS))
    updates = []
    for _ in range(4):
        algorithm.train()
        updates.append(algorithm.team_policy.num_grad_updates)
    assert updates[:2] == [0, 0]
    assert updates[3] > 0


def test_epsilon_follows_the_sampled_steps_on_every_worker(build):
    config = vdn(workers=1, epsilon=[[0, 1.0], [100, 0.0]])
    algorithm = build(config)
    algorithm.train()
    expected = 1 - algorithm.num_env_steps / 100
    assert algorithm.team_policy.module.epsilon == pytest.approx(expected)
    (found,) = algorithm.workers_group.foreach_env_runner(
        lambda worker: worker.get_policy().module.epsilon, local_env_runner=False
    )
    assert found == pytest.approx(expected)


def test_remote_workers_sample_and_get_new_weights(build):
    algorithm = build(vdn(workers=2))
    for _ in range(2):
        algorithm.train()
    assert algorithm.num_env_steps == 2 * 2 * STEPS * ENVS
    assert len(algorithm.replay) > 10
    own = algorithm.team_policy.get_weights()
    remote = algorithm.workers_group.foreach_env_runner(
        lambda worker: worker.get_policy().get_weights(), local_env_runner=False
    )
    assert [differences(own, weights) for weights in remote] == [[], []]


@pytest.mark.parametrize("use_gru", [False, True])
def test_a_resumed_run_is_bit_equal_in_the_middle_of_episodes(build, keep, tmp_path, use_gru):
    config = vdn(use_gru=use_gru, target_network_update_freq=3, updates_per_episode=0.7)

    def go_on(algorithm):
        results = [learner_stats(algorithm.train()) for _ in range(3)]
        return results, training_state(algorithm), algorithm.team_policy.learner.state_dict()

    saved = build(config)
    for _ in range(2):
        saved.train()
    assert saved.team_worker._open_episodes.num_steps > 0
    path = saved.save(str(tmp_path / "checkpoint")).checkpoint.path
    expected = go_on(saved)
    resumed = keep(VDN.from_checkpoint(path))
    assert differences(go_on(resumed), expected) == []


def test_without_its_buffer_a_checkpoint_is_smaller_and_training_goes_on(build, keep, tmp_path):
    sizes = {}
    for stored in (True, False):
        algorithm = build(vdn(store_buffer_in_checkpoints=stored))
        for _ in range(4):
            algorithm.train()
        path = algorithm.save(str(tmp_path / str(stored))).checkpoint.path
        sizes[stored] = (tmp_path / str(stored) / "algorithm_state.pkl").stat().st_size
    assert sizes[False] < sizes[True]
    resumed = keep(VDN.from_checkpoint(path))
    assert len(resumed.replay) == 0
    resumed.train()
    assert len(resumed.replay) > 0


def test_another_capacity_cannot_go_on_from_a_checkpoint(build, tmp_path):
    algorithm = build(vdn(replay_capacity=4))
    for _ in range(3):
        algorithm.train()
    path = algorithm.save(str(tmp_path / "checkpoint")).checkpoint.path
    with pytest.raises(CheckpointError, match="restore with the same replay_capacity"):
        build(vdn(replay_capacity=9)).restore(path)


def test_what_was_trained_is_evaluated_exported_and_played(build, tmp_path):
    algorithm = build(vdn())
    algorithm.train()
    results = algorithm.evaluate()
    assert results["individual"] == results["joint"]  # greedy play is decentralised
    path = algorithm.save(str(tmp_path / "checkpoint")).checkpoint.path
    team = load_team(path)
    assert team.module.epsilon == algorithm.team_policy.module.epsilon
    export_policies(team, tmp_path / "exported")
    policies = load_policies(tmp_path / "exported")
    env = team.vector_env(1)
    observation = env.reset(3)
    from rllib_agentmixer.rollouts.actor import pack_rows

    rows = pack_rows(team.layout, observation)
    actor = team.actor(torch.Generator())
    expected = actor.act(rows, None, explore=False, policy="individual").actions[0]
    found = [
        policy.act(observation.obs[0, index], action_mask=observation.action_mask[0, index])[0]
        for index, policy in enumerate(policies.values())
    ]
    assert found == expected.tolist()
    env.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_mode": "complete_episodes"}, "batch_mode=.* has no effect here"),
        ({"observation_filter": "MeanStdFilter"}, "observation_filter=.* has no effect here"),
        ({"output": "/tmp/x"}, "output=.* has no effect here"),
        ({"rollout_fragment_length": "auto"}, "rollout_fragment_length must be"),
        ({"train_batch_size": 0}, "train_batch_size must be"),
        ({"tau": 2.0}, "tau must be"),
    ],
)
def test_what_replay_cannot_do_is_refused(change, message):
    config = vdn()
    for name, value in change.items():
        setattr(config, name, value)
    with pytest.raises(ConfigError, match=message):
        config.validate()


def test_settings_of_the_policy_gradient_are_unknown_here():
    with pytest.raises(ConfigError, match="'modifier_lr' is a setting of agentmixer, not of vdn"):
        vdn(modifier_lr=1e-3)
    with pytest.raises(ConfigError, match="clip_param"):
        vdn(clip_param=0.2)


def test_continuous_actions_are_refused_by_name(build):
    config = tiny("continuous_game", config_class=VDN.config_class)
    with pytest.raises(ConfigError, match=r"vdn is for discrete actions; .* are continuous"):
        build(config)


def test_the_command_line_trains_it(tmp_path, capsys):
    arguments = ["train", "climbing", "--algo", "vdn", "--steps", "300", "--no-mlflow", "--json"]
    settings = ["num_steps_sampled_before_learning_starts=0", "rollout_fragment_length=5"]
    cli.main([*arguments, "--out", str(tmp_path / "run"), *settings])
    assert '"env_steps": 3' in capsys.readouterr().out
