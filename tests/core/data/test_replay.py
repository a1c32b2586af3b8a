"""Replayed episodes: the oldest leave first, rows stay together, and restoring is exact."""

from dataclasses import replace

import pytest
import torch

from rllib_agentmixer.core.data.batch import TeamInputs
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.data.replay import EpisodeReplay
from rllib_agentmixer.core.data.sizes import TeamSizes

SIZES = TeamSizes((2, 1), 3, "discrete", (2, 2))
LAYOUT = TeamLayout(SIZES)


def episode(number, length):
    """Episode whose rewards are its number and whose actions count steps."""
    rows = length + 1
    ones = torch.ones(rows, 1, 2, 2, dtype=torch.bool)
    inputs = TeamInputs(
        torch.full((rows, 1, 2, 2), float(number)), torch.zeros(rows, 1, 3), ones, ones[..., 0]
    )
    valid = torch.ones(rows, 1, dtype=torch.bool)
    valid[-1] = False
    terminated = torch.zeros(rows, 1, dtype=torch.bool)
    terminated[length - 1] = True
    return Experience(
        inputs=inputs,
        actions=torch.arange(rows).view(rows, 1, 1).expand(rows, 1, 2).clone(),
        rewards=torch.full((rows, 1), float(number)),
        valid=valid,
        terminated=terminated,
        truncated=torch.zeros(rows, 1, dtype=torch.bool),
        behaviour=torch.zeros(rows, 1, 4),
    )


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def numbers_in(replay):
    return set(replay.sample(4000, random()).rewards[0].int().tolist())


def test_the_oldest_episodes_leave_first_whatever_their_lengths():
    replay = EpisodeReplay(10, LAYOUT)
    for number in range(100):
        replay.add(episode(number, 2))
    for number in range(100, 115):
        replay.add(episode(number, 9))
    assert len(replay) == 10
    assert numbers_in(replay) == set(range(105, 115))
    for number in range(115, 119):
        replay.add(episode(number, 1))
    assert numbers_in(replay) == set(range(109, 119))


def test_an_episode_comes_back_as_it_was_added():
    replay = EpisodeReplay(5, LAYOUT)
    kept = episode(7, 4)
    kept = replace(kept, agent_rewards=torch.randn(5, 1, 2))
    replay.add(kept)
    found = replay.sample(1, random())
    for name, column in vars(kept).items():
        if isinstance(column, torch.Tensor):
            assert torch.equal(getattr(found, name), column), name
    for name in ("obs", "state", "action_mask", "alive"):
        assert torch.equal(getattr(found.inputs, name), getattr(kept.inputs, name)), name


def test_shorter_episodes_of_a_batch_are_padded_and_their_last_rows_are_not_valid():
    replay = EpisodeReplay(5, LAYOUT)
    for number, length in enumerate((1, 3)):
        replay.add(episode(number, length))
    batch = replay.sample(50, random())
    assert batch.valid.shape == (4, 50)
    for index in range(50):
        length = 1 if batch.rewards[0, index] == 0 else 3
        assert batch.valid[:, index].tolist() == [t < length for t in range(4)]
        assert batch.actions[:length, index, 0].tolist() == list(range(length))
        assert batch.terminated[length - 1, index]
        assert (batch.rewards[:, index] == batch.rewards[0, index]).all()


def test_a_batch_is_no_longer_than_its_longest_episode():
    replay = EpisodeReplay(50, LAYOUT)
    replay.add(episode(0, 40))
    for number in range(1, 51):
        replay.add(episode(number, 2))
    assert replay.sample(30, random()).valid.shape == (3, 30)


def test_an_episode_may_occur_several_times_in_a_batch():
    replay = EpisodeReplay(3, LAYOUT)
    replay.add(episode(4, 2))
    batch = replay.sample(6, random())
    assert batch.valid.shape == (3, 6)
    assert batch.valid.sum(0).tolist() == [2] * 6


@pytest.mark.parametrize("num_added", [3, 12])
def test_a_restored_replay_goes_on_the_same(num_added):
    replay, other = EpisodeReplay(5, LAYOUT), EpisodeReplay(5, LAYOUT)
    for number in range(num_added):
        replay.add(episode(number, 1 + number % 4))
    other.load_state_dict(replay.state_dict())
    for each in (replay, other):
        each.add(episode(99, 6))
    first, second = (each.sample(20, random(3)) for each in (replay, other))
    assert torch.equal(first.rewards, second.rewards)
    assert torch.equal(first.valid, second.valid)
    assert len(replay) == len(other)


def test_another_capacity_is_refused():
    replay = EpisodeReplay(5, LAYOUT)
    for number in range(9):
        replay.add(episode(number, 1))
    with pytest.raises(ValueError, match="of 7 episodes cannot continue one that stored 5"):
        EpisodeReplay(7, LAYOUT).load_state_dict(replay.state_dict())


def test_memory_is_what_the_arrays_take():
    replay = EpisodeReplay(100, LAYOUT)
    assert replay.num_bytes == 0
    replay.add(episode(0, 9))
    row = 4 * LAYOUT.row_size + 8 * 2 + 4 + 1 + 1 + 4 * 4
    assert replay.num_bytes == 100 * 10 * row
