"""Scales of advantages: centre, divisor, and invariances."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_agentmixer.core.functional.advantages import (
    ADVANTAGE_SCALES,
    hysteretic,
    robust,
    standardized,
)

BOUNDED = settings(max_examples=40, deadline=None, derandomize=True)
ALL_VALID = torch.ones(4, 3, dtype=torch.bool)


def draw(seed, scale=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(5, 6, generator=generator, dtype=torch.float64) * scale + shift
    valid = torch.rand(5, 6, generator=generator) < 0.7
    valid[0, :2] = True
    return raw, valid


@BOUNDED
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 100), shift=st.floats(-50, 50))
def test_standardized_has_mean_0_and_std_1_over_valid_rows(seed, scale, shift):
    raw, valid = draw(seed, scale, shift)
    result = standardized(raw, valid)
    assert result[valid].mean().item() == pytest.approx(0, abs=1e-6)
    assert result[valid].std(correction=0).item() == pytest.approx(1, abs=1e-6)


@BOUNDED
@given(seed=st.integers(0, 2**31), name=st.sampled_from(sorted(ADVANTAGE_SCALES)))
def test_padding_moves_no_scale_and_order_is_kept(seed, name):
    scale = ADVANTAGE_SCALES[name]
    raw, valid = draw(seed)
    result = scale(raw, valid)
    torch.testing.assert_close(result[valid], scale(torch.where(valid, raw, 1e3), valid)[valid])
    in_order = result[valid][raw[valid].argsort()]
    assert (in_order.diff() >= 0).all()


@pytest.mark.parametrize("name", ADVANTAGE_SCALES)
def test_equal_advantages_give_no_signal(name):
    assert ADVANTAGE_SCALES[name](torch.full((4, 3), 3.0), ALL_VALID).abs().max() == 0


def test_differences_below_the_floor_are_not_blown_up():
    tiny = torch.tensor([0.0, 1e-6])
    assert standardized(tiny, torch.tensor([True, True])).abs().max() < 0.01


def test_hysteretic_weighs_negative_ones_by_three_tenths():
    raw = torch.tensor([-1.0, 1.0, 3.0, 5.0])
    everywhere = torch.ones(4, dtype=torch.bool)
    plain = standardized(raw, everywhere)
    expected = torch.tensor([0.3 * plain[0], 0.3 * plain[1], plain[2], plain[3]])
    torch.testing.assert_close(hysteretic(raw, everywhere), expected)


def test_robust_by_hand():
    # Quartiles 1, 2, 3: the disaster at -100 is clipped and moves nothing else much.
    raw = torch.tensor([-100.0, 1.0, 2.0, 3.0, 4.0, 7.0])
    valid = torch.tensor([True, True, True, True, True, False])
    expected = torch.tensor([-2.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    torch.testing.assert_close(robust(raw, valid), expected)


def test_the_size_of_a_rare_disaster_does_not_change_robust_advantages():
    usual = torch.linspace(-1, 1, 19)
    everywhere = torch.ones(20, dtype=torch.bool)
    results = [
        robust(torch.cat([usual, torch.tensor([disaster])]), everywhere)
        for disaster in (-10.0, -1e4)
    ]
    torch.testing.assert_close(results[0], results[1])
