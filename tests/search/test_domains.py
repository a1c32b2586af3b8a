"""Ranges in words become Ray Tune's; words that mean nothing are answered clearly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.search.domains import LISTED, WORDS, Range, parse_range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loguniform(1e-4, 1e-2)", Range("loguniform", (1e-4, 1e-2))),
        (" uniform( -1, .5 ) ", Range("uniform", (-1, 0.5))),
        ("choice(strict, gumbel)", Range("choice", ("strict", "gumbel"))),
        ("choice([1, 2])", Range("choice", (1, 2))),
        ("choice(strict)", Range("choice", ("strict",))),
        ("choice([1, 2], [3])", Range("choice", ([1, 2], [3]))),
        ("choice((64, 64), (8,))", Range("choice", ((64, 64), (8,)))),
        ("choice('a b', true, null, False)", Range("choice", ("a b", True, None, False))),
        ("grid_search(0, 1, 2)", Range("grid_search", (0, 1, 2))),
        ("randint(1, 5)", Range("randint", (1, 5))),
        ("quniform(0, 1, 0.25)", Range("quniform", (0, 1, 0.25))),
        (["a", "b"], Range("choice", ("a", "b"))),
    ],
)
def test_words_are_read(text, expected):
    assert parse_range("x", text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1", "must be written like loguniform"),
        ("loguniform", "must be written like loguniform"),
        ("loguniform(1e-4, 1e-2", "must be written like loguniform"),
        ("tune.uniform(0, 1)", "must be written like loguniform"),
        ("uniform(low=0, high=1)", "must be written like loguniform"),
        ("logunifrom(0, 1)", "Did you mean 'loguniform'"),
        ("choice(__import__('os'))", "must hold plain values"),
        ("choice()", "is empty"),
        ("choice([])", "is empty"),
        ([], "is empty"),
        ("uniform(1, 0)", "is empty"),
        ("uniform(1, 1)", "is empty"),
        ("uniform(0)", "takes 2 numbers"),
        ("uniform(0, a)", "takes 2 numbers"),
        ("uniform(0, true)", "takes 2 numbers"),
        ("uniform(0, 1e999)", "takes 2 numbers"),
        ("quniform(0, 1)", "takes 3 numbers (low, high, step)"),
        ("quniform(0, 1, 0)", "step of x must be above 0"),
        ("loguniform(0, 1)", "needs bounds above 0, got 0"),
        ("randint(0, 1.5)", "takes whole numbers"),
        ("qrandint(0, 4, 0.5)", "takes whole numbers"),
    ],
)
def test_what_is_no_range_is_told_by_name(text, message):
    with pytest.raises(ConfigError) as raised:
        parse_range("x", text)
    assert message in str(raised.value)
    assert "x" in str(raised.value)


EXAMPLES = {
    word: "(2, 8, 2)" if word.startswith("q") else "(1, 4)" if word not in LISTED else "(1, 2, 3)"
    for word in WORDS
}


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_one_of_tune_and_draws_inside_its_extremes(word):
    found = parse_range("x", word + EXAMPLES[word])
    domain = found.to_tune()
    if word == "grid_search":
        assert domain == tune.grid_search([1, 2, 3])
        return
    draws = [domain.sample() for _ in range(200)]
    if word in LISTED:
        assert set(draws) == set(found.extremes)
    else:
        assert found.extremes[0] <= min(draws)
        assert max(draws) <= found.extremes[1]
    if "randint" in word:
        assert found.extremes[1] in draws


@given(st.floats(1e-6, 1.0), st.floats(1.0001, 1e6))
def test_a_range_that_is_written_down_reads_as_itself(low, factor):
    found = Range("loguniform", (low, low * factor))
    assert parse_range("x", str(found)) == found


def test_population_based_training_steps_through_lists_and_multiplies_numbers():
    assert parse_range("x", "choice(1, 2)").to_mutation() == [1, 2]
    assert parse_range("x", "uniform(1, 2)").to_mutation().upper == 2
