"""Experience as RLlib's SampleBatch, in which it travels, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

from rllib_agentmixer.core.data.batch import RecurrentState
from rllib_agentmixer.core.data.columns import (
    STATE_IN,
    experience_of,
    state_columns,
    state_of,
    step_columns,
    stored_columns,
)
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.data.sequences import episode_ids, joined, padding, sequence_starts


def to_sample_batch(
    steps: Experience,
    hidden: list[RecurrentState] | None,
    layout: TeamLayout,
    *,
    max_seq_len: int,
    first_episode_id: int,
) -> SampleBatch:
    """Rows of one sub-environment after the other, each in the order of time.

    Recurrent ones come with sequence lengths: sequences start anew at every episode and after
    ``max_seq_len`` steps, each with the recurrent state that the acting policy had there.

    Args:
        steps: [T, B] in the order of time.
        hidden: recurrent state before each step, or None.
        layout: of joint observations.
        max_seq_len: longest sequence.
        first_episode_id: of the first sub-environment's first episode.
    """
    ended = (steps.terminated | steps.truncated).numpy()
    keep = steps.valid.numpy().T  # [B, T]
    columns = {name: column.numpy() for name, column in step_columns(steps, layout).items()}
    columns[SampleBatch.EPS_ID] = episode_ids(ended, first_episode_id)
    data: dict[str, Any] = {name: x.swapaxes(0, 1)[keep] for name, x in columns.items()}
    if hidden is not None:
        joins = joined(steps.inputs.alive.numpy())
        starts = sequence_starts(ended, max_seq_len, joins) & keep.T  # [T, B]
        data |= _sequence_columns(starts, keep, hidden)
    return SampleBatch(data)


def _sequence_columns(
    starts: np.ndarray, keep: np.ndarray, hidden: list[RecurrentState]
) -> dict[str, Any]:
    envs, times = np.nonzero(starts.T)
    flat_starts = np.flatnonzero(starts.T[keep])
    lengths = np.diff(np.append(flat_starts, int(keep.sum())))
    by_time = [state_columns(h) for h in hidden[: len(starts)]]
    columns = {
        name: torch.stack([step[name] for step in by_time])[times, envs].cpu().numpy()
        for name in by_time[0]
    }
    return columns | {SampleBatch.SEQ_LENS: lengths.astype(np.int32)}


def to_experience(
    batch: SampleBatch,
    layout: TeamLayout,
    *,
    targets: type | None,
    like: RecurrentState | None,
    device: torch.device | str = "cpu",
) -> Experience:
    """RLlib's rows as named tensors [T, B, ...]; recurrent sequences are padded.

    Args:
        batch: of :func:`to_sample_batch`, or several of them concatenated.
        layout: of joint observations.
        targets: dataclass of the learner's own columns, or None.
        like: a recurrent state with the parts that the team has, or None.
        device: of the result.
    """
    lengths = batch.get(SampleBatch.SEQ_LENS)
    index, valid = padding(lengths, len(batch[SampleBatch.REWARDS]))

    def column(name: str) -> Tensor:
        tensor = torch.as_tensor(batch[name], device=device)
        # Padded rows repeat a real one: every value in them is finite, and none counts.
        return (tensor.float() if tensor.is_floating_point() else tensor)[index]

    hidden = None
    if lengths is not None and like is not None:
        names = [name for name in batch if name.startswith(STATE_IN)]
        states = {name: torch.as_tensor(batch[name], device=device) for name in names}
        num_empty = valid.shape[1] - len(states[f"{STATE_IN}0"])
        padded = {
            name: torch.cat([x, x.new_zeros(num_empty, *x.shape[1:])]) for name, x in states.items()
        }
        hidden = state_of(padded, like)
    return experience_of(
        {name: column(name) for name in stored_columns(targets) if name in batch},
        valid.to(device),
        layout,
        targets=targets,
        hidden=hidden,
    )
