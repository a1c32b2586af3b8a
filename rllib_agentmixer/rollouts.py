"""The array loop: B copies of a team stepped together, one forward pass for all of them.

Free of Ray: both the RLlib worker and plain scripts call :func:`collect`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rllib_agentmixer.acting import (
    EpisodeRecord,
    RolloutState,
    RowFilter,
    TeamActor,
    forget,
    pack_rows,
    start,
)
from rllib_agentmixer.core.batch import RecurrentState
from rllib_agentmixer.core.returns import generalized_advantages
from rllib_agentmixer.envs.vector_env import TeamStep, VectorTeamEnv


@dataclass(frozen=True, eq=False)
class Rollout:
    """A fragment of experience, time first.

    Attributes:
        rows: [T, B, F] joint observations, as the network saw them.
        raw_rows: the same before any filter (the same array without one).
        actions: [T, B, N] or [T, B, N, A], policy units.
        log_prob: [T, B] joint log-probability.
        parameters: [T, B, P] of the acting policy.
        rewards: [T, B].
        values: [T, B] V(s), reward units.
        advantages: [T, B].
        value_targets: [T, B].
        terminated: [T, B].
        truncated: [T, B].
        keep: [T, B] False on steps that belong to no wanted episode.
        hidden: per step, recurrent state before it; None without recurrence.
        episodes: finished episodes, in the order of their end.
    """

    rows: np.ndarray
    raw_rows: np.ndarray
    actions: np.ndarray
    log_prob: np.ndarray
    parameters: np.ndarray
    rewards: np.ndarray
    values: np.ndarray
    advantages: np.ndarray
    value_targets: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    keep: np.ndarray
    hidden: list[RecurrentState] | None
    episodes: list[EpisodeRecord]


@dataclass
class _Columns:
    """Per-step arrays of a fragment under way."""

    rows: list[np.ndarray] = field(default_factory=list)
    raw_rows: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    parameters: list[np.ndarray] = field(default_factory=list)
    rewards: list[np.ndarray] = field(default_factory=list)
    terminated: list[np.ndarray] = field(default_factory=list)
    truncated: list[np.ndarray] = field(default_factory=list)
    keep: list[np.ndarray] = field(default_factory=list)
    hidden: list[RecurrentState] = field(default_factory=list)
    cut_rows: dict[int, np.ndarray] = field(default_factory=dict)
    """Time -> rows [B, F] of final observations, for steps at which some copy was cut."""


StepHook = Callable[[TeamStep, dict[int, EpisodeRecord]], None]
"""Called after every step with the records of the wanted episodes that ended in it."""


def collect(
    actor: TeamActor,
    env: VectorTeamEnv,
    rollout: RolloutState,
    num_steps: int,
    *,
    gamma: float,
    lambda_: float,
    explore: bool = True,
    complete_episodes: bool = False,
    row_filter: RowFilter | None = None,
    on_step: StepHook | None = None,
) -> Rollout:
    """Step all copies and return a fragment with advantages; ``rollout`` moves on.

    Args:
        actor: chooses actions.
        env: B copies.
        rollout: where they stand; changed in place.
        num_steps: T, steps of every copy; with ``complete_episodes`` the least number of
            steps per copy on average, after which running episodes are played to their end.
        gamma: discount.
        lambda_: of generalised advantage estimation.
        explore: False takes modes.
        complete_episodes: start all copies afresh and keep whole episodes only.
        row_filter: observation filter.
        on_step: hook for callbacks.
    """
    if complete_episodes:
        fresh = start(actor, env)
        rollout.observation, rollout.hidden = fresh.observation, fresh.hidden
        rollout.tracker = fresh.tracker
    columns, episodes = _Columns(), []
    active = np.ones(env.num_envs, bool)
    steps_wanted, steps_kept = num_steps * env.num_envs, 0
    while active.any() if complete_episodes else len(columns.rows) < num_steps:
        step, ended = _advance(actor, env, rollout, columns, explore, row_filter)
        # A copy that is done goes on until all are; what it plays then is short by selection.
        records = {
            copy: record
            for copy, record in rollout.tracker.add(step, ended).items()
            if active[copy]
        }
        episodes += records.values()
        if on_step is not None:
            on_step(step, records)
        columns.keep.append(active.copy())
        steps_kept += int(active.sum())
        if complete_episodes and steps_kept >= steps_wanted:
            active &= ~ended
    last_rows = pack_rows(actor.layout, rollout.observation)
    last_rows = row_filter(last_rows) if row_filter else last_rows
    return _finish(actor, columns, last_rows, episodes, gamma=gamma, lambda_=lambda_)


def _advance(
    actor: TeamActor,
    env: VectorTeamEnv,
    rollout: RolloutState,
    columns: _Columns,
    explore: bool,
    row_filter: RowFilter | None,
) -> tuple[TeamStep, np.ndarray]:
    raw = pack_rows(actor.layout, rollout.observation)
    rows = row_filter(raw.copy()) if row_filter else raw
    choice = actor.act(rows, rollout.hidden, explore=explore)
    if rollout.hidden is not None:
        columns.hidden.append(rollout.hidden)
    step = env.step(actor.to_env(choice.actions))
    ended = step.terminated | step.truncated
    if step.truncated.any():
        final = pack_rows(actor.layout, step.final_observation)
        columns.cut_rows[len(columns.rows)] = row_filter(final) if row_filter else final
    columns.rows.append(rows)
    columns.raw_rows.append(raw)
    columns.actions.append(choice.actions)
    columns.parameters.append(choice.parameters)
    columns.rewards.append(step.reward.copy())
    columns.terminated.append(step.terminated.copy())
    columns.truncated.append(step.truncated.copy())
    rollout.observation, rollout.hidden = step.observation, forget(choice.hidden, ended)
    return step, ended


@torch.inference_mode()
def _finish(
    actor: TeamActor,
    columns: _Columns,
    last_rows: np.ndarray,
    episodes: list[EpisodeRecord],
    *,
    gamma: float,
    lambda_: float,
) -> Rollout:
    """Values, advantages and log-probabilities of the whole fragment in one go."""
    rows = np.stack([*columns.rows, last_rows])
    values = actor.values(rows)
    rewards = np.stack(columns.rewards)
    terminated, truncated = np.stack(columns.terminated), np.stack(columns.truncated)
    actions, parameters = np.stack(columns.actions), np.stack(columns.parameters)
    estimate = generalized_advantages(
        torch.from_numpy(rewards),
        values[:-1],
        _next_values(actor, columns, values, truncated),
        torch.from_numpy(terminated),
        torch.from_numpy(terminated | truncated),
        gamma=gamma,
        lambda_=lambda_,
    )
    has_filter = columns.raw_rows[0] is not columns.rows[0]
    return Rollout(
        rows=rows[:-1],
        raw_rows=np.stack(columns.raw_rows) if has_filter else rows[:-1],
        actions=actions,
        log_prob=_log_prob(actor, rows[:-1], actions, parameters),
        parameters=parameters,
        rewards=rewards,
        values=values[:-1].numpy(),
        advantages=estimate.advantages.numpy(),
        value_targets=estimate.value_targets.numpy(),
        terminated=terminated,
        truncated=truncated,
        keep=np.stack(columns.keep),
        hidden=columns.hidden or None,
        episodes=episodes,
    )


def _next_values(
    actor: TeamActor, columns: _Columns, values: Tensor, truncated: np.ndarray
) -> Tensor:
    """[T, B] V of what followed each step: where a copy was cut, of its last observation."""
    next_values = values[1:].clone()
    for t, cut_rows in columns.cut_rows.items():
        next_values[t, torch.from_numpy(truncated[t])] = actor.values(cut_rows[truncated[t]])
    return next_values


def _log_prob(
    actor: TeamActor, rows: np.ndarray, actions: np.ndarray, parameters: np.ndarray
) -> np.ndarray:
    inputs = actor.layout.inputs(torch.from_numpy(rows))
    policy = actor.network.policy_from_flat(torch.from_numpy(parameters), inputs)
    log_prob: Tensor = policy.log_prob(torch.from_numpy(actions))
    return log_prob.numpy()
