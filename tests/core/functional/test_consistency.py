"""IGC: joint policies from logits and dispersion, their modes, limits and hand values."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_agentmixer.core.functional.consistency import (
    gumbel_joint_logits,
    joint_std,
    strict_joint_logits,
)
from rllib_agentmixer.core.functional.distributions import MASKED_LOGIT

BOUNDED = settings(max_examples=200, deadline=None, derandomize=True)
ALL = torch.ones(3, dtype=torch.bool)

# Gaps between logits come from float32 arithmetic on numbers of size one, so they are 0 or
# above 1e-8; subnormal gaps could underflow and are excluded.
LOGITS = st.lists(st.floats(-60, 60, width=32).map(lambda x: round(x, 6)), min_size=2, max_size=6)
ANY_NUMBER = st.floats(allow_nan=False, allow_infinity=True, width=32)


def strict(logits, modifier, mask=ALL, *, bound=3.0, gain=1.0, temperature=1.0):
    return strict_joint_logits(
        logits, modifier, mask, bound=bound, gain=gain, temperature=temperature
    )


def gumbel(logits, modifier, mask=ALL, *, ceiling=0.95, gain=1.0, temperature=1.0):
    return gumbel_joint_logits(
        logits, modifier, mask, ceiling=ceiling, gain=gain, temperature=temperature
    )


# --- strict


def test_strict_by_hand():
    logits = torch.tensor([1.0, 3.0, 2.0])
    modifier = torch.tensor([0.5, 9.0, -100.0])
    result = strict(logits, modifier, bound=2.0, gain=0.8, temperature=0.5)
    stretched = -2 * math.exp(2 * math.tanh(0.8 * 0.5 / 2)) / 0.5
    shrunk = -1 * math.exp(-2) / 0.5
    torch.testing.assert_close(result, torch.tensor([stretched, 0.0, shrunk]))


def test_strict_with_a_silent_modifier_is_the_individual_policy():
    logits = torch.tensor([1.0, 3.0, 2.0])
    torch.testing.assert_close(strict(logits, torch.zeros(3)).softmax(-1), logits.softmax(-1))


@BOUNDED
@given(data=st.data(), logits=LOGITS, bound=st.floats(0.1, 20), gain=st.floats(0.01, 10))
def test_strict_keeps_the_mode_and_every_tie_whatever_the_modifier_says(data, logits, bound, gain):
    ties = data.draw(st.sets(st.integers(0, len(logits) - 1)))
    logits = torch.tensor(logits)
    for index in ties:
        logits[index] = logits.max()
    numbers = st.lists(ANY_NUMBER, min_size=len(logits), max_size=len(logits))
    modifier = torch.tensor(data.draw(numbers))
    temperature = data.draw(st.floats(0.05, 5))
    everything = torch.ones(len(logits), dtype=torch.bool)
    joint = strict(logits, modifier, everything, bound=bound, gain=gain, temperature=temperature)
    assert torch.isfinite(joint).all()
    assert torch.equal(joint == joint.max(), logits == logits.max())
    assert joint.argmax() == logits.argmax()


@BOUNDED
@given(data=st.data(), logits=LOGITS)
def test_strict_keeps_the_mode_of_legal_actions(data, logits):
    size = len(logits)
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    mask[data.draw(st.integers(0, size - 1))] = True
    logits = torch.tensor(logits).masked_fill(~mask, MASKED_LOGIT)
    modifier = torch.tensor(data.draw(st.lists(ANY_NUMBER, min_size=size, max_size=size)))
    joint = strict(logits, modifier, mask)
    assert joint.argmax() == logits.argmax()
    assert (joint[~mask] == MASKED_LOGIT).all()
    assert (joint.softmax(-1)[~mask] == 0).all()


@BOUNDED
@given(b=st.floats(-1e4, 1e4), bound=st.floats(0.1, 5))
def test_strict_stretches_a_gap_by_at_most_the_bound(b, bound):
    joint = strict(torch.tensor([0.0, -1.0]), torch.full((2,), b), ALL[:2], bound=bound)
    assert math.exp(-bound) * 0.999 <= -joint[1].item() <= math.exp(bound) * 1.001


def test_strict_is_differentiable_in_both_arguments():
    logits = torch.tensor([1.0, 3.0, 2.0], requires_grad=True)
    modifier = torch.tensor([0.5, 0.2, -1.0], requires_grad=True)
    strict(logits, modifier).square().sum().backward()
    assert (logits.grad != 0).all()
    assert modifier.grad[0] != 0
    assert modifier.grad[1] == 0  # the mode's own dispersion changes nothing


# --- gumbel


def test_gumbel_by_hand():
    logits, modifier = torch.tensor([1.0, 0.0, -1.0]), torch.tensor([0.0, 2.0, -1.0])
    result = gumbel(logits, modifier, ceiling=0.8, gain=0.5, temperature=0.25)
    expected = []
    for logit, b in zip(logits.tolist(), modifier.tolist(), strict=True):
        u = 0.8 / (1 + math.exp(-0.5 * b))
        expected.append((logit - math.log(-math.log(u))) / 0.25)
    torch.testing.assert_close(result, torch.tensor(expected))


@BOUNDED
@given(
    kappa_b=st.floats(-60, 30),
    ceiling=st.floats(0.05, 0.99),
    gain=st.floats(0.1, 5),
    logit=st.floats(-10, 10),
)
def test_the_stable_form_equals_the_direct_one_where_that_is_safe(kappa_b, ceiling, gain, logit):
    b = torch.tensor([kappa_b / gain], dtype=torch.float64)
    direct = -(-(ceiling * torch.sigmoid(gain * b)).log()).log()
    logits = torch.tensor([logit], dtype=torch.float64)
    stable = gumbel(logits, b, ALL[:1], ceiling=ceiling, gain=gain)
    torch.testing.assert_close(stable, logits + direct)


@pytest.mark.parametrize("kappa_b", [-200.0, -89.0, 0.0, 200.0])
def test_gumbel_and_its_gradients_stay_finite_far_out(kappa_b):
    logits = torch.zeros(3, requires_grad=True)
    modifier = torch.full((3,), kappa_b, requires_grad=True)
    result = gumbel(logits, modifier)
    result.sum().backward()
    for tensor in (result, logits.grad, modifier.grad):
        assert torch.isfinite(tensor).all()
    assert kappa_b > 0 or (modifier.grad > 0).all()


def test_the_direct_form_would_not_stay_finite():
    b = torch.tensor([-200.0])
    assert torch.isinf(-(-(0.95 * torch.sigmoid(b)).log()).log()).all()


def test_gumbel_rises_with_the_modifier_up_to_the_ceiling():
    g = gumbel(torch.zeros(400), torch.linspace(-50, 50, 400), torch.ones(400).bool())
    assert (g.diff() >= 0).all()
    assert g.max().item() == pytest.approx(-math.log(-math.log(0.95)), rel=1e-5)


def test_gumbel_can_move_the_mode():
    logits = torch.tensor([0.1, 0.0, -9.0])
    assert gumbel(logits, torch.tensor([-3.0, 3.0, 0.0])).argmax() == 1


# --- both discrete forms


@pytest.mark.parametrize("form", [strict, gumbel])
def test_forbidden_actions_are_masked_after_mixing(form):
    mask = torch.tensor([True, False, True])
    logits = torch.tensor([1.0, MASKED_LOGIT, 0.0], requires_grad=True)
    modifier = torch.tensor([0.0, 100.0, 0.0], requires_grad=True)
    joint = form(logits, modifier, mask, temperature=0.5)
    assert joint[1] == MASKED_LOGIT
    assert joint.softmax(-1)[1] == 0
    joint.log_softmax(-1)[0].backward()
    for gradient in (logits.grad, modifier.grad):
        assert torch.isfinite(gradient).all()
        assert gradient[1] == 0


@pytest.mark.parametrize("form", [strict, gumbel])
def test_temperature_divides_the_joint_logits(form):
    logits, modifier = torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0.5, 0.2, -1.0])
    cold, warm = (form(logits, modifier, temperature=t) for t in (0.5, 1.0))
    torch.testing.assert_close(cold, 2 * warm)


@pytest.mark.parametrize("form", [strict, gumbel])
def test_each_row_is_mixed_on_its_own(form):
    generator = torch.Generator().manual_seed(0)
    logits, modifier = torch.randn(2, 4, 5, 3, generator=generator)
    mask = torch.rand(4, 5, 3, generator=generator) < 0.7
    mask[..., 0] = True
    joint = form(logits.masked_fill(~mask, MASKED_LOGIT), modifier, mask)
    row = form(logits[2, 3].masked_fill(~mask[2, 3], MASKED_LOGIT), modifier[2, 3], mask[2, 3])
    torch.testing.assert_close(joint[2, 3], row)


# --- continuous


def test_joint_std_by_hand():
    result = joint_std(torch.tensor([0.0, 2.0]), ceiling=0.75, gain=0.3, min_std=1e-3)
    expected = torch.tensor([0.375, 0.75 / (1 + math.exp(-0.6))])
    torch.testing.assert_close(result, expected)


@BOUNDED
@given(b=st.floats(-1e6, 1e6), ceiling=st.floats(0.1, 0.99), min_std=st.floats(1e-4, 0.05))
def test_joint_std_stays_between_its_floor_and_its_ceiling(b, ceiling, min_std):
    std = joint_std(torch.tensor([b]), ceiling=ceiling, gain=1.0, min_std=min_std).item()
    assert min_std * 0.999 <= std <= ceiling * 1.001


def test_joint_std_reaches_both_ends():
    ends = joint_std(torch.tensor([-500.0, 500.0]), ceiling=0.75, gain=0.3, min_std=0.01)
    torch.testing.assert_close(ends, torch.tensor([0.01, 0.75]))
