"""Rollouts of a scripted environment: bootstraps, records, quotas, recurrence and scaling."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rllib_agentmixer.core.data.action_scaling import action_scaling
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.teams.joint_policy import agentmixer_team
from rllib_agentmixer.envs import make_vector_env
from rllib_agentmixer.envs.vector_env import TeamObs, TeamSpec, TeamStep, VectorTeamEnv
from rllib_agentmixer.errors import EnvContractError
from rllib_agentmixer.rollouts.actor import TeamActor, pack_rows, reset_hidden, start
from rllib_agentmixer.rollouts.episodes import EpisodeTracker
from rllib_agentmixer.rollouts.play import play, render
from tests.core.conftest import Build

N, A = 2, 3
TERMINATES, IS_CUT, CRASHES = "terminates", "is cut", "crashes"


class ScriptedEnv(VectorTeamEnv):
    """Sub-environment c plays ``scripts[c]``, pairs of a length and an end, in turn.

    The state is 100 c + 10 episode + step; the team reward is c + step / 10. Every array that
    it hands out is reused in the next step, as the contract allows.
    """

    def __init__(self, *scripts, continuous=False):
        self.scripts = scripts
        self.num_envs = len(scripts)
        kind = "continuous" if continuous else "discrete"
        low, high = (np.full((N, A), x, np.float32) for x in (-2, 6))
        self.spec = TeamSpec(
            "scripted", ("a", "b"), (2, 1), 1, "env", kind, (A, A), low, high, version="1"
        )
        B = self.num_envs
        self.received = []
        self.seeds = []
        self.buffers = TeamObs(
            np.zeros((B, N, 2), np.float32),
            np.zeros((B, 1), np.float32),
            np.ones((B, N, A), bool),
            np.ones((B, N), bool),
        )
        self.reward = np.zeros(B, np.float32)
        self.flags = np.zeros((3, B), bool)
        self.truncated = np.zeros(B, bool)

    def reset(self, seed=None):
        self.seeds.append(seed)
        self.episode, self.time = np.zeros((2, self.num_envs), int)
        return self.observe()

    def observe(self):
        indices = np.arange(self.num_envs)
        self.buffers.state[:, 0] = 100 * indices + 10 * self.episode + self.time
        self.buffers.obs[:, 0, 0] = self.time
        self.buffers.obs[:, 0, 1] = self.episode + 2
        self.buffers.obs[:, 1, 0] = indices - 1
        return self.buffers

    def step(self, actions):
        self.received.append(np.array(actions))
        self.reward[:] = np.arange(self.num_envs) + self.time / 10
        self.time += 1
        for env_index, script in enumerate(self.scripts):
            length, end = script[self.episode[env_index] % len(script)]
            is_over = self.time[env_index] == length
            self.flags[:, env_index] = is_over & np.isin([TERMINATES, IS_CUT, CRASHES], end)
        terminated, cut, faulty = self.flags
        truncated = np.logical_or(cut, faulty, out=self.truncated)
        final = TeamObs(*(x.copy() for x in vars(self.observe()).values()))
        ended = terminated | truncated
        self.episode[ended] += 1
        self.time[ended] = 0
        return TeamStep(
            observation=self.observe(),
            reward=self.reward,
            agent_rewards=np.stack([self.reward, 2 * self.reward], axis=1),
            terminated=terminated,
            truncated=truncated,
            final_observation=final,
            faulty=faulty,
        )

    def render(self, env_index=0):
        return np.full((2, 2, 3), self.time[env_index], np.uint8)

    def get_state(self):
        return None

    def set_state(self, snapshot):
        raise NotImplementedError


def actor_of(env, *, scaling=None, seed=0, **settings):
    """Random parameters, and a critic that returns the state as its value."""
    spec = env.spec
    sizes = TeamSizes(spec.obs_sizes, spec.state_size, spec.action_kind, spec.action_sizes)
    small = {"hidden_size": 8, "modifier_width": 6, "critic_hidden": (4,)}
    network = agentmixer_team(sizes, AgentMixerSettings(**(small | settings)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.7, generator=generator)
    network.critic.value = lambda state: state[..., 0]
    return TeamActor(network, TeamLayout(sizes), torch.Generator().manual_seed(seed), scaling)


def roll(env, num_steps, actor=None, state=None, **options):
    actor = actor or actor_of(env)
    state = state or start(actor, env)
    return Build.rollout(actor, env, state, num_steps, gamma=0.5, lambda_=0.0, **options)


LONG = ((99, IS_CUT),)
PER_STEP = ("log_prob", "rewards", "values", "advantages", "value_targets")


# --- a fragment


@pytest.mark.parametrize("continuous", [False, True])
def test_every_array_of_a_fragment_has_its_shape(continuous):
    env = ScriptedEnv(LONG, LONG, LONG, continuous=continuous)
    actor = actor_of(env)
    rollout = roll(env, 4, actor)
    F = actor.layout.row_size
    assert rollout.rows.shape == (4, 3, F)
    assert rollout.actions.shape == ((4, 3, N, A) if continuous else (4, 3, N))
    assert rollout.behaviour.shape == (4, 3, (2 if continuous else 1) * N * A)
    for name in (*PER_STEP, "terminated", "truncated", "keep"):
        assert getattr(rollout, name).shape == (4, 3), name
    assert rollout.rows.dtype == rollout.rewards.dtype == np.float32
    assert rollout.hidden is None
    assert rollout.keep.all()
    assert rollout.raw_rows is rollout.rows or np.array_equal(rollout.raw_rows, rollout.rows)


def test_rows_hold_what_was_seen_before_each_step():
    env = ScriptedEnv(((3, TERMINATES),), LONG)
    actor = actor_of(env)
    rollout = roll(env, 4, actor)
    inputs = actor.layout.inputs(torch.from_numpy(rollout.rows))
    assert inputs.state[..., 0].T.tolist() == [[0, 1, 2, 10], [100, 101, 102, 103]]
    assert inputs.obs[:, 0, 0, 1].tolist() == [2, 2, 2, 3]
    assert inputs.alive.all()
    np.testing.assert_allclose(rollout.rewards.T, [[0, 0.1, 0.2, 0], [1, 1.1, 1.2, 1.3]])
    assert rollout.terminated.T.tolist() == [[False, False, True, False], [False] * 4]
    assert not rollout.truncated.any()


def test_a_cut_episode_bootstraps_from_its_last_observation_and_a_terminated_one_does_not():
    env = ScriptedEnv(((2, TERMINATES),), ((2, IS_CUT),), LONG)
    rollout = roll(env, 3)
    # Values are states. What follows step 1: nothing; state 102, not the reset's 110; 202.
    # What follows step 2, the last of the fragment: states 11, 111 and 203.
    following = np.array([[1, 101, 201], [0, 102, 202], [11, 111, 203]])
    values = np.array([[0, 100, 200], [1, 101, 201], [10, 110, 202]])
    np.testing.assert_allclose(rollout.values, values)
    targets = rollout.rewards + 0.5 * following
    np.testing.assert_allclose(rollout.value_targets, targets, rtol=1e-6)
    np.testing.assert_allclose(rollout.advantages, targets - values, rtol=1e-5)


def test_a_limit_that_counts_as_an_end_is_followed_by_nothing():
    scripts = ((2, TERMINATES),), ((2, IS_CUT),), LONG
    rollout = roll(ScriptedEnv(*scripts), 3, limits_are_ends=True)
    following = np.array([[1, 101, 201], [0, 0, 202], [11, 111, 203]])
    targets = rollout.rewards + 0.5 * following
    np.testing.assert_allclose(rollout.value_targets, targets, rtol=1e-5)
    assert rollout.terminated[:, 1].tolist() == [False, True, False]
    assert not rollout.truncated.any()
    assert [e.length for e in rollout.episodes] == [2, 2]  # episodes are what they were


def test_a_crash_is_no_end_even_where_limits_are():
    scripts = ((2, CRASHES),), ((2, IS_CUT),)
    rollout = roll(ScriptedEnv(*scripts), 3, limits_are_ends=True)
    assert rollout.terminated[1].tolist() == [False, True]
    assert rollout.truncated[1].tolist() == [True, False]
    targets = rollout.rewards[1] + 0.5 * np.array([2, 0])  # state 2 was the crashed one's last
    np.testing.assert_allclose(rollout.value_targets[1], targets, rtol=1e-5)


def test_lambda_spreads_advantages_within_an_episode_only():
    env = ScriptedEnv(((2, IS_CUT),))
    actor = actor_of(env)
    rollout = Build.rollout(actor, env, start(actor, env), 4, gamma=0.5, lambda_=0.8)
    deltas = rollout.rewards[:, 0] + 0.5 * np.array([1, 2, 11, 12]) - np.array([0, 1, 10, 11])
    expected = [deltas[0] + 0.4 * deltas[1], deltas[1], deltas[2] + 0.4 * deltas[3], deltas[3]]
    np.testing.assert_allclose(rollout.advantages[:, 0], expected, rtol=1e-5)


def test_stored_log_probs_are_those_of_the_stored_policy():
    env = ScriptedEnv(((3, TERMINATES),), LONG)
    actor = actor_of(env)
    rollout = roll(env, 5, actor)
    inputs = actor.layout.inputs(torch.from_numpy(rollout.rows))
    with torch.no_grad():
        joint = actor.module(inputs).joint
    np.testing.assert_allclose(joint.flat().numpy(), rollout.behaviour, rtol=1e-4, atol=1e-5)
    log_prob = joint.log_prob(torch.from_numpy(rollout.actions))
    np.testing.assert_allclose(log_prob.numpy(), rollout.log_prob, rtol=1e-4, atol=1e-5)


def test_the_next_fragment_continues_where_the_last_one_stopped():
    def states(lengths):
        env = ScriptedEnv(((5, TERMINATES),), LONG)
        actor = actor_of(env)
        state = start(actor, env)
        parts = [roll(env, length, actor, state) for length in lengths]
        rows = np.concatenate([part.rows for part in parts])
        episodes = [record for part in parts for record in part.episodes]
        return rows, np.concatenate([part.actions for part in parts]), episodes

    rows, actions, episodes = states([7])
    again, same, records = states([3, 1, 3])
    np.testing.assert_array_equal(again, rows)
    np.testing.assert_array_equal(same, actions)
    assert [r.length for r in records] == [r.length for r in episodes] == [5]


def test_without_exploration_actions_are_modes():
    env = ScriptedEnv(LONG, LONG)
    actor = actor_of(env)
    rollout = roll(env, 6, actor, explore=False)
    inputs = actor.layout.inputs(torch.from_numpy(rollout.rows))
    with torch.no_grad():
        modes = actor.module(inputs).joint.mode()
    np.testing.assert_array_equal(rollout.actions, modes.numpy())
    explored = roll(env, 6, actor).actions
    assert len(np.unique(explored.reshape(-1, N), axis=0)) > 1


# --- records


def test_a_record_holds_return_length_and_every_agents_own_return():
    env = ScriptedEnv(((3, TERMINATES), (1, IS_CUT)), ((4, IS_CUT),))
    rollout = roll(env, 5)
    found = [(r.episode_return, r.length) for r in rollout.episodes]
    # In the order of their end: sub-environment 0 after 3 steps, both after 4.
    assert found == [
        (pytest.approx(0.3), 3),
        (pytest.approx(0.0), 1),
        (pytest.approx(4.6), 4),
    ]
    np.testing.assert_allclose(rollout.episodes[2].agent_returns, [4.6, 9.2], rtol=1e-6)
    assert not any(record.is_faulty for record in rollout.episodes)


def test_the_tracker_starts_an_episode_at_zero_and_keeps_its_records():
    env = ScriptedEnv(((2, TERMINATES),), LONG)
    tracker = EpisodeTracker(2, N)
    env.reset()
    records = []
    for _ in range(4):
        step = env.step(np.zeros((2, N), int))
        records.append(tracker.add(step, step.terminated | step.truncated))
    assert [sorted(r) for r in records] == [[], [0], [], [0]]
    for record in (records[1][0], records[3][0]):
        assert record.length == 2
        assert record.episode_return == pytest.approx(0.1)
        np.testing.assert_allclose(record.agent_returns, [0.1, 0.2])


def test_every_step_is_shown_to_the_hook_with_its_records():
    env = ScriptedEnv(((2, TERMINATES),), LONG)
    seen = []
    roll(env, 3, on_step=lambda step, records: seen.append((step.reward[1].item(), dict(records))))
    assert [reward for reward, _ in seen] == pytest.approx([1.0, 1.1, 1.2])
    assert [list(records) for _, records in seen] == [[], [0], []]


# --- whole episodes


def test_complete_episodes_keeps_whole_episodes_only():
    env = ScriptedEnv(((2, TERMINATES),), ((5, IS_CUT),), ((3, TERMINATES),))
    actor = actor_of(env)
    state = start(actor, env)
    roll(env, 1, actor, state)  # stands in the middle of episodes now
    rollout = roll(env, 2, actor, state, complete_episodes=True)
    ended = rollout.terminated | rollout.truncated
    for env_index in range(3):
        keep = rollout.keep[:, env_index]
        length = keep.sum()
        assert keep[:length].all()  # no gaps
        assert ended[length - 1, env_index]  # the last step ends an episode
        first = actor.layout.inputs(torch.from_numpy(rollout.rows)).state[0, env_index, 0]
        assert first == 100 * env_index
    # 3 x 2 steps are reached after 2 steps, when sub-environment 0 has just ended its first.
    assert rollout.keep.sum(0).tolist() == [2, 5, 3]
    assert sorted(r.length for r in rollout.episodes) == [2, 3, 5]
    assert len(rollout.rows) == 5


def test_complete_episodes_continues_until_enough_steps_are_stored():
    env = ScriptedEnv(((2, TERMINATES),), ((3, IS_CUT),))
    rollout = roll(env, 4, complete_episodes=True)
    # 8 steps are wanted; both sub-environments continue from the middle of their second episodes.
    assert rollout.keep.sum(0).tolist() == [4, 6]
    assert sum(r.length for r in rollout.episodes) == rollout.keep.sum() == 10


def test_an_endless_episode_is_truncated_at_the_bound():
    env = ScriptedEnv(((2, TERMINATES),), LONG)
    rollout = roll(env, 3, complete_episodes=True, max_episode_steps=5)
    assert rollout.keep.sum(0).tolist() == [4, 5]
    assert rollout.truncated[:5, 1].tolist() == [False] * 4 + [True]
    assert not rollout.terminated[:, 1].any()
    # Its value counts: what follows is state 105, which no reset follows.
    assert rollout.value_targets[4, 1] == pytest.approx(1.4 + 0.5 * 105)
    assert sorted(record.length for record in rollout.episodes) == [2, 2, 5]


# --- playing a number of episodes


def test_an_endless_episode_is_played_to_the_bound_and_said_so(caplog):
    env = ScriptedEnv(((2, TERMINATES),), LONG)
    records = play(actor_of(env), env, 4, policy="joint", explore=False, seed=0, max_steps=10)
    found = sorted((r.length, r.is_cut, round(r.episode_return, 2)) for r in records)
    cut = (10, True, 14.5)  # rewards 1.0 to 1.9
    assert found == [(2, False, 0.1)] * 2 + [cut] * 2
    assert len(env.received) == 20  # the second starts at a reset, after the first was cut
    assert env.seeds == [0, None]
    assert "2 of 4 episodes of scripted did not end within evaluation_max_steps=10" in caplog.text


def test_an_episode_of_as_many_steps_as_the_bound_is_whole(caplog):
    env = ScriptedEnv(((10, TERMINATES),))
    records = play(actor_of(env), env, 2, policy="joint", explore=False, seed=0, max_steps=10)
    assert [(r.length, r.is_cut) for r in records] == [(10, False)] * 2
    assert not caplog.text


@pytest.mark.parametrize("num_episodes", [1, 2, 3, 7])
def test_play_returns_exactly_as_many_episodes_as_asked(num_episodes):
    env = ScriptedEnv(((2, TERMINATES),), ((5, IS_CUT),))
    records = play(actor_of(env), env, num_episodes, policy="joint", explore=True, seed=3)
    assert len(records) == num_episodes
    assert env.seeds == [3]


def test_play_does_not_favour_short_episodes():
    env = ScriptedEnv(((1, TERMINATES),), ((50, TERMINATES),))
    records = play(actor_of(env), env, 6, policy="individual", explore=False, seed=0)
    assert sorted(r.length for r in records) == [1, 1, 1, 50, 50, 50]


def test_the_first_copies_play_the_episodes_that_do_not_divide_evenly():
    env = ScriptedEnv(((1, TERMINATES),), ((2, TERMINATES),), ((3, TERMINATES),))
    records = play(actor_of(env), env, 5, policy="joint", explore=True, seed=0)
    assert sorted(r.length for r in records) == [1, 1, 2, 2, 3]


def test_an_episode_that_crashed_is_played_again():
    env = ScriptedEnv(((1, CRASHES), (2, TERMINATES)))
    records = play(actor_of(env), env, 2, policy="joint", explore=True, seed=0)
    assert [r.length for r in records] == [2, 2]
    assert roll(ScriptedEnv(((1, CRASHES),)), 1).episodes[0].is_faulty


@pytest.mark.parametrize("policy", ["joint", "individual"])
def test_play_acts_by_the_policy_that_was_asked_for(policy):
    env = ScriptedEnv(((4, TERMINATES),), continuous=True)
    actor = actor_of(env, igc="none")
    play(actor, env, 1, policy=policy, explore=False, seed=0)
    observation = env.reset()
    rows = torch.from_numpy(pack_rows(actor.layout, observation)).unsqueeze(0)
    with torch.no_grad():
        output = actor.module(actor.layout.inputs(rows))
    means = {"joint": output.joint.mean, "individual": output.individual.mean}
    np.testing.assert_allclose(env.received[0], means[policy][0].numpy(), atol=1e-6)
    assert not torch.allclose(means["joint"], means["individual"])


def test_individual_play_never_reads_the_state():
    env = ScriptedEnv(((3, TERMINATES),), LONG)
    actor = actor_of(env)

    def blinded(rows):
        rows[:, actor.layout.slices["state"]] = np.nan
        return rows

    options = {"policy": "individual", "explore": False, "seed": 0}
    play(actor, env, 1, **options)
    seeing = env.received.copy()
    env.received.clear()
    play(actor, env, 1, row_filter=blinded, **options)
    np.testing.assert_array_equal(env.received, seeing)


def test_a_native_environment_is_played_through():
    env = make_vector_env("predator_prey", 3)
    records = play(actor_of(env), env, 4, policy="individual", explore=True, seed=0)
    assert len(records) == 4
    assert all(record.length >= 1 for record in records)


# --- recurrence


def test_the_recurrent_state_is_stored_before_each_step_and_forgotten_at_ends():
    env = ScriptedEnv(((2, TERMINATES),), ((3, IS_CUT),))
    actor = actor_of(env, use_gru=True)
    rollout = roll(env, 4, actor)
    assert len(rollout.hidden) == 4
    for part in ("individual", "modifier"):
        sizes = torch.stack([getattr(h, part).abs().amax((0, 2)) for h in rollout.hidden])
        is_zero = (sizes == 0).T.tolist()
        assert is_zero == [[True, False, True, False], [True, False, False, True]]


@pytest.mark.parametrize("policy", ["joint", "individual"])
def test_carrying_the_state_equals_running_the_sequence_at_once(policy):
    env = ScriptedEnv(LONG, LONG)
    actor = actor_of(env, use_gru=True)
    state = start(actor, env)
    hidden, rows, parameters = state.hidden, [], []
    for _ in range(4):
        row = pack_rows(actor.layout, state.observation)
        choice = actor.act(row, hidden, explore=False, policy=policy)
        rows.append(torch.from_numpy(row))
        parameters.append(choice.parameters)
        state.observation, hidden = env.step(choice.actions).observation, choice.hidden
    with torch.no_grad():
        inputs = actor.layout.inputs(torch.stack(rows))
        output = actor.module(inputs, actor.module.initial_state(2))
    expected = getattr(output, policy).flat().numpy()
    np.testing.assert_allclose(np.stack(parameters), expected, rtol=1e-4, atol=1e-5)


def test_recurrent_individual_play_forgets_at_ends():
    env = ScriptedEnv(((3, TERMINATES),))
    actor = actor_of(env, use_gru=True)
    seen = []
    act = actor.act

    def watched(rows, hidden, **options):
        seen.append(float(hidden.individual.abs().max()))
        return act(rows, hidden, **options)

    actor.act = watched
    play(actor, env, 2, policy="individual", explore=False, seed=0)
    assert [size == 0 for size in seen] == [True, False, False, True, False, False]


# --- scaling and filtering


def test_actions_are_scaled_for_the_environment_and_stored_unscaled():
    env = ScriptedEnv(LONG, LONG, continuous=True)
    bounds = env.spec.action_low, env.spec.action_high
    scaling = action_scaling(*bounds, normalize_actions=True, clip_actions=True)
    actor = actor_of(env, scaling=scaling)
    rollout = roll(env, 3, actor)
    received = np.stack(env.received)
    np.testing.assert_allclose(received, rollout.actions.clip(-1, 1) * 4 + 2, rtol=1e-5)
    assert np.abs(rollout.actions).max() > 1  # so the clip was in play
    inputs = actor.layout.inputs(torch.from_numpy(rollout.rows))
    with torch.no_grad():
        log_prob = actor.module(inputs).joint.log_prob(torch.from_numpy(rollout.actions))
    np.testing.assert_allclose(log_prob.numpy(), rollout.log_prob, rtol=1e-4, atol=1e-4)
    env.received.clear()
    play(actor, replace_length(env, 1), 1, policy="joint", explore=False, seed=0)
    assert (env.received[0] >= -2).all()
    assert (env.received[0] <= 6).all()


def replace_length(env, length):
    env.scripts = (((length, TERMINATES),),) * env.num_envs
    return env


def test_discrete_actions_reach_the_environment_as_they_are():
    env = ScriptedEnv(LONG, LONG)
    rollout = roll(env, 3)
    np.testing.assert_array_equal(np.stack(env.received), rollout.actions)
    assert rollout.actions.dtype.kind == "i"


@pytest.mark.parametrize("in_place", [True, False])
def test_the_filter_changes_all_rows_that_networks_see_and_leaves_the_raw_ones(in_place):
    env = ScriptedEnv(((2, IS_CUT),), LONG)
    actor = actor_of(env)
    columns = actor.layout.slices["state"]

    def shifted(rows):
        rows = rows if in_place else rows.copy()
        rows[:, columns] += 1000
        return rows

    rollout = roll(env, 3, actor, row_filter=shifted)
    np.testing.assert_array_equal(rollout.rows[..., columns], rollout.raw_rows[..., columns] + 1000)
    assert rollout.raw_rows[:, 0, columns].ravel().tolist() == [0, 1, 10]
    np.testing.assert_allclose(rollout.values[:, 0], [1000, 1001, 1010])
    # Also the observation behind a cut, and the one behind the fragment.
    following = np.array([1001, 1002, 1011])
    np.testing.assert_allclose(rollout.value_targets[:, 0], rollout.rewards[:, 0] + 0.5 * following)


def test_play_filters_rows_too():
    env = ScriptedEnv(((2, TERMINATES),))
    seen = []
    play(
        actor_of(env),
        env,
        1,
        policy="joint",
        explore=False,
        seed=0,
        row_filter=lambda rows: seen.append(rows.copy()) or rows,
    )
    assert len(seen) == 2


# --- pictures


@pytest.mark.parametrize("use_gru", [False, True])
def test_rendering_shows_every_step_of_one_episode(use_gru):
    env = ScriptedEnv(((3, IS_CUT),))
    actor = actor_of(env, use_gru=use_gru)
    options = {"policy": "individual", "explore": False, "seed": 5}
    frames = render(actor, env, row_filter=lambda rows: rows, **options)
    assert [frame.max() for frame in frames] == [0, 1, 2]
    assert env.seeds == [5]


def test_an_environment_that_draws_nothing_says_so():
    env = ScriptedEnv(((3, TERMINATES),))
    env.render = lambda env_index=0: None
    with pytest.raises(EnvContractError, match="scripted renders nothing"):
        render(actor_of(env), env, policy="joint", explore=False, seed=0)


def test_forgetting_touches_only_the_copies_that_ended():
    env = ScriptedEnv(LONG, LONG)
    hidden = actor_of(env, use_gru=True).module.initial_state(2)
    hidden = replace(hidden, individual=hidden.individual + 1, modifier=hidden.modifier + 2)
    after = reset_hidden(hidden, np.array([False, True]), np.ones((2, 2), bool))
    assert after.individual[:, 0].min() == 1
    assert after.modifier[:, 0].min() == 2
    assert after.individual[:, 1].abs().max() == after.modifier[:, 1].abs().max() == 0
    assert reset_hidden(hidden, np.array([False, False]), np.ones((2, 2), bool)) is hidden
    assert reset_hidden(None, np.array([True]), np.ones((1, 2), bool)) is None


def test_a_record_holds_what_its_own_copy_said_at_the_end_and_nothing_else():
    env = ScriptedEnv(((1, TERMINATES),), ((1, TERMINATES),), LONG)
    env.reset()
    step = env.step(np.zeros((3, 2), int))
    step = replace(step, info={"won": np.array([1.0, np.nan, np.nan])})
    records = EpisodeTracker(3, 2).add(step, step.terminated)
    assert {env_index: record.diagnostics for env_index, record in records.items()} == {
        0: {"won": 1.0},
        1: {},
    }
