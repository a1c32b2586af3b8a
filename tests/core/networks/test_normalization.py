"""Running statistics of value targets against numpy over everything seen."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_agentmixer.core.networks.normalization import SMALLEST_STD, ValueNormalizer

BOUNDED = settings(max_examples=40, deadline=None, derandomize=True)


def batches(seed, count, scale=3.0, shift=5.0):
    generator = torch.Generator().manual_seed(seed)
    for size in torch.randint(1, 6, (count,), generator=generator).tolist():
        targets = torch.randn(size, 3, generator=generator) * scale + shift
        valid = torch.rand(size, 3, generator=generator) < 0.6
        valid[0, 0] = True
        yield torch.where(valid, targets, 1e6), valid


@BOUNDED
@given(seed=st.integers(0, 2**31), count=st.integers(1, 6))
def test_statistics_are_those_of_all_valid_targets_together(seed, count):
    normalizer, seen = ValueNormalizer(), []
    for targets, valid in batches(seed, count):
        normalizer.update(targets, valid)
        seen.append(targets[valid].numpy())
    everything = np.concatenate(seen)
    assert normalizer.count == everything.size
    assert normalizer.mean.item() == pytest.approx(everything.mean(), rel=1e-4, abs=1e-4)
    assert normalizer.variance.item() == pytest.approx(everything.var(), rel=1e-3, abs=1e-4)


def test_before_the_first_batch_it_is_the_identity():
    normalizer = ValueNormalizer()
    values = torch.tensor([-3.0, 0.0, 8.0])
    assert torch.equal(normalizer.normalize(values), values)
    assert torch.equal(normalizer.denormalize(values), values)


def test_normalize_by_hand():
    normalizer = ValueNormalizer()
    normalizer.update(torch.tensor([1.0, 5.0]), torch.tensor([True, True]))
    values = torch.tensor([3.0, 7.0])
    torch.testing.assert_close(normalizer.normalize(values), torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(normalizer.denormalize(values), torch.tensor([9.0, 17.0]))


@BOUNDED
@given(seed=st.integers(0, 2**31), value=st.floats(-1e3, 1e3))
def test_normalize_and_denormalize_undo_each_other(seed, value):
    normalizer = ValueNormalizer()
    for targets, valid in batches(seed, 3):
        normalizer.update(targets, valid)
    value = torch.tensor([value])
    there_and_back = normalizer.denormalize(normalizer.normalize(value))
    torch.testing.assert_close(there_and_back, value, atol=1e-3, rtol=1e-5)
    back_and_there = normalizer.normalize(normalizer.denormalize(value))
    torch.testing.assert_close(back_and_there, value, atol=1e-3, rtol=1e-5)


def test_targets_that_do_not_vary_are_divided_by_the_floor():
    normalizer = ValueNormalizer()
    normalizer.update(torch.full((4,), 7.0), torch.ones(4, dtype=torch.bool))
    assert normalizer.std.item() == pytest.approx(SMALLEST_STD)
    assert normalizer.normalize(torch.tensor([7.0])).item() == 0


def test_statistics_travel_with_the_state_dict_and_need_no_gradient():
    normalizer, other = ValueNormalizer(), ValueNormalizer()
    normalizer.update(torch.tensor([1.0, 5.0], requires_grad=True), torch.tensor([True, True]))
    other.load_state_dict(normalizer.state_dict())
    assert (other.mean, other.variance, other.count) == (3.0, 4.0, 2.0)
    assert not normalizer.mean.requires_grad
