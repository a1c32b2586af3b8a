"""Agents that die, join late or come back: rollouts, sequences, own rewards, filter, export."""

import numpy as np
import pytest
import torch
from algorithms_test_helpers import learner_stats, tiny
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_agentmixer import IPPOConfig, MAPPOConfig
from rllib_agentmixer.core.learners.postprocessing import policy_gradient_targets
from rllib_agentmixer.export import export_policies
from rllib_agentmixer.play import play_episode
from rllib_agentmixer.runtime import load_policies

SHIFTS = ("abc", "ab", "b", "bc", "abc", "ac", "a")
"""Who takes part in each observation of an episode: everybody leaves, two come back."""

NAMES = "abc"


class Shifts(ParallelEnv):
    """Agent i earns i + 1 + t / 10 for each step that it takes part in; the last one ends it."""

    metadata = {"name": "shifts", "render_modes": []}  # noqa: RUF012

    def __init__(self, is_cut=False):
        self.is_cut = is_cut
        self.possible_agents = list(NAMES)
        self.agents = []
        self.spaces = {n: spaces.Box(-9.0, 9.0, (4 + i,), np.float32) for i, n in enumerate(NAMES)}
        self.choice = spaces.Discrete(3)
        self.received = []

    def observation_space(self, agent):
        return self.spaces[agent]

    def action_space(self, agent):
        return self.choice

    def observe(self):
        rng = np.random.default_rng(self.time)
        return {n: rng.normal(size=self.spaces[n].shape).astype(np.float32) for n in self.agents}

    def reset(self, seed=None, options=None):
        self.time = 0
        self.agents = list(SHIFTS[0])
        self.received = []
        return self.observe(), {n: {} for n in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents)
        self.received.append(dict(actions))
        acted = list(self.agents)
        rewards = {n: NAMES.index(n) + 1 + self.time / 10 for n in acted}
        self.time += 1
        is_over = self.time == len(SHIFTS)
        self.agents = acted if is_over else list(SHIFTS[self.time])
        obs = self.observe()
        if is_over:
            self.agents = []
        is_cut = is_over and self.is_cut
        ended = {n: n not in self.agents and not is_cut for n in acted}
        return obs, rewards, ended, dict.fromkeys(acted, is_cut), {n: {} for n in acted}


def shifts(is_cut=False):
    return Shifts(is_cut)


ALIVE = np.array([[name in present for name in NAMES] for present in SHIFTS])
LENGTH = len(SHIFTS)


def config_of(config_class=IPPOConfig, num_envs=2, **training):
    config = tiny(shifts, num_envs=num_envs, config_class=config_class, **training)
    config.environment(team_reward="sum")
    return config.training(train_batch_size=2 * 2 * LENGTH)


def rollout_of(algorithm, num_steps=2 * LENGTH):
    """One fragment as the worker collects it."""
    from rllib_agentmixer.rollouts.actor import start
    from rllib_agentmixer.rollouts.collect import collect

    worker = algorithm.team_worker
    state = start(worker.actor, worker.vector_env, 0)
    fragment = collect(worker.actor, worker.vector_env, state, num_steps).fragment
    return policy_gradient_targets(worker.actor.module, fragment, gamma=0.5, lambda_=1.0)


def test_rollouts_say_who_takes_part(build):
    rollout = rollout_of(build(config_of()))
    for env_index in range(2):
        np.testing.assert_array_equal(rollout.inputs.alive[:, env_index], np.tile(ALIVE, (2, 1)))
    assert rollout.terminated[LENGTH - 1].all()


def test_own_rewards_are_summed_until_an_agent_leaves_and_no_further(build):
    algorithm = build(config_of(individual_rewards=True))
    with torch.no_grad():
        for parameter in algorithm.team_policy.module.critic.parameters():
            parameter.zero_()
    found = rollout_of(algorithm, LENGTH).targets.advantages[:, 0]  # V = 0: the returns themselves
    for agent in range(3):
        for start in range(LENGTH):
            if not ALIVE[start, agent]:
                continue
            expected, discount = 0.0, 1.0
            for time in range(start, LENGTH):
                if not ALIVE[time, agent]:
                    break
                expected += discount * (agent + 1 + time / 10)
                discount *= 0.5
            assert found[start, agent] == pytest.approx(expected, rel=1e-5), (agent, start)


def test_a_cut_ends_own_rewards_of_those_who_left_and_bootstraps_the_others(build):
    config = config_of(individual_rewards=True, normalize_values=False)
    algorithm = build(config.environment(env_config={"is_cut": True}))
    critic = algorithm.team_policy.module.critic
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.zero_()
        critic.output.bias.fill_(10.0)  # V = 10 everywhere
    rollout = rollout_of(algorithm, LENGTH)
    assert rollout.truncated[-1].all()
    targets = rollout.targets.value_targets[:, 0]
    last = LENGTH - 1
    assert targets[last, 0] == pytest.approx(1 + last / 10 + 0.5 * 10)  # a was there to the end
    # c left before the last step: nothing follows its own last reward.
    assert targets[last - 1, 2] == pytest.approx(3 + (last - 1) / 10)


def test_the_teams_reward_continues_for_an_agent_that_has_left(build):
    algorithm = build(config_of())
    with torch.no_grad():
        for parameter in algorithm.team_policy.module.critic.parameters():
            parameter.zero_()
    found = rollout_of(algorithm, LENGTH).targets.advantages[:, 0]
    team = (ALIVE * (np.arange(3) + 1 + np.arange(LENGTH)[:, None] / 10)).sum(1)
    expected = [sum(0.5**k * team[t + k] for k in range(LENGTH - t)) for t in range(LENGTH)]
    np.testing.assert_allclose(found, np.repeat(np.array(expected)[:, None], 3, 1), rtol=1e-5)


@pytest.mark.parametrize("config_class", [IPPOConfig, MAPPOConfig, None])
def test_who_comes_back_remembers_nothing_in_play_and_in_learning(build, config_class):
    algorithm = build(config_of(config_class, use_gru=True))
    # At first, biases are zero, and what an absent agent would remember as well.
    with torch.no_grad():
        for parameter in algorithm.team_policy.module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    worker = algorithm.team_worker
    batch = worker.sample()
    team = algorithm.team_policy.experience(batch)
    # A sequence begins wherever somebody joins: in the observations 3 and 4 of each episode,
    # and after at most max_seq_len = 5 steps.
    lengths = batch["seq_lens"].tolist()
    assert lengths[:4] == [3, 1, 3, 3]
    network = algorithm.team_policy.module
    with torch.no_grad():
        output = network(team.inputs, team.hidden, team.actions)
    counts = team.valid & team.inputs.alive.any(-1)
    stored = network.policy_from_flat(team.behaviour, team.inputs)
    alive = team.inputs.alive & counts[..., None]
    torch.testing.assert_close(
        output.joint.log_probs[alive], stored.log_probs[alive], atol=1e-5, rtol=1e-5
    )
    joined = alive.clone()
    joined[1:] &= ~team.inputs.alive[:-1]
    hidden = team.hidden.individual.transpose(0, 1)  # [B, N, H]
    absent_before = ~batch_alive_before(batch, algorithm)
    assert (hidden[: len(absent_before)][absent_before] == 0).all()
    assert hidden.abs().max() > 0


def batch_alive_before(batch, algorithm):
    """[B, N] whether each agent took part in the step before each sequence began."""
    layout = algorithm.team_policy.model.layout
    alive = batch["obs"][:, layout.slices["alive"]] > 0.5
    starts = np.cumsum(batch["seq_lens"]) - batch["seq_lens"]
    before = np.where((starts % LENGTH == 0)[:, None], False, alive[np.maximum(starts - 1, 0)])
    return torch.from_numpy(before)


def test_the_filter_learns_from_agents_while_they_are_there(build):
    config = config_of().env_runners(observation_filter="MeanStdFilter")
    algorithm = build(config)
    algorithm.train()
    stats = algorithm.team_worker.team_filter.running_stats
    steps_per_episode = ALIVE.sum(0)
    num_episodes = 4
    widest = 6
    for agent in range(3):
        columns = slice(agent * widest, agent * widest + 4 + agent)
        assert (stats.count[columns] == steps_per_episode[agent] * num_episodes).all()
    env = shifts()
    seen = {name: [] for name in NAMES}
    for time, present in enumerate(SHIFTS):
        env.time, env.agents = time, list(present)
        for name, value in env.observe().items():
            seen[name].append(value)
    for agent, name in enumerate(NAMES):
        columns = slice(agent * widest, agent * widest + 4 + agent)
        rows = np.repeat(np.array(seen[name]), num_episodes, axis=0)
        np.testing.assert_allclose(stats.mean[columns], rows.mean(0), atol=1e-6)
        np.testing.assert_allclose(stats.std[columns], rows.std(0, ddof=1), atol=1e-6)


@pytest.mark.parametrize("config_class", [IPPOConfig, MAPPOConfig, None])
def test_an_exported_team_plays_as_it_was_trained_whoever_is_there(build, tmp_path, config_class):
    algorithm = build(config_of(config_class, num_envs=1, use_gru=True, lr=0.05))
    assert np.isfinite(learner_stats(algorithm.train())["total_loss"])
    export_policies(algorithm, tmp_path / "export")
    policies = load_policies(tmp_path / "export")
    env = shifts()
    play_episode(env, policies, seed=0, team_reward="sum")
    worker = algorithm.team_worker
    worker.play_episodes(1, policy="individual", explore=False, seed=0, num_envs=1)
    assert len(env.received) == LENGTH
    from rllib_agentmixer.rollouts.actor import pack_rows, reset_hidden, start

    actor = worker.team.actor(torch.Generator())
    rollout = start(actor, worker._evaluation_env, 0)
    for time in range(LENGTH):
        rows = pack_rows(actor.layout, rollout.observation)
        choice = actor.act(rows, rollout.hidden, explore=False, policy="individual")
        for index, name in enumerate(NAMES):
            if ALIVE[time, index]:
                assert env.received[time][name] == choice.actions[0, index], (time, name)
        step = worker._evaluation_env.step(choice.actions)
        rollout.observation = step.observation
        ended = step.terminated | step.truncated
        rollout.hidden = reset_hidden(choice.hidden, ended, actor.layout.alive(rows))
