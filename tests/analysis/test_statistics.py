"""Statistics over seeds against hand-computed values, and what must hold for any values."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_agentmixer.analysis.statistics import (
    bootstrap_interval,
    interquartile_mean,
    summarize,
)
from rllib_agentmixer.errors import ConfigError

samples = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)
few_draws = settings(max_examples=30, deadline=None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0], 5.0),
        ([0.0, 9.0], 4.5),
        ([0.0, 0.0, 9.0], 3.0),  # fewer than four: the mean
        ([100.0, 1.0, 3.0, -100.0], 2.0),
        ([9.0, 1.0, 2.0, 3.0, -50.0], 2.0),  # floor(5 / 4) = 1 from each end
        ([8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 4.5),
    ],
)
def test_the_interquartile_mean_of_small_samples(values, expected):
    assert interquartile_mean(values) == pytest.approx(expected)


def test_the_interquartile_mean_along_an_axis_is_that_of_each_row():
    rows = np.array([[4.0, 0.0, 1.0, 100.0], [1.0, 1.0, 1.0, 1.0], [-9.0, 2.0, 4.0, 9.0]])
    np.testing.assert_allclose(interquartile_mean(rows, axis=1), [2.5, 1.0, 3.0])
    np.testing.assert_allclose(interquartile_mean(rows.T, axis=0), [2.5, 1.0, 3.0])


@few_draws
@given(samples)
def test_the_interquartile_mean_lies_between_smallest_and_largest(values):
    found = interquartile_mean(values)
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= found <= max(values) + slack


def test_one_outlier_in_five_seeds_moves_the_mean_only():
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert interquartile_mean([*values[:-1], 5e6]) == interquartile_mean(values)


def test_the_interval_of_two_values_is_known_exactly():
    # Means of resamples of (0, 1): 0, .5, 1 with probabilities 1/4, 1/2, 1/4.
    for confidence, expected in ((0.95, (0.0, 1.0)), (0.40, (0.5, 0.5))):
        interval = bootstrap_interval([0.0, 1.0], confidence=confidence)
        assert (interval.low, interval.high) == expected


def test_the_interval_agrees_with_all_resamples_of_four_values():
    values = np.array([0.0, 1.0, 4.0, 10.0])
    means = [values[list(chosen)].mean() for chosen in itertools.product(range(4), repeat=4)]
    exact = np.quantile(means, [0.05, 0.95])
    found = bootstrap_interval(values, confidence=0.9, num_resamples=40_000)
    np.testing.assert_allclose([found.low, found.high], exact, atol=0.26)  # one step of the grid


def test_the_interval_of_many_values_is_the_normal_one():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    standard_error = values.std() / math.sqrt(400)
    found = bootstrap_interval(values)
    assert found.low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.02)
    assert found.high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.02)


@few_draws
@given(samples, st.sampled_from([np.mean, np.median, interquartile_mean]))
def test_the_interval_is_ordered_inside_the_range_and_the_same_every_time(values, statistic):
    found = bootstrap_interval(values, statistic, num_resamples=200)
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    assert found == bootstrap_interval(values, statistic, num_resamples=200)


@few_draws
@given(samples)
def test_more_confidence_never_narrows_the_interval(values):
    narrow = bootstrap_interval(values, confidence=0.5, num_resamples=200)
    wide = bootstrap_interval(values, confidence=0.99, num_resamples=200)
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@few_draws
@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=9), st.integers(-100, 100))
def test_a_shift_of_the_values_shifts_the_interval(values, shift):
    found = bootstrap_interval(values, num_resamples=100)
    shifted = bootstrap_interval(np.array(values) + shift, num_resamples=100)
    assert shifted.low == pytest.approx(found.low + shift)
    assert shifted.high == pytest.approx(found.high + shift)


def test_another_seed_draws_other_resamples():
    values = np.random.default_rng(0).normal(size=9)
    one, other = (bootstrap_interval(values, num_resamples=50, seed=seed) for seed in (0, 1))
    assert one != other


def test_a_summary_holds_the_sample_in_seven_numbers():
    found = summarize([11.0, 11.0, 7.0, 11.0, 0.0])
    interval = bootstrap_interval([11.0, 11.0, 7.0, 11.0, 0.0])
    assert dataclasses.asdict(found) == {
        "n": 5,
        "mean": 8.0,
        "iqm": pytest.approx(29 / 3),
        "low": interval.low,
        "high": interval.high,
        "min": 0.0,
        "max": 11.0,
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.mean = 1.0


def test_one_value_has_an_interval_without_width():
    found = summarize([4.0])
    assert (found.n, found.low, found.mean, found.high) == (1, 4.0, 4.0, 4.0)


@pytest.mark.parametrize("statistic", [interquartile_mean, bootstrap_interval, summarize])
@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf], 3.0])
def test_values_that_say_nothing_are_refused(statistic, values):
    with pytest.raises(ConfigError, match=r"at least one value|finite"):
        statistic(values)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"confidence": 0.0}, "confidence"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": 95}, "confidence"),
        ({"num_resamples": 0}, "num_resamples"),
    ],
)
def test_arguments_out_of_their_range_are_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        bootstrap_interval([1.0, 2.0], **arguments)
