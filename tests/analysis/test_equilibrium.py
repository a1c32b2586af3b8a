"""Equilibrium gaps against hand-computed games and brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_agentmixer.analysis.equilibrium import (
    coarse_correlated_equilibrium_gap,
    correlated_equilibrium_gap,
    nash_gap,
    product,
)
from rllib_agentmixer.errors import ConfigError

# Chicken: dare or chicken out.
CHICKEN = np.array([[[0, 7], [2, 6]], [[0, 2], [7, 6]]], float)
PENNIES = np.array([[[1, -1], [-1, 1]], [[-1, 1], [1, -1]]], float)


def climbing():
    table = np.array([[0, 6, 5], [-30, 7, 0], [11, -30, 0]], float)
    return np.stack([table, table])


def test_the_classic_device_is_a_correlated_equilibrium_of_chicken():
    # One third each on (dare, out), (out, dare), (out, out).
    device = np.array([[0, 1], [1, 1]]) / 3
    assert correlated_equilibrium_gap(CHICKEN, device) == pytest.approx(0)


def test_following_both_out_gains_from_daring():
    both_out = np.array([[0, 0], [0, 1.0]])
    assert correlated_equilibrium_gap(CHICKEN, both_out) == pytest.approx(1)
    assert coarse_correlated_equilibrium_gap(CHICKEN, both_out) == pytest.approx(1)


def test_uniform_play_of_matching_pennies_is_nash():
    assert nash_gap(PENNIES, [[0.5, 0.5], [0.5, 0.5]]) == pytest.approx(0)


def test_a_biased_player_of_matching_pennies_can_be_exploited():
    # Player 2 earns 0 against (.75, .25) by mixing, 0.5 by always choosing the second.
    assert nash_gap(PENNIES, [[0.75, 0.25], [0.5, 0.5]]) == pytest.approx(0.5)


@pytest.mark.parametrize(("action", "gap"), [((2, 0), 0), ((1, 1), 0), ((0, 0), 11), ((1, 0), 41)])
def test_pure_play_of_climbing(action, gap):
    joint = np.zeros((3, 3))
    joint[action] = 1
    assert correlated_equilibrium_gap(climbing(), joint) == pytest.approx(gap)


def test_the_coarse_gap_can_be_zero_where_the_correlated_one_is_not():
    # Rock-paper-scissors, both always the same: no fixed action gains, but a player who
    # hears its recommendation knows the other's action.
    wins = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], float)
    game, joint = np.stack([wins, -wins]), np.eye(3) / 3
    assert coarse_correlated_equilibrium_gap(game, joint) == pytest.approx(0)
    assert correlated_equilibrium_gap(game, joint) == pytest.approx(1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([(2, 3), (2, 2, 3), (3, 2, 2, 2)]))
def test_gaps_agree_with_brute_force(seed, shape):
    random = np.random.default_rng(seed)
    payoffs = random.normal(size=(len(shape), *shape))
    joint = random.dirichlet(np.ones(np.prod(shape))).reshape(shape)
    swap = fixed = -np.inf
    for player, count in enumerate(shape):
        gains = []
        for mapping in itertools.product(range(count), repeat=count):
            gain = 0.0
            for action in np.ndindex(*shape):
                other = list(action)
                other[player] = mapping[action[player]]
                change = payoffs[(player, *other)] - payoffs[(player, *action)]
                gain += joint[action] * change
            gains.append((mapping, gain))
        swap = max(swap, *(g for _, g in gains))
        fixed = max(fixed, *(g for m, g in gains if len(set(m)) == 1))
    assert correlated_equilibrium_gap(payoffs, joint) == pytest.approx(swap)
    assert coarse_correlated_equilibrium_gap(payoffs, joint) == pytest.approx(fixed)


def test_the_nash_gap_is_the_coarse_gap_of_the_product():
    strategies = [[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]]
    expected = coarse_correlated_equilibrium_gap(climbing(), product(strategies))
    assert nash_gap(climbing(), strategies) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("payoffs", "joint", "words"),
    [
        (CHICKEN, np.full((2, 2), 0.3), "sum to 1, got 1.2"),
        (CHICKEN, np.array([[1.5, -0.5], [0, 0]]), "negative, got -0.5"),
        (CHICKEN, np.full((2, 3), 1 / 6), "must be equal"),
        (CHICKEN[0], np.full(2, 0.5), r"shape \[N, A_1"),
        (np.full((2, 2, 2), np.nan), np.full((2, 2), 0.25), "finite"),
    ],
)
def test_bad_games_and_distributions_are_named(payoffs, joint, words):
    with pytest.raises(ConfigError, match=words):
        correlated_equilibrium_gap(payoffs, joint)


def test_games_too_large_to_enumerate_are_refused():
    huge = np.broadcast_to(0.0, (2, 4000, 4000))
    with pytest.raises(ConfigError, match="at most"):
        correlated_equilibrium_gap(huge, np.broadcast_to(1.0, (4000, 4000)))
