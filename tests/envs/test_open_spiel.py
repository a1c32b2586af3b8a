"""OpenSpiel's games as teams: rewards, chance, state and limits are the game's own."""

import pickle

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from rllib_agentmixer.envs import make_env, make_vector_env
from rllib_agentmixer.errors import ConfigError, EnvContractError

pyspiel = pytest.importorskip("pyspiel")

LEFT, RIGHT, FORWARD, STAY = range(4)


def both(action, other=None):
    return {"agent_0": action, "agent_1": action if other is None else other}


class Recorder:
    """A generator that writes down what it draws."""

    def __init__(self, rng):
        self.rng, self.drawn = rng, []

    def choice(self, size, p):
        self.drawn.append(int(self.rng.choice(size, p=p)))
        return self.drawn[-1]


def test_play_is_the_games(helpers):
    env = make_env("coop_box_pushing", horizon=30)
    env.reset(seed=0)
    env.np_random = Recorder(env.np_random)
    rng = np.random.default_rng(1)
    state = pyspiel.load_game("coop_box_pushing", {"horizon": 30}).new_initial_state()
    total = 0.0
    while env.agents:
        actions = {name: int(rng.integers(4)) for name in env.agents}
        env.np_random.drawn.clear()
        obs, rewards, terminated, truncated, _ = env.step(actions)
        state.apply_actions(list(actions.values()))
        for outcome in env.np_random.drawn:
            state.apply_action(state.chance_outcomes()[outcome][0])
        assert str(env._states[0]) == str(env._states[1]) == str(state)
        for index, name in enumerate(env.possible_agents):
            assert obs[name].tolist() == state.observation_tensor(index)
            assert obs[name].dtype == np.float32
        assert list(rewards.values()) == pytest.approx(state.rewards())
        total += rewards["agent_0"]
        assert bool(env.agents) == (not state.is_terminal())
    assert total == pytest.approx(state.returns()[0])
    assert not any(terminated.values())
    assert all(truncated.values())


def test_chance_follows_its_probabilities_and_the_seed():
    def outcome(seed):
        env = make_env("coop_box_pushing")
        env.reset(seed=seed)
        env.step(both(LEFT))
        return str(env._states[0])

    assert [outcome(seed) for seed in range(10)] == [outcome(seed) for seed in range(10)]
    # Turning succeeds nine times out of ten.
    turned = sum("^" in outcome(seed) for seed in range(300))
    assert 250 < turned < 290


def test_the_state_is_what_a_full_observer_sees():
    env = make_env("coop_box_pushing")
    env.reset(seed=0)
    assert env.state_space.contains(env.state())
    spec = make_vector_env("coop_box_pushing", 1).spec
    assert (spec.state_kind, spec.state_size, spec.obs_sizes) == ("env", 704, (5, 5))
    before = env.state()
    env.step(both(LEFT))
    assert not np.array_equal(env.state(), before)


def pushing_together(env):
    """Both go below the large box, look up, wait for each other, and push."""
    board = [line for line in str(env._states[0]).splitlines() if line and ":" not in line]
    found = {}
    for row, line in enumerate(board):
        for column, sign in enumerate(line):
            if sign in "<>^v":
                found["agent_0" if column < 4 else "agent_1"] = (row, column, sign)
    box = next(row for row, line in enumerate(board) if "B" in line)
    are_ready = all(row == box + 1 and sign == "^" for row, _, sign in found.values())
    actions = {}
    for name, target, turn in (("agent_0", 3, LEFT), ("agent_1", 4, RIGHT)):
        row, column, sign = found[name]
        if sign != "^":
            actions[name] = FORWARD if column != target else turn
        else:
            actions[name] = FORWARD if row > box + 1 or are_ready else STAY
    return actions


def test_pushing_the_large_box_home_terminates_with_100():
    env = make_env("coop_box_pushing", render_mode="ansi")
    for seed in range(5):
        env.reset(seed=seed)
        while env.agents:
            _, rewards, terminated, truncated, _ = env.step(pushing_together(env))
        assert rewards["agent_0"] == pytest.approx(100)
        assert all(terminated.values())
        assert not any(truncated.values())


def test_masks_hold_the_legal_actions():
    env = make_env("open_spiel", game="matrix_coordination")
    _, infos = env.reset()
    assert infos["agent_0"]["action_mask"].tolist() == [1, 1]
    _, rewards, terminated, _, infos = env.step(both(1, 1))
    assert rewards == {"agent_0": 1.0, "agent_1": 1.0}
    assert all(terminated.values())
    with pytest.raises(NotImplementedError):
        env.state()
    with pytest.raises(EnvContractError, match="call reset"):
        env.step(both(0))


def test_a_forbidden_action_is_named():
    env = make_env("coop_box_pushing")
    env.reset()
    with pytest.raises(EnvContractError, match=r"agent_1 may do \[0, 1, 2, 3\], got 7"):
        env.step(both(0, 7))


def test_the_interface_is_pettingzoos():
    parallel_api_test(make_env("coop_box_pushing"), num_cycles=120)


def test_a_snapshot_continues_bit_for_bit(helpers):
    def make():
        return make_vector_env("coop_box_pushing", 2, config={"horizon": 12})

    helpers.check_continuation(make, num_before=5, num_after=20)


def test_one_environment_can_be_pickled():
    env = make_env("coop_box_pushing")
    env.reset(seed=0)
    env.step(both(FORWARD))
    other = pickle.loads(pickle.dumps(env))  # noqa: S301
    for _ in range(20):
        env.step(both(FORWARD))
        other.step(both(FORWARD))
    assert str(env._states[0]) == str(other._states[0])
    np.testing.assert_array_equal(env.state(), other.state())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"game": "coop_box_pusching"}, "no game 'coop_box_pusching'"),
        ({"game": "goofspiel"}, "not a cooperative game of simultaneous moves .*ZERO_SUM"),
        ({"game": "hanabi"}, "no game|SEQUENTIAL"),
        ({"game": "tic_tac_toe"}, "SEQUENTIAL"),
        ({"horizont": 3}, "rejects {'horizont': 3}"),
        ({"render_mode": "human"}, "must be None or one of .*'ansi', 'rgb_array'"),
        ({"game": "matrix_coordination", "render_mode": "rgb_array"}, r"one of \['ansi'\]"),
    ],
)
def test_what_is_no_team_game_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_env("open_spiel", **settings)


def test_text_and_pictures_show_the_board():
    text = make_env("coop_box_pushing", render_mode="ansi")
    text.reset(seed=0)
    assert ".b.BB.b." in text.render()
    env = make_env("coop_box_pushing", render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (8 * 48 + 1, 8 * 48 + 1, 3)
    colours = {tuple(picture[48 * 3 + 24, 48 * column + 24]) for column in (1, 3)}
    assert colours == {(214, 186, 148), (214, 69, 65)}
