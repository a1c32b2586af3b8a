"""The continuous game's reward, optimum and randomness, in both forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test as check_parallel_api

from rllib_agentmixer.envs.games.continuous_game import ContinuousGame, VectorContinuousGame
from rllib_agentmixer.errors import ConfigError, EnvContractError


def play(game, targets, actions):
    game.reset(seed=0)
    game._targets = np.array(targets, np.float32)
    rows = np.array(actions, np.float32)
    return game.step(dict(zip(game.possible_agents, rows, strict=True)))


def test_hitting_every_target_pays_the_optimum():
    game = ContinuousGame(num_agents=3, dimensions=2)
    obs, _ = game.reset(seed=1)
    _, rewards, terminated, truncated, _ = game.step(obs)
    assert rewards["agent_2"] == pytest.approx(1.0) == game.optimum
    assert terminated["agent_0"] is True
    assert truncated["agent_0"] is False


@pytest.mark.parametrize(
    ("actions", "coupling", "reward"),
    [
        # Errors 0.5 and 0.5: own 0.25; the mean is off by 0.5: common 0.25.
        ([[0.5], [0.0]], 1.0, 1 - 0.25 - 0.25),
        # Errors 0.5 and -0.5 cancel in the mean.
        ([[0.5], [-1.0]], 1.0, 1 - 0.25),
        # Errors 0.5 and 0: own 0.125; the mean is off by 0.25: common 0.0625.
        ([[0.5], [-0.5]], 1.0, 1 - 0.125 - 0.0625),
        ([[0.5], [-0.5]], 2.0, 1 - 0.125 - 0.125),
        ([[0.5], [-0.5]], 0.0, 1 - 0.125),
    ],
)
def test_reward_has_hand_computed_values(actions, coupling, reward):
    game = ContinuousGame(coupling=coupling)
    assert play(game, [[0.0], [-0.5]], actions)[1]["agent_0"] == pytest.approx(reward)


def test_dimensions_are_averaged():
    game = ContinuousGame(num_agents=1, dimensions=2)
    # Errors 1 and 0 in two dimensions: own and common are both 0.5.
    assert play(game, [[0, 0]], [[1, 0]])[1]["agent_0"] == pytest.approx(0.0)


def test_an_agent_sees_its_own_target_and_the_state_all_of_them():
    game = ContinuousGame(num_agents=2, dimensions=3)
    obs, _ = game.reset(seed=4)
    assert obs["agent_0"].shape == (3,)
    assert not np.array_equal(obs["agent_0"], obs["agent_1"])
    np.testing.assert_array_equal(game.state(), np.concatenate([obs["agent_0"], obs["agent_1"]]))


def test_targets_stay_for_an_episode_and_change_after_it():
    game = ContinuousGame(repeat=2)
    first, _ = game.reset(seed=4)
    second, *_ = game.step(first)
    np.testing.assert_array_equal(first["agent_0"], second["agent_0"])
    _, _, terminated, _, _ = game.step(first)
    assert terminated["agent_1"] is True
    third, _ = game.reset()
    assert not np.array_equal(first["agent_0"], third["agent_0"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_agents": 0}, "num_agents.*0"),
        ({"dimensions": 1.5}, "dimensions.*1.5"),
        ({"repeat": 0}, "repeat"),
        ({"coupling": -1}, "coupling.*-1"),
    ],
)
def test_settings_that_make_no_game_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ContinuousGame(**arguments)


def test_an_action_outside_the_bounds_is_refused():
    game = ContinuousGame(num_agents=1)
    game.reset()
    with pytest.raises(EnvContractError, match="agent_0"):
        game.step({"agent_0": np.array([1.5], np.float32)})


@given(
    num_agents=st.integers(1, 3),
    dimensions=st.integers(1, 3),
    repeat=st.integers(1, 3),
    coupling=st.floats(0, 5),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_both_forms_agree_over_whole_episodes(
    helpers, num_agents, dimensions, repeat, coupling, seed
):
    arguments = {
        "num_agents": num_agents,
        "dimensions": dimensions,
        "repeat": repeat,
        "coupling": coupling,
    }
    envs = [ContinuousGame(**arguments) for _ in range(3)]
    vector = VectorContinuousGame(3, **arguments)
    rng = np.random.default_rng(seed)
    shape = (3, num_agents, dimensions)
    helpers.check_forms_agree(
        envs, vector, lambda _: rng.uniform(-1, 1, shape).astype(np.float32), 7, seed
    )


def test_the_spec_carries_the_bounds():
    spec = VectorContinuousGame(1, num_agents=3, dimensions=2).spec
    assert spec.action_kind == "continuous"
    assert spec.action_sizes == (2, 2, 2)
    np.testing.assert_array_equal(spec.action_low, -np.ones((3, 2)))
    np.testing.assert_array_equal(spec.action_high, np.ones((3, 2)))


def test_pettingzoos_api_test_passes():
    check_parallel_api(ContinuousGame(num_agents=3, dimensions=2, repeat=5), num_cycles=30)


def test_targets_and_actions_are_drawn():
    game = ContinuousGame(render_mode="rgb_array")
    obs, _ = game.reset(seed=0)
    before = game.render()
    game.step(obs)
    assert before.shape == (2 * 32 + 1, 21 * 32 + 1, 3)
    assert (before != game.render()).any()
    text = ContinuousGame(render_mode="ansi")
    text.reset(seed=0)
    assert "none yet" in text.render()


def test_a_snapshot_continues_bit_for_bit(helpers):
    helpers.check_continuation(lambda: VectorContinuousGame(3, repeat=4))
