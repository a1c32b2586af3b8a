"""The array loop: B copies of a team stepped together, one forward pass for all of them.

Free of Ray: both the RLlib worker and plain scripts call :func:`collect`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

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
from rllib_agentmixer.core.batch import Draws, RecurrentState
from rllib_agentmixer.core.returns import generalized_advantages
from rllib_agentmixer.envs.vector_env import TeamStep, VectorTeamEnv


@dataclass(frozen=True, eq=False)
class Rollout:
    """A fragment of experience, time first.

    Attributes:
        rows: [T, B, F] joint observations, as the network saw them.
        raw_rows: the same before any filter (the same array without one).
        actions: [T, B, N] or [T, B, N, A], policy units.
        log_prob: [T, B] of joint actions, or [T, B, N] of each agent's.
        parameters: [T, B, P] of the acting policy.
        rewards: [T, B].
        values: [T, B] V(s), or [T, B, N] V_i(h_i), reward units.
        advantages: shaped as ``values``.
        value_targets: shaped as ``values``.
        terminated: [T, B].
        truncated: [T, B].
        keep: [T, B] False on steps that belong to no wanted episode.
        hidden: per step, recurrent state before it; None without recurrence.
        episodes: finished episodes, in the order of their end.
        draws: [T, B, ...] what a correlated joint policy drew, or None.
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
    draws: Draws | None = None


@dataclass(frozen=True, eq=False)
class _Cut:
    """Rows [B, F] of final observations, and the recurrent state there."""

    rows: np.ndarray
    hidden: RecurrentState | None


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
    limits_are_ends: bool = False
    keep: list[np.ndarray] = field(default_factory=list)
    hidden: list[RecurrentState] = field(default_factory=list)
    draws: list[Draws] = field(default_factory=list)
    cuts: dict[int, _Cut] = field(default_factory=dict)
    """Time -> what followed the step, for steps at which some copy was cut."""

    @property
    def is_filtered(self) -> bool:
        """Whether the networks saw other rows than the environment gave."""
        return self.raw_rows[0] is not self.rows[0]


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
    bootstrap_truncated: bool = True,
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
        bootstrap_truncated: whether value follows a time limit; False counts it as an end.
        explore: False takes modes.
        complete_episodes: start all copies afresh and keep whole episodes only.
        row_filter: observation filter.
        on_step: hook for callbacks.
    """
    if complete_episodes:
        fresh = start(actor, env)
        rollout.observation, rollout.hidden = fresh.observation, fresh.hidden
        rollout.tracker = fresh.tracker
    columns, episodes = _Columns(limits_are_ends=not bootstrap_truncated), []
    active = np.ones(env.num_envs, bool)
    steps_wanted, steps_kept = num_steps * env.num_envs, 0
    while active.any() if complete_episodes else len(columns.rows) < num_steps:
        step, ended = _advance(actor, env, rollout, columns, explore, row_filter)
        # A copy that is done goes on until all are; what it plays then is short by selection.
        finished = rollout.tracker.add(step, ended)
        records = {copy: record for copy, record in finished.items() if active[copy]}
        episodes += records.values()
        if on_step is not None:
            on_step(step, records)
        columns.keep.append(active.copy())
        steps_kept += int(active.sum())
        if complete_episodes and steps_kept >= steps_wanted:
            active &= ~ended
    last_rows = pack_rows(actor.layout, rollout.observation)
    last = _Cut(row_filter(last_rows) if row_filter else last_rows, rollout.hidden)
    return _finish(actor, columns, last, episodes, gamma=gamma, lambda_=lambda_)


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
    ended, cut = step.terminated | step.truncated, step.truncated
    if columns.limits_are_ends:
        cut = cut & step.faulty  # a crash is no end of the task
    if cut.any():
        final = pack_rows(actor.layout, step.final_observation)
        final = row_filter(final) if row_filter else final
        columns.cuts[len(columns.rows)] = _Cut(final, choice.hidden)
    if choice.draws is not None:
        columns.draws.append(choice.draws)
    columns.rows.append(rows)
    columns.raw_rows.append(raw)
    columns.actions.append(choice.actions)
    columns.parameters.append(choice.parameters)
    columns.rewards.append(step.reward.copy())
    columns.terminated.append(ended & ~cut)
    columns.truncated.append(cut.copy())
    rollout.observation, rollout.hidden = step.observation, forget(choice.hidden, ended)
    return step, ended


@torch.inference_mode()
def _finish(
    actor: TeamActor,
    columns: _Columns,
    last: _Cut,
    episodes: list[EpisodeRecord],
    *,
    gamma: float,
    lambda_: float,
) -> Rollout:
    """Values, advantages and log-probabilities of the whole fragment in one go."""
    rows = np.stack([*columns.rows, last.rows])
    values = actor.values(rows, _critic_states([*columns.hidden, last.hidden]))
    rewards = np.stack(columns.rewards)
    terminated, truncated = np.stack(columns.terminated), np.stack(columns.truncated)
    actions, parameters = np.stack(columns.actions), np.stack(columns.parameters)
    estimate = generalized_advantages(
        _beside(values, rewards),
        values[:-1],
        _next_values(actor, columns, values, truncated),
        _beside(values, terminated),
        _beside(values, terminated | truncated),
        gamma=gamma,
        lambda_=lambda_,
    )
    return Rollout(
        rows=rows[:-1],
        raw_rows=np.stack(columns.raw_rows) if columns.is_filtered else rows[:-1],
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
        draws=_stack_draws(columns.draws),
    )


def _beside(values: Tensor, steps: np.ndarray) -> Tensor:
    """[T, B], or [T, B, 1] where every agent has its own V: one team reward stands for all."""
    return torch.from_numpy(steps).view(*steps.shape, *(1,) * (values.ndim - steps.ndim))


def _critic_states(hidden: Sequence[RecurrentState | None]) -> Tensor | None:
    """[N, K * B, H] states of a recurrent critic at K steps, if there is one."""
    states = [h.critic for h in hidden if h is not None and h.critic is not None]
    return torch.cat(states, dim=1) if states else None


def _stack_draws(draws: list[Draws]) -> Draws | None:
    """[T, B, ...] of [B, ...] each."""
    if not draws:
        return None
    first = draws[0]
    names = [f.name for f in fields(Draws) if getattr(first, f.name) is not None]
    return Draws(**{name: torch.stack([getattr(d, name) for d in draws]) for name in names})


def _next_values(
    actor: TeamActor, columns: _Columns, values: Tensor, truncated: np.ndarray
) -> Tensor:
    """V of what followed each step: where a copy was cut, of its last observation."""
    next_values = values[1:].clone()
    for t, cut in columns.cuts.items():
        was_cut = torch.from_numpy(truncated[t])
        states = _critic_states([cut.hidden])
        states = None if states is None else states[:, was_cut.to(states.device)]
        next_values[t, was_cut] = actor.values(cut.rows[truncated[t]], states)
    return next_values


def _log_prob(
    actor: TeamActor, rows: np.ndarray, actions: np.ndarray, parameters: np.ndarray
) -> np.ndarray:
    inputs = actor.layout.inputs(torch.from_numpy(rows))
    policy = actor.network.policy_from_flat(torch.from_numpy(parameters), inputs)
    chosen = torch.from_numpy(actions)
    if actor.network.settings.ratio == "agent":
        return policy.agent_log_prob(chosen).numpy()
    return policy.log_prob(chosen).numpy()
