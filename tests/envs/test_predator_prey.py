"""Predator-prey, rule by rule, in both forms; then both forms against each other."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test as check_parallel_api

from rllib_agentmixer.envs.predator_prey import PRESETS, PREY_MOVES, PredatorPrey
from rllib_agentmixer.envs.predator_prey_vector import FREE, PREDATOR, PREY, VectorPredatorPrey
from rllib_agentmixer.errors import ConfigError, EnvContractError

DOWN, LEFT, UP, RIGHT, STAY = range(5)
COST = -0.01


def draws_of(*moves):
    """Five draws of one prey that begin with these moves and go on with the last one."""
    first_draw = [int(np.flatnonzero(PREY_MOVES == move)[0]) for move in range(5)]
    moves = [*moves, *[moves[-1]] * (5 - len(moves))]
    return [first_draw[move] for move in moves]


@dataclass
class Seen:
    """What is left after a forced step."""

    reward: float
    terminated: bool
    truncated: bool
    predators: list
    prey: list
    obs: np.ndarray
    state: np.ndarray


def play_one_copy(scripted, predators, prey, actions, draws, time, **arguments):
    env = PredatorPrey(num_predators=len(predators), num_prey=len(prey), **arguments)
    env.reset(seed=0)
    env._predators, env._prey, env._time = list(predators), list(prey), time
    env.np_random = scripted
    scripted.queue.append(np.array(draws, np.uint8))
    obs, rewards, terminated, truncated, _ = env.step(
        dict(zip(env.possible_agents, actions, strict=True))
    )
    rows = np.stack([obs[name] for name in env.possible_agents])
    first = env.possible_agents[0]
    return Seen(
        rewards[first],
        terminated[first],
        truncated[first],
        env._predators,
        env._prey,
        rows,
        env.state(),
    )


def play_batched(scripted, predators, prey, actions, draws, time, **arguments):
    env = VectorPredatorPrey(2, num_predators=len(predators), num_prey=len(prey), **arguments)
    env.reset(seed=0)
    border, width = max(1, env.settings.view_radius), env._width
    # The scenario is played in the second copy; the first must not disturb it.
    board = env._cells.reshape(2, -1)[1]
    board[env._inside] = FREE
    for code, things, flat in ((PREDATOR, predators, env._predators), (PREY, prey, env._prey)):
        for index, (row, column) in enumerate(things):
            cell = (row + border) * width + column + border
            board[cell] = code
            flat[index, 1] = env._board + cell
    env._time[1] = time
    # The reset of a finished copy draws after the step.
    scripted.queue += [np.array([draws, draws], np.uint8), np.random.default_rng(0).random((1, 25))]
    env._rng = scripted
    result = env.step(np.array([[STAY] * len(predators), actions]))
    ended = bool(result.terminated[1] or result.truncated[1])
    places = None if ended else [divmod(int(c) - env._board, width) for c in env._predators[:, 1]]
    left = [divmod(int(c) - env._board, width) for c in env._prey[:, 1]]
    living = env._prey_code[:, 1] == PREY
    return Seen(
        float(result.reward[1]),
        bool(result.terminated[1]),
        bool(result.truncated[1]),
        places and [(r - border, c - border) for r, c in places],
        [(r - border, c - border) if on else None for (r, c), on in zip(left, living, strict=True)],
        result.final_observation.obs[1],
        result.final_observation.state[1],
    )


@pytest.fixture(params=[play_one_copy, play_batched], ids=["one copy", "batched"])
def play(request, helpers):
    def run(predators, prey, actions, draws=None, time=0, **arguments):
        draws = [draws_of(STAY)] * len(prey) if draws is None else draws
        scripted = helpers.ScriptedGenerator()
        return request.param(scripted, predators, prey, actions, draws, time, **arguments)

    return run


# Rule 1: the cost of a step.


def test_every_step_costs_the_step_cost(play):
    assert play([(0, 0), (0, 4)], [(4, 2)], [STAY, STAY]).reward == pytest.approx(COST)
    seen = play([(0, 0), (0, 4)], [(4, 2)], [STAY, STAY], step_cost=-0.5)
    assert seen.reward == pytest.approx(-0.5)


# Rule 2: predators move in the order of their index, only into free cells.


@pytest.mark.parametrize(
    ("action", "cell"),
    [(DOWN, (3, 2)), (LEFT, (2, 1)), (UP, (1, 2)), (RIGHT, (2, 3)), (STAY, (2, 2))],
)
def test_actions_move_down_left_up_right_or_nowhere(play, action, cell):
    assert play([(2, 2), (0, 0)], [(4, 4)], [action, STAY]).predators[0] == cell


@pytest.mark.parametrize(
    ("corner", "action"),
    [((0, 0), UP), ((0, 0), LEFT), ((4, 0), DOWN), ((0, 4), RIGHT), ((4, 0), LEFT)],
)
def test_a_wall_stops_a_predator(play, corner, action):
    assert play([corner, (2, 2)], [(4, 4)], [action, STAY]).predators[0] == corner


def test_a_later_predator_may_enter_the_cell_that_an_earlier_one_left(play):
    seen = play([(0, 1), (0, 0)], [(4, 4)], [RIGHT, RIGHT])
    assert seen.predators == [(0, 2), (0, 1)]


def test_an_earlier_predator_cannot_enter_a_cell_that_is_left_only_later(play):
    seen = play([(0, 0), (0, 1)], [(4, 4)], [RIGHT, RIGHT])
    assert seen.predators == [(0, 0), (0, 2)]


def test_the_first_predator_gets_a_cell_that_two_want(play):
    seen = play([(0, 0), (0, 2)], [(4, 4)], [RIGHT, LEFT])
    assert seen.predators == [(0, 1), (0, 2)]


def test_a_predator_cannot_enter_the_cell_of_a_prey(play):
    seen = play([(2, 1), (0, 4)], [(2, 2)], [RIGHT, STAY])
    assert seen.predators[0] == (2, 1)
    assert seen.prey == [(2, 2)]


def test_a_predator_that_stays_keeps_its_cell_occupied(play):
    seen = play([(0, 1), (0, 0)], [(4, 4)], [STAY, RIGHT])
    assert seen.predators == [(0, 1), (0, 0)]


# Rule 3: prey count adjacent predators.


@pytest.mark.parametrize("penalty", [0.0, -1.0, -1.5])
def test_exactly_one_adjacent_predator_adds_the_penalty(play, penalty):
    seen = play([(2, 1), (0, 4)], [(2, 2)], [STAY, STAY], penalty=penalty)
    assert seen.reward == pytest.approx(COST + penalty)
    assert seen.prey == [(2, 2)]
    assert not seen.terminated


@pytest.mark.parametrize("hunters", [[(2, 1), (2, 3)], [(1, 2), (2, 1)], [(3, 2), (1, 2)]])
def test_two_adjacent_predators_catch_the_prey(play, hunters):
    seen = play(hunters, [(2, 2)], [STAY, STAY])
    assert seen.reward == pytest.approx(COST + 10)
    assert seen.terminated
    assert not seen.truncated


def test_three_adjacent_predators_catch_it_once(play):
    seen = play([(2, 1), (2, 3), (1, 2)], [(2, 2)], [STAY] * 3)
    assert seen.reward == pytest.approx(COST + 10)


def test_predators_are_counted_after_they_moved(play):
    assert play([(2, 0), (2, 3)], [(2, 2)], [RIGHT, STAY]).reward == pytest.approx(COST + 10)
    assert play([(2, 1), (2, 3)], [(2, 2)], [LEFT, STAY]).reward == pytest.approx(COST - 1)


def test_diagonal_neighbours_do_not_count(play):
    seen = play([(1, 1), (3, 3)], [(2, 2)], [STAY, STAY])
    assert seen.reward == pytest.approx(COST)
    assert play([(2, 1), (3, 3)], [(2, 2)], [STAY, STAY]).reward == pytest.approx(COST - 1)


def test_the_edge_of_the_board_does_not_join_its_rows(play):
    # (1, 4) and (2, 0) follow each other when rows are laid end to end.
    assert play([(1, 4), (4, 4)], [(2, 0)], [STAY, STAY]).reward == pytest.approx(COST)


def test_each_prey_is_judged_on_its_own(play):
    # The first prey has two hunters, the second shares one of them.
    seen = play([(1, 0), (1, 2)], [(1, 1), (1, 3)], [STAY, STAY])
    assert seen.reward == pytest.approx(COST + 10 - 1)
    assert seen.prey[0] is None
    assert seen.prey[1] is not None
    assert not seen.terminated


def test_a_prey_is_judged_before_it_escapes(play):
    seen = play([(2, 1), (4, 4)], [(0, 0), (2, 2)], [STAY, STAY], [draws_of(STAY), draws_of(RIGHT)])
    assert seen.reward == pytest.approx(COST - 1)
    assert seen.prey[1] == (2, 3)


def test_predators_may_stand_where_a_prey_was_caught():
    env = PredatorPrey(num_prey=2)
    env.reset(seed=0)
    env._predators, env._prey = [(1, 0), (1, 2)], [(1, 1), (4, 4)]
    env.step({"predator_0": STAY, "predator_1": STAY})
    assert env._prey[0] is None
    env.step({"predator_0": RIGHT, "predator_1": STAY})
    for _ in range(3):
        env.step({"predator_0": STAY, "predator_1": LEFT})
    # The first predator is still there, and still in the other's way.
    assert env._predators == [(1, 1), (1, 2)]


def test_no_predator_is_ever_erased_from_the_batched_board(helpers):
    env = VectorPredatorPrey(4, num_prey=3, max_steps=50)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(200):
        env.step(chase(env, rng))
        assert np.count_nonzero(env._cells == PREDATOR) == 8
        assert (env._cells[env._predators] == PREDATOR).all()


def test_a_caught_prey_stays_gone(play):
    seen = play([(1, 0), (1, 2)], [(1, 1), (4, 4)], [STAY, STAY])
    np.testing.assert_array_equal(seen.state[4:6], [0, 0])
    np.testing.assert_array_equal(seen.state[8:10], [0, 1])
    assert seen.obs[:, 2:-1].sum() == 0  # the other prey is out of view


# Rule 4: living prey move.


@pytest.mark.parametrize(
    ("move", "cell"),
    [(DOWN, (3, 2)), (LEFT, (2, 1)), (UP, (1, 2)), (RIGHT, (2, 3)), (STAY, (2, 2))],
)
def test_an_undisturbed_prey_takes_its_first_draw(play, move, cell):
    seen = play([(0, 0), (4, 4)], [(2, 2)], [STAY, STAY], [draws_of(move, STAY)])
    assert seen.prey == [cell]


def test_a_prey_skips_draws_that_lead_next_to_a_predator(play):
    seen = play([(0, 2), (4, 2)], [(2, 2)], [STAY, STAY], [draws_of(UP, DOWN, UP, LEFT)])
    assert seen.prey == [(2, 1)]


def test_the_fifth_draw_still_counts(play):
    seen = play([(0, 2), (4, 2)], [(2, 2)], [STAY, STAY], [draws_of(UP, DOWN, UP, DOWN, LEFT)])
    assert seen.prey == [(2, 1)]


def test_a_prey_stays_if_all_five_draws_are_unsafe(play):
    seen = play([(0, 2), (4, 2)], [(2, 2)], [STAY, STAY], [draws_of(UP, DOWN, UP, DOWN, UP)])
    assert seen.prey == [(2, 2)]


def test_a_drawn_stay_is_refused_next_to_a_predator(play):
    seen = play([(2, 1), (0, 4)], [(2, 2)], [STAY, STAY], [draws_of(STAY, RIGHT)])
    assert seen.prey == [(2, 3)]


def test_a_drawn_stay_is_taken_where_no_predator_is_adjacent(play):
    seen = play([(0, 0), (4, 4)], [(2, 2)], [STAY, STAY], [draws_of(STAY, RIGHT)])
    assert seen.prey == [(2, 2)]


def test_a_move_into_a_wall_is_a_stay(play):
    seen = play([(4, 4), (4, 0)], [(0, 0)], [STAY, STAY], [draws_of(UP, RIGHT)])
    assert seen.prey == [(0, 0)]


def test_a_move_into_a_wall_next_to_a_predator_is_refused_like_a_stay(play):
    seen = play([(1, 0), (4, 4)], [(0, 0)], [STAY, STAY], [draws_of(UP, RIGHT)])
    assert seen.prey == [(0, 1)]


def test_a_prey_does_not_enter_the_cell_of_another_prey(play):
    seen = play(
        [(4, 4), (4, 0)], [(0, 0), (0, 1)], [STAY] * 2, [draws_of(RIGHT, DOWN), draws_of(STAY)]
    )
    assert seen.prey == [(0, 0), (0, 1)]


def test_prey_move_in_the_order_of_their_index(play):
    draws = [draws_of(RIGHT), draws_of(RIGHT)]
    assert play([(4, 4), (4, 0)], [(0, 1), (0, 0)], [STAY] * 2, draws).prey == [(0, 2), (0, 1)]
    assert play([(4, 4), (4, 0)], [(0, 0), (0, 1)], [STAY] * 2, draws).prey == [(0, 0), (0, 2)]


def test_prey_draw_each_direction_with_7_in_40_and_stay_with_12():
    assert [np.count_nonzero(PREY_MOVES == move) for move in range(5)] == [7, 7, 7, 7, 12]


# The end of an episode.


def test_the_time_limit_truncates_and_does_not_terminate(play):
    seen = play([(0, 0), (0, 4)], [(4, 2)], [STAY, STAY], time=127)
    assert (seen.terminated, seen.truncated) == (False, True)
    assert seen.obs[0, -1] == 1.0
    seen = play([(0, 0), (0, 4)], [(4, 2)], [STAY, STAY], time=126)
    assert (seen.terminated, seen.truncated) == (False, False)


def test_a_catch_in_the_last_step_terminates_and_does_not_truncate(play):
    seen = play([(2, 1), (2, 3)], [(2, 2)], [STAY, STAY], time=127)
    assert (seen.terminated, seen.truncated) == (True, False)


def test_the_limit_is_a_setting(play):
    seen = play([(0, 0), (0, 4)], [(4, 2)], [STAY, STAY], time=9, max_steps=10)
    assert seen.truncated


# What is seen.


def test_an_observation_holds_place_prey_in_view_and_time(play):
    seen = play([(1, 2), (4, 4)], [(2, 4)], [STAY, STAY], time=63)
    expected = np.zeros(28)
    expected[:2] = 1 / 4, 2 / 4
    expected[2 + 3 * 5 + 4] = 1  # one row below the middle, two columns to the right
    expected[-1] = 64 / 128
    np.testing.assert_allclose(seen.obs[0], expected)


def test_prey_beyond_the_window_is_not_seen(play):
    seen = play([(0, 0), (4, 4)], [(0, 3)], [STAY, STAY])
    assert seen.obs[0, 2:-1].sum() == 0


@pytest.mark.parametrize("other", [(1, 2), (2, 3), (4, 0)])
def test_the_team_mate_is_not_visible(play, other):
    first = play([(2, 2), other], [(0, 4)], [STAY, STAY]).obs[0]
    second = play([(2, 2), (4, 4)], [(0, 4)], [STAY, STAY]).obs[0]
    np.testing.assert_array_equal(first, second)


def test_rows_and_columns_are_scaled_alike(play):
    seen = play([(4, 4), (0, 0)], [(2, 2)], [STAY, STAY])
    np.testing.assert_array_equal(seen.obs[0, :2], [1, 1])
    np.testing.assert_array_equal(seen.obs[1, :2], [0, 0])


def test_the_state_holds_everything(play):
    seen = play([(4, 3), (0, 1)], [(2, 1), (2, 4)], [STAY, STAY], time=31)
    places = np.array([4, 3, 0, 1, 2, 1, 2, 4]) / 4
    np.testing.assert_allclose(seen.state, [*places, 1, 1, 32 / 128])


@pytest.mark.parametrize(("radius", "size"), [(0, 4), (1, 12), (2, 28), (3, 52)])
def test_the_view_is_a_setting(radius, size):
    assert PredatorPrey(view_radius=radius).observation_space("predator_0").shape == (size,)
    assert VectorPredatorPrey(1, view_radius=radius).spec.obs_sizes == (size, size)


# Fresh episodes.


@pytest.mark.parametrize("preset", PRESETS)
def test_a_fresh_board_is_free_of_collisions_and_of_guarded_prey(preset):
    env = PredatorPrey(preset)
    for seed in range(100):
        env.reset(seed=seed)
        everything = [*env._predators, *env._prey]
        assert len(everything) == len(set(everything)) == sum(
            PRESETS[preset][name] for name in ("num_predators", "num_prey")
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
        ({"view_radius": -1}, "view_radius.*-1"),
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
    view_radius=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_both_forms_agree_over_whole_episodes(
    helpers, preset, penalty, max_steps, view_radius, seed
):
    arguments = {"penalty": penalty, "max_steps": max_steps, "view_radius": view_radius}
    copies = [PredatorPrey(preset, **arguments) for _ in range(3)]
    vector = VectorPredatorPrey(3, preset=preset, **arguments)
    rng = np.random.default_rng(seed)
    helpers.check_forms_agree(copies, vector, lambda v: chase(v, rng), 3 * max_steps, seed)


@pytest.mark.parametrize("preset", PRESETS)
def test_both_forms_agree_through_catches_and_time_limits(helpers, preset):
    copies = [PredatorPrey(preset, max_steps=60) for _ in range(4)]
    vector = VectorPredatorPrey(4, preset=preset, max_steps=60)
    rng = np.random.default_rng(7)
    steps = helpers.check_forms_agree(copies, vector, lambda v: chase(v, rng), 400, seed=7)
    assert any(step.reward.max() > 5 for step in steps), "nothing was caught"
    assert any(step.truncated.any() for step in steps) or preset == "5x5"
    assert any(step.terminated.any() for step in steps) or preset == "10x10"
    assert not any((step.terminated & step.truncated).any() for step in steps)


def test_one_copy_of_a_batch_does_not_depend_on_the_others(helpers):
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
