"""Batches check their shapes, and minibatches lose, repeat and starve nothing."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_agentmixer.core.data.batch import (
    Latents,
    RecurrentState,
    TeamInputs,
    map_tensors,
    round_up,
)
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.learners.postprocessing import PolicyGradientTargets

BOUNDED = settings(max_examples=60, deadline=None, derandomize=True)
N, A, OBS, S, H = 2, 3, 4, 5, 6


def batch_of(T, B, *, recurrent=False):
    """Batch whose entries identify their sequence."""
    number = torch.arange(B, dtype=torch.float32)

    def numbered(*tail):
        return number.view(1, B, *[1] * len(tail)).expand(T, B, *tail).clone()

    hidden = None
    if recurrent:
        per_sequence = number[None, :, None]
        hidden = RecurrentState(per_sequence.expand(N, B, H), per_sequence.expand(1, B, H))
    ones = torch.ones(T, B, N, A, dtype=torch.bool)
    return Experience(
        inputs=TeamInputs(numbered(N, OBS), numbered(S), ones, ones[..., 0]),
        actions=numbered(N),
        rewards=numbered(),
        valid=torch.ones(T, B, dtype=torch.bool),
        terminated=numbered(),
        truncated=numbered(),
        behaviour=numbered(N * A),
        agent_rewards=numbered(N),
        hidden=hidden,
        targets=PolicyGradientTargets(numbered(), numbered(), numbered(), numbered()),
    )


STEPS = ["actions", "rewards", "terminated", "truncated", "behaviour", "agent_rewards"]
TARGETS = ["log_prob", "values", "advantages", "value_targets"]
FIELDS = STEPS + TARGETS


def column_of(batch, name):
    return getattr(batch.targets if name in TARGETS else batch, name)


INPUTS = ["obs", "state", "action_mask", "alive"]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_field_of_the_wrong_shape_is_named_with_its_shape(name, axis):
    batch = batch_of(3, 4)
    short = column_of(batch, name).narrow(axis, 0, 2)
    pattern = rf"Experience\.{name} must start with \[T, B\] = \[3, 4\].*\[{short.shape[0]}, "
    changes = {name: short}
    if name in TARGETS:
        changes = {"targets": replace(batch.targets, **changes)}
    with pytest.raises(ValueError, match=pattern):
        replace(batch, **changes)


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_of_the_wrong_shape_is_named(name):
    batch = batch_of(3, 4)
    inputs = replace(batch.inputs, **{name: getattr(batch.inputs, name)[:, :2]})
    with pytest.raises(ValueError, match=rf"Experience\.{name} must start with"):
        replace(batch, inputs=inputs)


@pytest.mark.parametrize("name", ["signal", "agent_order"])
def test_a_draw_of_the_wrong_shape_is_named(name):
    batch = batch_of(3, 4)
    latents = Latents(**{name: torch.zeros(3, 2, N)})
    with pytest.raises(ValueError, match=rf"Experience\.{name} must start with .*\[3, 2, 2\]"):
        replace(batch, inputs=replace(batch.inputs, latents=latents))


def test_what_counts_is_neither_padding_nor_dead():
    batch = batch_of(2, 3)
    batch.valid[1, 2] = False
    batch.inputs.alive[0, 1, 0] = False
    assert torch.equal(batch.counts(batch.targets.log_prob), batch.valid)
    expected = torch.ones(2, 3, N, dtype=torch.bool)
    expected[1, 2] = False
    expected[0, 1, 0] = False
    assert torch.equal(batch.counts(torch.zeros(2, 3, N)), expected)


def test_draws_and_the_memory_of_critics_are_selected_with_their_sequences():
    batch = batch_of(2, 5, recurrent=True)
    number = batch.targets.log_prob.unsqueeze(-1)
    latents = Latents(signal=number + 10, agent_order=(number + 20).expand(2, 5, N))
    hidden = replace(batch.hidden, critic=batch.hidden.individual + 30)
    batch = replace(batch, inputs=replace(batch.inputs, latents=latents), hidden=hidden)
    selected = batch.select(torch.tensor([3, 1]))
    assert selected.inputs.latents.signal[1, :, 0].tolist() == [13, 11]
    assert selected.inputs.latents.agent_order[0, :, 1].tolist() == [23, 21]
    assert selected.hidden.critic[1, :, 0].tolist() == [33, 31]


def test_map_tensors_reaches_every_tensor_and_keeps_none():
    batch = batch_of(2, 3, recurrent=True)
    seen = []
    result = map_tensors(batch, lambda x: seen.append(x) or x)
    assert len(seen) == len(FIELDS) + len(INPUTS) + 1 + 2
    assert isinstance(result, Experience)
    assert isinstance(result.inputs, TeamInputs)
    assert isinstance(result.hidden, RecurrentState)
    assert map_tensors(batch_of(2, 3), torch.clone).hidden is None
    assert map_tensors(None, torch.clone) is None
    assert torch.equal(map_tensors(torch.ones(2), torch.neg), -torch.ones(2))


def test_select_takes_the_same_sequences_of_everything():
    selected = batch_of(2, 5, recurrent=True).select(torch.tensor([3, 1]))
    for name in FIELDS:
        column = column_of(selected, name)
        column = column.flatten(2)[..., 0] if column.ndim > 2 else column
        assert column.tolist() == [[3, 1], [3, 1]]
    assert selected.inputs.state[0, :, 0].tolist() == [3, 1]
    assert selected.inputs.obs[0, :, 1, 0].tolist() == [3, 1]
    assert selected.hidden.individual[1, :, 0].tolist() == [3, 1]
    assert selected.hidden.modifier[0, :, 0].tolist() == [3, 1]
    assert selected.valid.shape == (2, 2)


def test_to_moves_everything():
    batch = batch_of(2, 3, recurrent=True)
    moved = batch.to("meta")
    assert moved.valid.is_meta
    assert moved.inputs.obs.is_meta
    assert moved.hidden.modifier.is_meta
    assert batch.num_sequences == moved.num_sequences == 3


def numbers(parts):
    return [part.targets.log_prob[0].int().tolist() for part in parts]


@BOUNDED
@given(T=st.integers(1, 5), B=st.integers(1, 40), num_steps=st.integers(1, 120))
def test_minibatches_hold_every_sequence_once_in_parts_of_equal_size(T, B, num_steps):
    parts = list(batch_of(T, B).minibatches(num_steps, torch.Generator().manual_seed(0)))
    sizes = [part.num_sequences for part in parts]
    assert sorted(n for part in numbers(parts) for n in part) == list(range(B))
    assert max(sizes) - min(sizes) <= 1
    wanted = max(1, num_steps // T)
    assert len(parts) == max(1, round(B / wanted))
    for part in parts:
        assert part.valid.shape[0] == T
        assert torch.equal(part.actions[..., 0], part.targets.log_prob)


def test_minibatches_count_steps_and_not_sequences():
    parts = list(batch_of(5, 12).minibatches(20, torch.Generator()))
    assert [part.num_sequences for part in parts] == [4, 4, 4]


def test_a_part_smaller_than_a_sequence_is_one_sequence():
    parts = list(batch_of(5, 3).minibatches(2, torch.Generator()))
    assert [part.num_sequences for part in parts] == [1, 1, 1]


def test_one_part_is_the_batch_itself():
    batch = batch_of(2, 6)
    (part,) = batch.minibatches(12, torch.Generator())
    assert part is batch


def test_the_generator_alone_decides_the_order():
    def cut(seed):
        return numbers(batch_of(1, 30).minibatches(10, torch.Generator().manual_seed(seed)))

    assert cut(1) == cut(1)
    assert cut(1) != cut(2)
    assert cut(1) != [list(range(i, i + 10)) for i in (0, 10, 20)]


def test_the_next_epoch_is_shuffled_anew():
    generator, batch = torch.Generator().manual_seed(0), batch_of(1, 30)
    assert numbers(batch.minibatches(10, generator)) != numbers(batch.minibatches(10, generator))


def test_empty_sequences_are_in_no_minibatch_and_the_others_in_one_each(build):
    _, batch = build.collected(use_gru=True, T=4, B=6)
    valid = batch.valid.clone()
    valid[:, 1::2] = False
    batch = replace(batch, valid=valid, actions=torch.arange(6).expand(4, 6).clone())
    parts = list(batch.minibatches(4, torch.Generator().manual_seed(0)))
    assert [part.num_sequences for part in parts] == [1, 1, 1]
    assert sorted(int(part.actions[0, 0]) for part in parts) == [0, 2, 4]
    whole = list(batch.minibatches(12, torch.Generator()))
    assert whole == [batch]


def test_numbers_share_a_few_values_close_above_them():
    rounded = [round_up(number) for number in range(1, 3000)]
    for number, up in enumerate(rounded, start=1):
        assert number <= up <= number * 17 / 16
    assert len(set(rounded)) < 150


def test_parts_are_filled_up_with_empty_sequences_to_a_round_number(build):
    _, batch = build.collected(use_gru=True, T=2, B=101)
    parts = list(batch.minibatches(100, torch.Generator().manual_seed(0)))
    assert [part.num_sequences for part in parts] == [52, 50]
    assert [int(part.valid.any(0).sum()) for part in parts] == [51, 50]
    assert int(batch.valid.sum()) == 202  # the whole batch is left as it was
