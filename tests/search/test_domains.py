"""Parsing of search domains: equivalence with Ray Tune's domains, and clear errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.search.domains import KINDS, LISTED, Domain, parse_domain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loguniform(1e-4, 1e-2)", Domain("loguniform", (1e-4, 1e-2))),
        (" uniform( -1, .5 ) ", Domain("uniform", (-1, 0.5))),
        ("choice(strict, gumbel)", Domain("choice", ("strict", "gumbel"))),
        ("choice([1, 2])", Domain("choice", (1, 2))),
        ("choice(strict)", Domain("choice", ("strict",))),
        ("choice([1, 2], [3])", Domain("choice", ([1, 2], [3]))),
        ("choice((64, 64), (8,))", Domain("choice", ((64, 64), (8,)))),
        ("choice('a b', true, null, False)", Domain("choice", ("a b", True, None, False))),
        ("grid_search(0, 1, 2)", Domain("grid_search", (0, 1, 2))),
        ("randint(1, 5)", Domain("randint", (1, 5))),
        ("quniform(0, 1, 0.25)", Domain("quniform", (0, 1, 0.25))),
        (["a", "b"], Domain("choice", ("a", "b"))),
    ],
)
def test_text_is_parsed(text, expected):
    assert parse_domain("x", text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1", "must be written like loguniform"),
        ("loguniform", "must be written like loguniform"),
        ("loguniform(1e-4, 1e-2", "must be written like loguniform"),
        ("tune.uniform(0, 1)", "must be written like loguniform"),
        ("uniform(low=0, high=1)", "must be written like loguniform"),
        ("logunifrom(0, 1)", "Did you mean 'loguniform'"),
        ("choice(__import__('os'))", "must contain literals only"),
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
        ("randint(0, 1.5)", "takes integers"),
        ("qrandint(0, 4, 0.5)", "takes integers"),
    ],
)
def test_invalid_domains_are_reported_by_name(text, message):
    with pytest.raises(ConfigError) as raised:
        parse_domain("x", text)
    assert message in str(raised.value)
    assert "x" in str(raised.value)


EXAMPLES = {
    kind: "(2, 8, 2)" if kind.startswith("q") else "(1, 4)" if kind not in LISTED else "(1, 2, 3)"
    for kind in KINDS
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_exists_in_tune_and_samples_inside_its_extremes(kind):
    found = parse_domain("x", kind + EXAMPLES[kind])
    domain = found.to_tune()
    if kind == "grid_search":
        assert domain == tune.grid_search([1, 2, 3])
        return
    samples = [domain.sample() for _ in range(200)]
    if kind in LISTED:
        assert set(samples) == set(found.extremes)
    else:
        assert found.extremes[0] <= min(samples)
        assert max(samples) <= found.extremes[1]
    if "randint" in kind:
        assert found.extremes[1] in samples


@given(st.floats(1e-6, 1.0), st.floats(1.0001, 1e6))
def test_domains_round_trip_through_text(low, factor):
    found = Domain("loguniform", (low, low * factor))
    assert parse_domain("x", str(found)) == found


def test_population_based_training_steps_through_lists_and_multiplies_numbers():
    assert parse_domain("x", "choice(1, 2)").to_mutation() == [1, 2]
    assert parse_domain("x", "uniform(1, 2)").to_mutation().upper == 2
