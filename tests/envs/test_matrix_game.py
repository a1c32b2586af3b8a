"""Matrix games pay what their tables say, once or repeatedly, in both forms."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test as check_parallel_api

from rllib_agentmixer.envs.games.matrix_game import MatrixGame, VectorMatrixGame
from rllib_agentmixer.errors import ConfigError, EnvContractError

TABLES = {
    "climbing": [[0, 6, 5], [-30, 7, 0], [11, -30, 0]],
    "penalty": [[-100, 0, 10], [0, 2, 0], [10, 0, -100]],
    "nonmonotonic": [[-12, 0, 0], [-12, 0, 0], [8, -12, -12]],
}
OPTIMA = {"climbing": 11, "penalty": 10, "nonmonotonic": 8, "permutation": 1}


def play(env, actions):
    env.reset(seed=0)
    return env.step(dict(zip(env.possible_agents, actions, strict=True)))


@pytest.mark.parametrize("game", TABLES)
@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("second", range(3))
def test_every_joint_action_pays_its_entry_of_the_table(game, first, second):
    payoff = TABLES[game][first][second]
    _, rewards, terminated, truncated, _ = play(MatrixGame(game), (first, second))
    assert rewards == {"agent_0": payoff, "agent_1": payoff}
    assert terminated == {"agent_0": True, "agent_1": True}
    assert truncated == {"agent_0": False, "agent_1": False}


@pytest.mark.parametrize("game", TABLES)
def test_the_batched_form_pays_the_same_table(game):
    joint_actions = np.array(list(itertools.product(range(3), repeat=2)))
    vector = VectorMatrixGame(9, game=game)
    vector.reset(seed=0)
    result = vector.step(joint_actions)
    np.testing.assert_array_equal(result.reward, np.ravel(TABLES[game]))
    np.testing.assert_array_equal(result.agent_rewards, np.ravel(TABLES[game])[:, None] * [1, 1])


@pytest.mark.parametrize("k", [0, 25, 2.5])
def test_k_is_what_miscoordination_costs(k):
    assert play(MatrixGame("penalty", k=k), (0, 0))[1]["agent_0"] == -k
    assert MatrixGame("penalty", k=k).payoffs[2, 2] == -k


@pytest.mark.parametrize(
    ("actions", "payoff"),
    [((0, 1, 2, 3), 1), ((3, 1, 0, 2), 1), ((0, 1, 2, 2), 0), ((0, 1, 2, 0), 0), ((1, 1, 1, 1), 0)],
)
def test_permutation_pays_only_if_all_agents_differ(actions, payoff):
    assert play(MatrixGame("permutation"), actions)[1]["agent_3"] == payoff
    vector = VectorMatrixGame(1, game="permutation")
    vector.reset()
    assert vector.step(np.array([actions])).reward[0] == payoff


def test_permutation_has_as_many_optima_as_permutations():
    table = MatrixGame("permutation", num_agents=4).payoffs
    assert table.shape == (4, 4, 4, 4)
    assert table.sum() == 24
    assert table[1, 0, 3, 2] == 1


def test_permutation_runs_without_its_table_and_refuses_to_build_a_huge_one():
    game = MatrixGame("permutation", num_agents=30)
    assert play(game, range(30))[1]["agent_0"] == 1
    with pytest.raises(ConfigError, match="at most 7"):
        _ = game.payoffs


@pytest.mark.parametrize("game", OPTIMA)
def test_the_optimum_is_the_largest_payoff_times_the_repetitions(game):
    assert MatrixGame(game).optimum == OPTIMA[game] == MatrixGame(game).payoffs.max()
    assert MatrixGame(game, repeat=25).optimum == 25 * OPTIMA[game]


def test_payoffs_cannot_be_changed_from_outside():
    game = MatrixGame("climbing")
    game.payoffs[0, 0] = 99
    assert game.payoffs[0, 0] == 0


def test_repeat_pays_every_decision_and_ends_by_termination_after_the_last():
    game = MatrixGame("climbing", repeat=25)
    game.reset()
    total = 0.0
    for step in range(25):
        obs, rewards, terminated, truncated, _ = game.step({"agent_0": 2, "agent_1": 0})
        total += rewards["agent_0"]
        assert terminated["agent_0"] is (step == 24)
        assert truncated["agent_0"] is False
        np.testing.assert_array_equal(obs["agent_0"], [1.0])
    assert total == 275
    assert game.agents == []


def test_observation_and_state_are_constant():
    obs, _ = MatrixGame().reset()
    np.testing.assert_array_equal(obs["agent_1"], np.ones(1, np.float32))
    np.testing.assert_array_equal(MatrixGame().state(), np.ones(1, np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"game": "chicken"}, "chicken"),
        ({"game": "penalty", "k": -1}, "at least 0.*-1"),
        ({"game": "penalty", "k": float("nan")}, "nan"),
        ({"game": "climbing", "k": 3}, "k belongs to the penalty game"),
        ({"game": "permutation", "k": 3}, "k belongs to the penalty game"),
        ({"game": "climbing", "num_agents": 3}, "2 agents"),
        ({"game": "permutation", "num_agents": 1}, "at least 2"),
        ({"repeat": 0}, "repeat.*0"),
        ({"render_mode": "human"}, "human"),
    ],
)
def test_settings_that_make_no_game_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        MatrixGame(**arguments)


def test_illegal_and_missing_actions_are_refused():
    game = MatrixGame()
    with pytest.raises(EnvContractError, match="reset"):
        game.step({"agent_0": 0, "agent_1": 0})
    game.reset()
    with pytest.raises(EnvContractError, match=r"agent_1.*got 3"):
        game.step({"agent_0": 0, "agent_1": 3})
    with pytest.raises(EnvContractError, match=r"agent_1.*None"):
        game.step({"agent_0": 0})


def test_the_batched_form_refuses_steps_before_reset_and_wrong_shapes():
    vector = VectorMatrixGame(2)
    with pytest.raises(EnvContractError, match="reset"):
        vector.step(np.zeros((2, 2), int))
    vector.reset()
    with pytest.raises(EnvContractError, match=r"\(2, 2\).*\(1, 2\)"):
        vector.step(np.zeros((1, 2), int))


@given(
    game=st.sampled_from([*TABLES, "permutation"]),
    repeat=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=20, deadline=None)
def test_both_forms_agree_over_whole_episodes(helpers, game, repeat, seed):
    envs = [MatrixGame(game, repeat=repeat) for _ in range(3)]
    vector = VectorMatrixGame(3, game=game, repeat=repeat)
    rng = np.random.default_rng(seed)
    shape = (3, vector.spec.num_agents)
    helpers.check_forms_agree(
        envs, vector, lambda v: rng.integers(v.spec.num_actions, size=shape), 10, seed
    )


@pytest.mark.parametrize("game", OPTIMA)
def test_pettingzoos_api_test_passes(game):
    check_parallel_api(MatrixGame(game, repeat=3), num_cycles=30)


def test_the_last_joint_action_is_drawn():
    game = MatrixGame("climbing", render_mode="rgb_array")
    game.reset()
    before = game.render()
    game.step({"agent_0": 2, "agent_1": 0})
    assert before.shape == game.render().shape == (2 * 48 + 1, 3 * 48 + 1, 3)
    assert (before != game.render()).any()
    text = MatrixGame("climbing", render_mode="ansi")
    text.reset()
    assert "no action" in text.render()
    text.step({"agent_0": 2, "agent_1": 0})
    assert "[2, 0], payoff 11" in text.render()
    assert MatrixGame().render() is None


def test_a_snapshot_continues_within_a_repeated_episode(helpers):
    helpers.check_continuation(lambda: VectorMatrixGame(2, repeat=7), num_after=20)
