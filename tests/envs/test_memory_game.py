"""The memory game: its rules in both forms, and what can be reached with and without memory."""

import itertools

import numpy as np
import pytest
from envs_test_scenarios import answer_batched, answer_single_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test as check_parallel_api

from rllib_agentmixer.envs.games import drawing
from rllib_agentmixer.envs.games.memory_game import MemoryGame, VectorMemoryGame
from rllib_agentmixer.errors import ConfigError, EnvContractError


@pytest.fixture(params=[answer_single_env, answer_batched], ids=["single", "batched"])
def play(request):
    return request.param


# The rules.


@pytest.mark.parametrize(
    ("last", "reward"), [((2, 2), 1), ((2, 0), 0), ((0, 2), 0), ((1, 1), 0), ((3, 2), 0)]
)
def test_the_last_decision_pays_if_all_agents_name_the_cue(play, last, reward):
    seen = play(2, [(0, 0)] * 4 + [last])
    assert seen.rewards == [0, 0, 0, 0, reward]
    assert seen.terminated == [False] * 4 + [True]


def test_earlier_answers_do_not_count(play):
    seen = play(1, [(1, 1)] * 2 + [(0, 0)], delay=2)
    assert seen.rewards == [0, 0, 0]


@pytest.mark.parametrize("num_agents", [1, 3])
def test_every_agent_must_be_right(play, num_agents):
    arguments = {"num_agents": num_agents, "delay": 1, "num_cues": 2}
    right = [1] * num_agents
    assert play(1, [right, right], **arguments).rewards == [0, 1]
    assert play(1, [right, [*right[1:], 0]], **arguments).rewards == [0, 0]


def test_the_cue_is_seen_in_the_first_observation_alone(play):
    seen = play(2, [(0, 0)] * 4, delay=3)
    cues = np.array([agents[:, :-1] for agents in seen.obs])
    np.testing.assert_array_equal(cues[0], [[0, 0, 1, 0]] * 2)
    assert not cues[1:].any()


@pytest.mark.parametrize("delay", [1, 3])
def test_the_flag_announces_the_last_decision(play, delay):
    seen = play(2, [(0, 0)] * (delay + 1), delay=delay)
    flags = [list(agents[:, -1]) for agents in seen.obs]
    assert flags == [[0, 0]] * delay + [[1, 1]] + [[0, 0]]


def test_the_state_always_holds_the_cue_time_and_the_flag(play):
    seen = play(1, [(0, 0)] * 3, delay=2, num_cues=3)
    times = [0, 1 / 3, 2 / 3, 1]
    expected = [[0, 1, 0, time, flag] for time, flag in zip(times, (0, 0, 1, 0), strict=True)]
    np.testing.assert_allclose(seen.states, expected, rtol=1e-6)


@pytest.mark.parametrize("num_cues", [2, 3, 5])
def test_every_cue_is_about_equally_likely(num_cues):
    state = VectorMemoryGame(4000, num_cues=num_cues).reset(seed=0).state
    np.testing.assert_allclose(state[:, :-2].mean(axis=0), 1 / num_cues, atol=0.03)
    game = MemoryGame(num_cues=num_cues)
    game.reset(seed=0)
    counts = np.zeros(num_cues)
    for _ in range(1000):
        game.reset()
        counts += game.state()[:-2]
    np.testing.assert_allclose(counts / 1000, 1 / num_cues, atol=0.06)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_agents": 0}, "num_agents.*>= 1.*0"),
        ({"num_agents": True}, "num_agents.*True"),
        ({"num_cues": 1}, "num_cues.*>= 2.*1"),
        ({"num_cues": "4"}, "num_cues.*'4'"),
        ({"delay": 0}, "delay.*>= 1.*0"),
        ({"delay": 2.5}, "delay.*2.5"),
        ({"render_mode": "human"}, "human"),
    ],
)
def test_settings_that_make_no_game_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        MemoryGame(**arguments)
    if "render_mode" not in arguments:
        with pytest.raises(ConfigError, match=message):
            VectorMemoryGame(2, **arguments)


def test_illegal_actions_and_steps_after_the_end_are_refused():
    game = MemoryGame(delay=1)
    game.reset(seed=0)
    with pytest.raises(EnvContractError, match=r"agent_1.*got 4"):
        game.step({"agent_0": 0, "agent_1": 4})
    for _ in range(2):
        game.step({"agent_0": 0, "agent_1": 0})
    with pytest.raises(EnvContractError, match="reset"):
        game.step({"agent_0": 0, "agent_1": 0})


# What can be reached.


def returns_by_cue(tables, num_cues, delay):
    """[policies, K] returns of joint deterministic policies per sub-environment and cue.

    ``tables`` is [policies, N, K+2]: each agent's action for the K observations with a cue,
    the empty one and the one with the flag. There are no others.
    """
    B, N = tables.shape[:2]
    returns = np.zeros((B, num_cues))
    for cue in range(num_cues):
        vector = VectorMemoryGame(B, num_agents=N, num_cues=num_cues, delay=delay)
        vector.reset(seed=0)
        vector._cues[:] = cue
        vector._observe(slice(None))
        obs = vector._obs
        for _ in range(delay + 1):
            empty = ~obs.any(axis=-1)
            cues, flag = obs[..., :-1], obs[..., -1:]
            kind = np.concatenate([cues, empty[..., None], flag], axis=-1).argmax(axis=-1)
            actions = np.take_along_axis(tables, kind[..., None], axis=-1)[..., 0]
            result = vector.step(actions)
            obs = result.observation.obs
            returns[:, cue] += result.reward
        assert result.terminated.all()
    return returns


@pytest.mark.parametrize(
    ("num_agents", "num_cues", "delay"), [(1, 2, 1), (1, 3, 2), (2, 2, 1), (2, 2, 3), (3, 2, 1)]
)
def test_no_deterministic_policy_without_memory_beats_one_in_k(num_agents, num_cues, delay):
    own = list(itertools.product(range(num_cues), repeat=num_cues + 2))
    tables = np.array(list(itertools.product(own, repeat=num_agents)))
    expected = returns_by_cue(tables, num_cues, delay).mean(axis=1)
    game = MemoryGame(num_agents, num_cues, delay)
    assert expected.max() == pytest.approx(game.memoryless_optimum) == 1 / num_cues


@pytest.mark.parametrize(("num_agents", "num_cues"), [(1, 3), (2, 2), (2, 4), (3, 3)])
def test_no_mixture_of_policies_without_memory_beats_one_in_k(num_agents, num_cues):
    # What the team answers last is all that counts, so mixtures are over joint answers.
    answers = np.array(list(itertools.product(range(num_cues), repeat=num_agents)))
    tables = np.repeat(answers[:, :, None], num_cues + 2, axis=2)
    pure = returns_by_cue(tables, num_cues, delay=1).mean(axis=1)
    bound = MemoryGame(num_agents, num_cues).memoryless_optimum + 1e-9
    rng = np.random.default_rng(0)
    for concentration in (0.05, 1.0):
        together = rng.dirichlet(np.full(len(answers), concentration), size=300)
        assert (together @ pure).max() <= bound
        own = rng.dirichlet(np.full(num_cues, concentration), size=(300, num_agents))
        chances = own[:, np.arange(num_agents), answers].prod(axis=-1)  # [mixtures, answers]
        np.testing.assert_allclose(chances.sum(axis=1), 1.0)
        assert (chances @ pure).max() <= bound


def test_remembering_the_cue_pays_the_optimum(play):
    for cue in range(4):
        remembered = play(cue, []).obs[0][:, :-1].argmax(axis=1).tolist()
        seen = play(cue, [[0, 0]] * 4 + [remembered])
        assert sum(seen.rewards) == MemoryGame().optimum == 1


# Both forms.


@given(
    num_agents=st.integers(1, 3),
    num_cues=st.integers(2, 5),
    delay=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_both_forms_agree_over_whole_episodes(helpers, num_agents, num_cues, delay, seed):
    arguments = {"num_agents": num_agents, "num_cues": num_cues, "delay": delay}
    envs = [MemoryGame(**arguments) for _ in range(4)]
    vector = VectorMemoryGame(4, **arguments)
    rng = np.random.default_rng(seed)

    def often_right(vector):
        guesses = rng.integers(num_cues, size=(4, num_agents))
        return np.where(rng.random((4, num_agents)) < 0.7, vector._cues[:, None], guesses)

    steps = helpers.check_forms_agree(envs, vector, often_right, 8 * (delay + 1), seed)
    assert sum(step.terminated.all() for step in steps) == 8


def test_pettingzoos_api_test_passes():
    check_parallel_api(MemoryGame(num_agents=3), num_cycles=30)


def test_a_snapshot_continues_bit_for_bit(helpers):
    helpers.check_continuation(lambda: VectorMemoryGame(3, delay=3), num_before=6)


# Pictures.


def test_the_cue_and_the_last_answers_are_drawn():
    game = MemoryGame(render_mode="rgb_array")
    game.reset(seed=0)
    game._cue = 1
    before = game.render()
    game.step({"agent_0": 1, "agent_1": 3})
    after = game.render()
    assert before.shape == after.shape == (2 * 48 + 1, 4 * 48 + 1, 3)

    def middle(picture, row, column):
        return tuple(picture[row * 48 + 24, column * 48 + 24])

    assert middle(before, 0, 1) == middle(before, 1, 1) == middle(after, 1, 1)
    assert len({middle(after, *at) for at in ((0, 0), (0, 1), (1, 1), (1, 3))}) == 4
    text = MemoryGame(render_mode="ansi")
    text.reset(seed=0)
    text._cue = 3
    assert text.render() == "cue 3, decision 0 of 5, actions none yet"
    text.step({"agent_0": 1, "agent_1": 3})
    assert text.render() == "cue 3, decision 1 of 5, actions [1, 3]"


def test_the_batched_form_draws_the_same_picture():
    vector, game = VectorMemoryGame(2), MemoryGame(render_mode="rgb_array")
    vector.reset(seed=0)
    game.reset(seed=0)
    game._cue = int(vector._cues[1])
    np.testing.assert_array_equal(vector.render(1), game.render())
    actions = np.array([[0, 0], [1, 3]])
    vector.step(actions)
    actions[:] = 2  # a caller may use its array again
    game.step({"agent_0": 1, "agent_1": 3})
    np.testing.assert_array_equal(vector.render(1), game.render())


def test_a_fresh_episode_shows_no_answers():
    game, vector = MemoryGame(render_mode="ansi"), VectorMemoryGame(1)
    game.reset(seed=0)
    vector.reset(seed=0)
    empty = (vector.render() == drawing.PAPER).all(axis=-1).mean()
    for _ in range(5):
        game.step({"agent_0": 1, "agent_1": 3})
        vector.step(np.array([[1, 3]]))
    game.reset()
    assert game.render().endswith("actions none yet")
    assert (vector.render() == drawing.PAPER).all(axis=-1).mean() == empty
