"""Between the worker's arrays, RLlib's SampleBatch that travels, and the core's TeamBatch."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

from rllib_agentmixer.core.data.batch import Latents, RecurrentState, TeamBatch, round_up
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.rollouts.collect import Rollout


def to_sample_batch(rollout: Rollout, max_seq_len: int, first_episode_id: int) -> SampleBatch:
    """Rows copy by copy, each in the order of time; recurrent ones with sequence lengths.

    Sequences start afresh at every episode and after ``max_seq_len`` steps, each with the
    recurrent state that the acting policy had there.
    """
    ended = rollout.terminated | rollout.truncated
    columns = {
        SampleBatch.OBS: rollout.rows,
        SampleBatch.ACTIONS: rollout.actions.reshape(*rollout.actions.shape[:2], -1),
        SampleBatch.REWARDS: rollout.rewards,
        SampleBatch.TERMINATEDS: rollout.terminated,
        SampleBatch.TRUNCATEDS: rollout.truncated,
        SampleBatch.EPS_ID: _episode_ids(ended, first_episode_id),
        SampleBatch.ACTION_LOGP: rollout.log_prob,
        SampleBatch.ACTION_DIST_INPUTS: rollout.parameters,
        SampleBatch.VF_PREDS: rollout.values,
        Postprocessing.ADVANTAGES: rollout.advantages,
        Postprocessing.VALUE_TARGETS: rollout.value_targets,
    }
    if rollout.latents is not None:
        columns |= {
            name: draw.numpy() for name, draw in vars(rollout.latents).items() if draw is not None
        }
    keep = rollout.keep.T  # [B, T]
    data = {name: column.swapaxes(0, 1)[keep] for name, column in columns.items()}
    if rollout.hidden is not None:
        data |= _sequence_columns(rollout, ended, max_seq_len)
    return SampleBatch(data)


def _episode_ids(ended: np.ndarray, first_id: int) -> np.ndarray:
    """[T, B] numbers that change where an episode ends and never repeat within a worker."""
    before = np.cumsum(ended, axis=0) - ended
    return first_id + before * ended.shape[1] + np.arange(ended.shape[1])


def _sequence_columns(rollout: Rollout, ended: np.ndarray, max_seq_len: int) -> dict[str, Any]:
    hidden = rollout.hidden or []
    starts = _sequence_starts(ended, max_seq_len, _joined(rollout.alive)) & rollout.keep  # [T, B]
    copies, times = np.nonzero(starts.T)
    flat_starts = np.flatnonzero(starts.T[rollout.keep.T])
    lengths = np.diff(np.append(flat_starts, int(rollout.keep.sum())))
    by_part = zip(*(hidden_to_rllib(h) for h in hidden), strict=True)
    columns = {
        f"state_in_{index}": torch.stack(steps)[times, copies].cpu().numpy()
        for index, steps in enumerate(by_part)
    }
    return columns | {SampleBatch.SEQ_LENS: lengths.astype(np.int32)}


def hidden_to_rllib(hidden: RecurrentState) -> list[Tensor]:
    """Agent-first -> copies first, as RLlib keeps states: [B, N, H] each, [B, H] the modifier's."""
    parts = [hidden.individual.transpose(0, 1)]
    if hidden.modifier is not None:
        parts.append(hidden.modifier[0])
    if hidden.critic is not None:
        parts.append(hidden.critic.transpose(0, 1))
    return parts


def hidden_from_rllib(parts: list[Tensor]) -> RecurrentState:
    """Copies first -> agent-first; the modifier's part is the one without an axis of agents."""
    individual, *others = parts
    modifier = next((x.unsqueeze(0) for x in others if x.ndim == 2), None)
    critic = next((x.transpose(0, 1) for x in others if x.ndim == 3), None)
    return RecurrentState(individual.transpose(0, 1), modifier, critic)


def _joined(alive: np.ndarray) -> np.ndarray | None:
    """[T, B] whether an agent takes part that did not a step before; None if that never is."""
    if alive.all():
        return None
    joined = np.zeros(alive.shape[:2], bool)
    joined[1:] = (alive[1:] & ~alive[:-1]).any(-1)
    return joined


def _sequence_starts(
    ended: np.ndarray, max_seq_len: int, joined: np.ndarray | None = None
) -> np.ndarray:
    """[T, B] True where a new padded sequence begins.

    An agent that joins begins one too: its recurrent state starts from zero there.

    An episode that is longer than one sequence is cut into parts of even length: 25 steps at
    ``max_seq_len=20`` make 13 and 12, since 20 and 5 would be three eighths padding.
    """
    num_steps = len(ended)
    is_first = np.concatenate([np.ones_like(ended[:1]), ended[:-1]])
    if joined is not None:
        is_first |= joined
    is_first = is_first.T.ravel()  # copy by copy
    first = np.flatnonzero(is_first)
    lengths = np.diff(np.append(first, is_first.size))
    num_parts = -(-lengths // max_seq_len)
    part_lengths = -(-lengths // num_parts)
    age = np.arange(is_first.size) - np.repeat(first, lengths)
    starts = age % np.repeat(part_lengths, lengths) == 0
    return starts.reshape(-1, num_steps).T


def to_team_batch(
    batch: SampleBatch, layout: TeamLayout, device: torch.device | str = "cpu"
) -> TeamBatch:
    """RLlib's rows as named tensors [T, B, ...]; recurrent sequences are padded with zeros."""
    lengths = batch.get(SampleBatch.SEQ_LENS)
    num_rows = len(batch[SampleBatch.REWARDS])
    index, valid = _padding(lengths, num_rows)

    def column(name: str) -> Tensor:
        return torch.as_tensor(batch[name], device=device).float()[index]

    rows = column(SampleBatch.OBS)
    # Padded rows repeat a real one: every number in them stays finite, and none counts.
    hidden = None
    if lengths is not None and "state_in_0" in batch:
        names = sorted(name for name in batch if name.startswith("state_in_"))
        states = [torch.as_tensor(batch[name], device=device) for name in names]
        empty = valid.shape[1] - len(states[0])
        hidden = hidden_from_rllib(
            [torch.cat([x, x.new_zeros(empty, *x.shape[1:])]) for x in states]
        )
    actions = column(SampleBatch.ACTIONS)
    if layout.sizes.action_kind == "continuous":
        actions = actions.unflatten(-1, (layout.sizes.num_agents, -1))
    inputs = layout.inputs(rows)
    drawn = [f.name for f in fields(Latents) if f.name in batch]
    if drawn:
        latents = {name: torch.as_tensor(batch[name], device=device)[index] for name in drawn}
        inputs = replace(inputs, latents=Latents(**latents))
    return TeamBatch(
        inputs=inputs,
        actions=actions,
        log_prob=column(SampleBatch.ACTION_LOGP),
        policy_parameters=column(SampleBatch.ACTION_DIST_INPUTS),
        values=column(SampleBatch.VF_PREDS),
        advantages=column(Postprocessing.ADVANTAGES),
        value_targets=column(Postprocessing.VALUE_TARGETS),
        valid=valid.to(device),
        hidden=hidden,
    )


def _padding(lengths: Any, num_rows: int) -> tuple[Tensor, Tensor]:
    """[T, B] row of every step (0 in padding) and whether it is real."""
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
