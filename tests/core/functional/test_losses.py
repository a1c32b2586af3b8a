"""Losses against hand-computed values, at both sides of every clip and with padding."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_agentmixer.core.functional.losses import (
    clip_fraction,
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    huber,
    valid_mean,
)

BOUNDED = settings(max_examples=40, deadline=None, derandomize=True)
SHAPE = (4, 3)
ALL_VALID = torch.ones(SHAPE, dtype=torch.bool)


def one(value):
    return torch.tensor([float(value)])


TRUE = torch.tensor([True])


def policy_loss(ratio, advantage, clip_param=0.2):
    loss = clipped_policy_loss(
        one(ratio).log(), one(0), one(advantage), TRUE, clip_param=clip_param
    )
    return loss.item()


def test_valid_mean_counts_valid_rows_only():
    x = torch.tensor([1.0, 3.0, 100.0])
    assert valid_mean(x, torch.tensor([True, True, False])) == 2


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (1.1, 2, -2.2),  # inside the clip: the ratio itself
        (0.9, 2, -1.8),
        (0.9, -2, 1.8),
        (1.5, 2, -2.4),  # what the advantage asks for, beyond the clip: no further reward
        (0.5, -2, 1.6),
        (0.5, 2, -1.0),  # against the advantage: the full price, not the clipped one
        (1.5, -2, 3.0),
    ],
)
def test_clipped_policy_loss_by_hand(ratio, advantage, loss):
    assert policy_loss(ratio, advantage) == pytest.approx(loss, rel=1e-6)


@BOUNDED
@given(clip_param=st.floats(0.01, 0.5), advantage=st.floats(-5, 5), log_prob=st.floats(-9, 0))
def test_equals_minus_advantage_when_the_policy_is_unchanged(clip_param, advantage, log_prob):
    log_prob = torch.full(SHAPE, log_prob)
    loss = clipped_policy_loss(
        log_prob, log_prob, torch.full(SHAPE, advantage), ALL_VALID, clip_param=clip_param
    )
    assert loss.item() == pytest.approx(-advantage, abs=1e-5)


@BOUNDED
@given(ratio=st.floats(0.05, 4), advantage=st.floats(-5, 5), clip_param=st.floats(0.01, 0.5))
def test_the_clipped_loss_never_promises_more_than_the_plain_one(ratio, advantage, clip_param):
    assert policy_loss(ratio, advantage, clip_param) >= -ratio * advantage - 1e-4


@pytest.mark.parametrize("direction", [+1, -1])
def test_gradient_vanishes_beyond_the_clip(direction):
    # Ratio e^(+-0.5) lies outside [0.8, 1.2] on the side the advantage asks for.
    log_prob = torch.full(SHAPE, 0.5 * direction, requires_grad=True)
    advantages = torch.full(SHAPE, float(direction))
    loss = clipped_policy_loss(log_prob, torch.zeros(SHAPE), advantages, ALL_VALID, clip_param=0.2)
    loss.backward()
    assert log_prob.grad.abs().max() == 0


@pytest.mark.parametrize("direction", [+1, -1])
def test_gradient_survives_where_the_policy_moved_against_the_advantage(direction):
    log_prob = torch.full(SHAPE, 0.5 * direction, requires_grad=True)
    advantages = torch.full(SHAPE, -float(direction))
    loss = clipped_policy_loss(log_prob, torch.zeros(SHAPE), advantages, ALL_VALID, clip_param=0.2)
    loss.backward()
    expected = direction * math.exp(0.5 * direction) / ALL_VALID.numel()
    torch.testing.assert_close(log_prob.grad, torch.full(SHAPE, expected))


def test_the_ratio_is_new_over_old_and_padding_does_not_count():
    log_prob, old = torch.tensor([-1.0, -2.0, 3.0]), torch.tensor([-1.1, -1.9, 0.0])
    valid = torch.tensor([True, True, False])
    loss = clipped_policy_loss(log_prob, old, torch.tensor([1.0, 1.0, 50.0]), valid, clip_param=0.2)
    assert loss.item() == pytest.approx(-(math.exp(0.1) + math.exp(-0.1)) / 2)


def test_clip_fraction_counts_both_sides_and_no_padding():
    ratios = torch.tensor([1.0, 1.19, 0.81, 1.3, 0.7, 9.0])
    valid = torch.tensor([True, True, True, True, True, False])
    fraction = clip_fraction(ratios.log(), torch.zeros(6), valid, clip_param=0.2)
    assert fraction.item() == pytest.approx(2 / 5)
    # Ratio of new to old: 0.82 lies inside, its inverse 1.22 would not.
    assert clip_fraction(one(-1) + one(0.82).log(), one(-1), TRUE, clip_param=0.2) == 0
    assert clip_fraction(one(-1), one(-1) + one(0.82).log(), TRUE, clip_param=0.2) == 1


@pytest.mark.parametrize(("error", "value"), [(0, 0), (1, 0.5), (-1, 0.5), (2, 2), (3, 4), (-5, 8)])
def test_huber_by_hand(error, value):
    assert huber(one(error), delta=2.0).item() == value


@BOUNDED
@given(delta=st.floats(0.1, 20), sign=st.sampled_from([-1, 1]))
def test_huber_is_continuous_with_its_slope_where_it_turns_linear(delta, sign):
    edge = torch.tensor([sign * delta], dtype=torch.float64)
    sides = (edge * (1 - 1e-9)).requires_grad_(), (edge * (1 + 1e-9)).requires_grad_()
    inner, outer = (huber(side, delta=delta) for side in sides)
    torch.testing.assert_close(inner, outer)
    inner.backward(), outer.backward()
    torch.testing.assert_close(sides[0].grad, sides[1].grad)
    assert sides[1].grad.item() == pytest.approx(sign * delta)


@pytest.mark.parametrize("mirror", [+1, -1])
@pytest.mark.parametrize(
    ("value", "old", "target", "loss"),
    [
        (1.2, 1.0, 3.0, 0.5 * 1.8**2),  # inside the clip: plain loss
        (2.0, 1.0, 3.0, 0.5 * 1.5**2),  # moved too far towards the target: clipped at 1.5
        (3.5, 1.0, 1.0, 0.5 * 2.5**2),  # moved away from it: the plain loss is the worse one
        (-1.0, 1.0, -2.0, 0.5 * 2.5**2),  # too far downwards: clipped at 0.5
        (2.8, 3.0, 0.0, 0.5 * 2.8**2),  # it is the change that is clipped, not the value
        (2.0, 1.0, 20.0, 4 * (18.5 - 2)),  # beyond delta the loss is linear
    ],
)
def test_clipped_value_loss_by_hand(value, old, target, loss, mirror):
    value, old, target = (one(mirror * x) for x in (value, old, target))
    result = clipped_value_loss(value, old, target, TRUE, clip=0.5, huber_delta=4.0)
    assert result.item() == pytest.approx(loss)


@pytest.mark.parametrize("direction", [+1, -1])
def test_value_gradient_vanishes_once_the_prediction_has_moved_far_enough(direction):
    values = torch.full(SHAPE, 1.0 * direction, requires_grad=True)
    target = torch.full(SHAPE, 2.0 * direction)
    clipped_value_loss(
        values, torch.zeros(SHAPE), target, ALL_VALID, clip=0.5, huber_delta=10.0
    ).backward()
    assert values.grad.abs().max() == 0


def test_value_loss_averages_over_valid_rows_only():
    values, targets = torch.tensor([0.0, 0.0, 7.0]), torch.tensor([1.0, 2.0, -7.0])
    valid = torch.tensor([True, True, False])
    loss = clipped_value_loss(values, values, targets, valid, clip=9.0, huber_delta=10.0)
    assert loss.item() == pytest.approx((0.5 + 2.0) / 2)


def test_explained_variance_is_1_for_perfect_0_for_constant_and_negative_for_worse():
    targets = torch.tensor([1.0, 2.0, 3.0, 4.0, 1e3])
    valid = torch.tensor([True, True, True, True, False])
    assert explained_variance(targets, targets, valid) == 1
    assert explained_variance(torch.full((5,), 7.0), targets, valid).item() == pytest.approx(0)
    assert explained_variance(-targets, targets, valid).item() == pytest.approx(-3)
    assert explained_variance(targets / 2 + 5, targets, valid).item() == pytest.approx(0.75)


def test_explained_variance_of_constant_targets_is_finite():
    constant = torch.ones(SHAPE)
    assert explained_variance(constant, constant, ALL_VALID) == 1
    assert torch.isfinite(explained_variance(torch.randn(SHAPE), constant, ALL_VALID))


def test_explained_variance_of_small_targets_is_not_floored_away():
    targets = torch.tensor([0.0, 2e-3])
    both = torch.tensor([True, True])
    assert explained_variance(torch.zeros(2), targets, both).item() == pytest.approx(0, abs=1e-3)
