"""Predator-prey: fresh boards, settings, both forms against each other, snapshots, pictures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test as check_parallel_api

from rllib_agentmixer.envs.games.predator_prey import PRESETS, PredatorPrey
from rllib_agentmixer.envs.games.predator_prey_vector import PREDATOR, VectorPredatorPrey
from rllib_agentmixer.errors import ConfigError, EnvContractError

DOWN, LEFT, UP, RIGHT, STAY = range(5)


# Fresh episodes.


@pytest.mark.parametrize("preset", PRESETS)
def test_a_fresh_board_is_free_of_collisions_and_of_guarded_prey(preset):
    env = PredatorPrey(preset)
    for seed in range(100):
        env.reset(seed=seed)
        everything = [*env._predators, *env._prey]
        assert (
            len(everything)
            == len(set(everything))
            == sum(PRESETS[preset][name] for name in ("num_predators", "num_prey"))
        )
        assert all(env._adjacent_predators(cell) == 0 for cell in env._prey)


def test_every_cell_is_about_equally_likely_for_the_first_predator():
    env = VectorPredatorPrey(5000)
    places = env.reset(seed=0).obs[:, 0, :2]
    counts = np.bincount((places @ [20, 4]).round().astype(int), minlength=25)
    assert counts.min() > 130  # 200 expected, standard deviation 14
    assert counts.max() < 270


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "9x9"}, "9x9"),
        ({"grid": 1}, "grid.*1"),
        ({"grid": "5"}, "grid.*'5'"),
        ({"num_predators": 0}, "num_predators.*0"),
        ({"num_prey": True}, "num_prey.*True"),
        ({"grid": 3}, "too crowded.*3x3|3x3.*too crowded"),
        ({"penalty": 1.5}, "did you mean -1.5"),
        ({"step_cost": float("inf")}, "step_cost.*inf"),
        ({"capture_reward": None}, "capture_reward.*None"),
        ({"max_steps": 0}, "max_steps.*0"),
        ({"view_radius": -1}, "view_radius.*>= 0.*-1"),
        ({"view_radius": 1.5}, "view_radius.*1.5"),
        ({"view_radius": "all"}, "view_radius.*'all'"),
    ],
)
def test_settings_that_make_no_game_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        PredatorPrey(**arguments)


def test_stepping_a_finished_episode_is_refused():
    env = PredatorPrey(max_steps=1)
    env.reset(seed=0)
    stay = {"predator_0": STAY, "predator_1": STAY}
    env.step(stay)
    with pytest.raises(EnvContractError, match="reset"):
        env.step(stay)


# Both forms.


def chase(vector, rng):
    """Half the time towards the first prey, else at random: catches, penalties, escapes."""
    N = vector.spec.num_agents
    places = vector._state[:, : 2 * N].reshape(-1, N, 2)
    down, right = np.moveaxis(vector._state[:, None, 2 * N : 2 * N + 2] - places, -1, 0)
    by_row = np.where(down > 0, DOWN, UP)
    by_column = np.where(right > 0, RIGHT, LEFT)
    towards = np.where(abs(down) > abs(right), by_row, by_column)
    return np.where(rng.random(down.shape) < 0.5, towards, rng.integers(5, size=down.shape))


@given(
    preset=st.sampled_from(list(PRESETS)),
    penalty=st.sampled_from([0.0, -1.0, -1.5]),
    max_steps=st.integers(5, 25),
    view_radius=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_both_forms_agree_over_whole_episodes(
    helpers, preset, penalty, max_steps, view_radius, seed
):
    arguments = {"penalty": penalty, "max_steps": max_steps, "view_radius": view_radius}
    envs = [PredatorPrey(preset, **arguments) for _ in range(3)]
    vector = VectorPredatorPrey(3, preset=preset, **arguments)
    rng = np.random.default_rng(seed)
    helpers.check_forms_agree(envs, vector, lambda v: chase(v, rng), 3 * max_steps, seed)


@pytest.mark.parametrize("preset", PRESETS)
def test_both_forms_agree_through_catches_and_time_limits(helpers, preset):
    envs = [PredatorPrey(preset, max_steps=60) for _ in range(4)]
    vector = VectorPredatorPrey(4, preset=preset, max_steps=60)
    rng = np.random.default_rng(7)
    steps = helpers.check_forms_agree(envs, vector, lambda v: chase(v, rng), 400, seed=7)
    assert any(step.reward.max() > 5 for step in steps), "nothing was caught"
    assert any(step.truncated.any() for step in steps) or preset == "5x5"
    assert any(step.terminated.any() for step in steps) or preset == "10x10"
    assert not any((step.terminated & step.truncated).any() for step in steps)


@pytest.mark.parametrize("radius", [0, 1, 2, 4])
def test_both_forms_agree_on_every_view_from_nothing_to_the_whole_board(helpers, radius):
    envs = [PredatorPrey(num_prey=2, max_steps=20, view_radius=radius) for _ in range(4)]
    vector = VectorPredatorPrey(4, num_prey=2, max_steps=20, view_radius=radius)
    rng = np.random.default_rng(radius)
    steps = helpers.check_forms_agree(envs, vector, lambda v: chase(v, rng), 100, seed=radius)
    assert any(step.reward.max() > 5 for step in steps), "nothing was caught"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_widest_view_holds_all_living_prey_and_the_narrowest_none(preset):
    size = PRESETS[preset]["grid"]
    rng = np.random.default_rng(0)
    for radius in (0, size - 1):
        env = VectorPredatorPrey(4, preset=preset, max_steps=30, view_radius=radius)
        env.reset(seed=0)
        for _ in range(60):
            living = env._state[:, -1 - env.settings.num_prey : -1].sum(axis=1)
            for predator in range(env.spec.num_agents):
                seen = env._obs[:, predator, 2:-1].sum(axis=1)
                np.testing.assert_array_equal(seen, living if radius else 0 * living)
            env.step(chase(env, rng))


def test_no_predator_is_ever_erased_from_the_batched_board(helpers):
    env = VectorPredatorPrey(4, num_prey=3, max_steps=50)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(200):
        env.step(chase(env, rng))
        assert np.count_nonzero(env._cells == PREDATOR) == 8
        assert (env._cells[env._predators] == PREDATOR).all()


def test_one_environment_of_a_batch_does_not_depend_on_the_others(helpers):
    # The boards lie end to end: a fault at the border would show here.
    lonely = VectorPredatorPrey(1, preset="7x7", max_steps=20)
    crowded = VectorPredatorPrey(5, preset="7x7", max_steps=20)
    lonely.reset(seed=0)
    crowded.reset(seed=1)
    for name in lonely.dynamic:
        source, target = getattr(lonely, name), getattr(crowded, name)
        if name == "_cells":
            target.reshape(5, -1)[2] = source
        elif name == "_time":
            target[2] = source[0]
        else:
            offset = 2 * lonely._board if name in ("_predators", "_prey") else 0
            target[:, 2] = source[:, 0] + offset
    rng = np.random.default_rng(0)
    for _ in range(15):
        actions = rng.integers(5, size=(5, 4))
        draws = rng.integers(40, size=(5, 2, 5)).astype(np.uint8)
        for env, rows in ((lonely, slice(2, 3)), (crowded, slice(0, 5))):
            env._rng = helpers.ScriptedGenerator()
            env._rng.queue.append(draws[rows])
            env._advance(actions[rows], env._rng)
        np.testing.assert_array_equal(lonely._cells, crowded._cells.reshape(5, -1)[2])


@pytest.mark.parametrize("preset", PRESETS)
def test_pettingzoos_api_test_passes(preset):
    check_parallel_api(PredatorPrey(preset, max_steps=20), num_cycles=60)


def test_a_snapshot_continues_bit_for_bit(helpers):
    helpers.check_continuation(lambda: VectorPredatorPrey(3, preset="7x7", max_steps=20))


def test_a_snapshot_does_not_change_when_the_environment_goes_on(helpers):
    env = VectorPredatorPrey(2)
    env.reset(seed=0)
    snapshot = env.get_state()
    before = snapshot["arrays"]["_predators"].copy()
    for step in range(5):
        env.step(helpers.random_actions(env, step))
    np.testing.assert_array_equal(snapshot["arrays"]["_predators"], before)


# Pictures.


def test_predators_and_prey_are_drawn_as_discs_of_their_own_colours():
    env = PredatorPrey(render_mode="rgb_array")
    env.reset(seed=0)
    env._predators, env._prey = [(0, 0), (4, 4)], [(2, 1)]
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.shape == (5 * 48 + 1, 5 * 48 + 1, 3)

    def middle(row, column):
        return tuple(picture[row * 48 + 24, column * 48 + 24])

    assert middle(0, 0) == middle(4, 4) != middle(2, 1)
    assert middle(2, 1) != middle(3, 3)
    assert middle(3, 3) == middle(1, 2)


def test_the_batched_form_draws_the_same_picture():
    vector = VectorPredatorPrey(2)
    vector.reset(seed=0)
    N = vector.settings.num_predators
    cells = (vector._state[1, : 2 * N + 2].reshape(-1, 2) * 4).round().astype(int).tolist()
    env = PredatorPrey(render_mode="rgb_array")
    env.reset(seed=0)
    env._predators, env._prey = [tuple(c) for c in cells[:N]], [tuple(c) for c in cells[N:]]
    np.testing.assert_array_equal(vector.render(1), env.render())


def test_the_text_picture_shows_where_everything_is():
    env = PredatorPrey(render_mode="ansi")
    env.reset(seed=0)
    env._predators, env._prey = [(0, 0), (1, 4)], [(4, 2)]
    assert env.render() == "0 . . . .\n. . . . 1\n. . . . .\n. . . . .\n. . x . ."
