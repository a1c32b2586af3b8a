"""Predator-prey, rule by rule, in both forms."""

import numpy as np
import pytest
from envs_test_scenarios import (
    DOWN,
    LEFT,
    RIGHT,
    STAY,
    UP,
    draws_of,
    play_batched,
    play_single_env,
)

from rllib_agentmixer.envs.games.predator_prey import PREY_MOVES, PredatorPrey
from rllib_agentmixer.envs.games.predator_prey_vector import VectorPredatorPrey

COST = -0.01


@pytest.fixture(params=[play_single_env, play_batched], ids=["single", "batched"])
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
    assert [np.count_nonzero(move == PREY_MOVES) for move in range(5)] == [7, 7, 7, 7, 12]


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


@pytest.mark.parametrize("row", range(5))
@pytest.mark.parametrize("radius", [0, 1, 2, 4, 6])
def test_a_predator_sees_as_far_as_its_radius(play, radius, row):
    # Seen from the left edge, where every other row lies within reach of some radius.
    for target in [(r, column) for r in range(5) if r != row for column in range(5)]:
        seen = play([(row, 0), (row, 4)], [target], [STAY, STAY], view_radius=radius)
        window = seen.obs[0, 2:-1].reshape(2 * radius + 1, 2 * radius + 1)
        expected = np.zeros_like(window)
        down, right = target[0] - row, target[1]
        if max(abs(down), right) <= radius:
            expected[radius + down, radius + right] = 1
        np.testing.assert_array_equal(window, expected)


@pytest.mark.parametrize(("radius", "size"), [(0, 4), (1, 12), (2, 28), (3, 52), (4, 84)])
def test_the_view_is_a_setting(radius, size):
    assert PredatorPrey(view_radius=radius).observation_space("predator_0").shape == (size,)
    assert VectorPredatorPrey(1, view_radius=radius).spec.obs_sizes == (size, size)
