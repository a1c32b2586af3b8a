"""Sequences of steps: where they begin in a fragment, and how they are padded."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import round_up


def episode_ids(ended: np.ndarray, first_id: int) -> np.ndarray:
    """[T, B] identifiers that change where an episode ends and never repeat within a worker."""
    before = np.cumsum(ended, axis=0) - ended
    return first_id + before * ended.shape[1] + np.arange(ended.shape[1])


def joined(alive: np.ndarray) -> np.ndarray | None:
    """[T, B] whether an agent takes part that did not a step before; None if that never is."""
    if alive.all():
        return None
    joins = np.zeros(alive.shape[:2], bool)
    joins[1:] = (alive[1:] & ~alive[:-1]).any(-1)
    return joins


def sequence_starts(
    ended: np.ndarray, max_seq_len: int, joins: np.ndarray | None = None
) -> np.ndarray:
    """[T, B] True where a new padded sequence begins.

    An agent that joins begins one too: its recurrent state starts from zero there.

    An episode that is longer than one sequence is cut into parts of even length: 25 steps at
    ``max_seq_len=20`` make 13 and 12, since 20 and 5 would be three eighths padding.

    Args:
        ended: [T, B] last steps of episodes.
        max_seq_len: longest sequence.
        joins: [T, B] steps at which an agent joins, or None.
    """
    num_steps = len(ended)
    is_first = np.concatenate([np.ones_like(ended[:1]), ended[:-1]])
    if joins is not None:
        is_first |= joins
    is_first = is_first.T.ravel()  # one sub-environment after the other
    first = np.flatnonzero(is_first)
    lengths = np.diff(np.append(first, is_first.size))
    num_parts = -(-lengths // max_seq_len)
    part_lengths = -(-lengths // num_parts)
    age = np.arange(is_first.size) - np.repeat(first, lengths)
    starts = age % np.repeat(part_lengths, lengths) == 0
    return starts.reshape(-1, num_steps).T


def padding(lengths: Any, num_rows: int) -> tuple[Tensor, Tensor]:
    """[T, B] row of every step (0 in padding) and whether it is real.

    Args:
        lengths: of the sequences in R rows; None where every row is a sequence.
        num_rows: R.
    """
    if lengths is None:
        rows = torch.arange(round_up(num_rows)).unsqueeze(0)
        valid = rows < num_rows
        return torch.where(valid, rows, 0), valid
    lengths = torch.as_tensor(np.asarray(lengths), dtype=torch.long)
    lengths = torch.cat([lengths, lengths.new_zeros(round_up(len(lengths)) - len(lengths))])
    starts = lengths.cumsum(0) - lengths
    times = torch.arange(int(lengths.max())).unsqueeze(1)
    valid = times < lengths
    return torch.where(valid, starts + times, 0), valid
