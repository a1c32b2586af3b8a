"""The array loop: B copies of a team stepped together, one forward pass for all of them.

Free of Ray: both the RLlib worker and plain scripts call :func:`collect`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import Latents, RecurrentState
from rllib_agentmixer.core.functional.returns import Advantages, generalized_advantages
from rllib_agentmixer.envs.vector_env import TeamStep, VectorTeamEnv
from rllib_agentmixer.rollouts.actor import (
    RolloutState,
    RowFilter,
    TeamActor,
    pack_rows,
    reset_hidden,
    start,
)
from rllib_agentmixer.rollouts.episodes import EpisodeRecord
from rllib_agentmixer.rollouts.recorder import Bootstrap, FragmentRecorder, Rollout

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
    columns, episodes = FragmentRecorder(limits_are_ends=not bootstrap_truncated), []
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
    last = Bootstrap(row_filter(last_rows) if row_filter else last_rows, rollout.hidden)
    return _finish(actor, columns, last, episodes, gamma=gamma, lambda_=lambda_)


def _advance(
    actor: TeamActor,
    env: VectorTeamEnv,
    rollout: RolloutState,
    columns: FragmentRecorder,
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
        columns.bootstraps[len(columns.rows)] = Bootstrap(final, choice.hidden)
    if choice.latents is not None:
        columns.latents.append(choice.latents)
    columns.rows.append(rows)
    columns.raw_rows.append(raw)
    columns.actions.append(choice.actions)
    columns.parameters.append(choice.parameters)
    by_agent = actor.network.settings.individual_rewards
    columns.rewards.append(step.reward.copy())
    if by_agent:
        columns.agent_rewards.append(step.agent_rewards.copy())
    columns.terminated.append(ended & ~cut)
    columns.truncated.append(cut.copy())
    rollout.observation = step.observation
    rollout.hidden = reset_hidden(choice.hidden, ended, actor.layout.alive(raw))
    return step, ended


@torch.inference_mode()
def _finish(
    actor: TeamActor,
    columns: FragmentRecorder,
    last: Bootstrap,
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
    alive = actor.layout.alive(rows)
    estimate = _estimate(actor, columns, values, alive, gamma=gamma, lambda_=lambda_)
    raw = np.stack(columns.raw_rows) if columns.is_filtered else rows[:-1]
    return Rollout(
        rows=rows[:-1],
        raw_rows=raw,
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
        latents=_stack_latents(columns.latents),
        alive=alive[:-1],
    )


def _estimate(
    actor: TeamActor,
    columns: FragmentRecorder,
    values: Tensor,
    alive: np.ndarray,
    *,
    gamma: float,
    lambda_: float,
) -> Advantages:
    """Advantages from the team's reward, or for each agent from its own until it leaves."""
    terminated, truncated = np.stack(columns.terminated), np.stack(columns.truncated)
    rewards = _beside(values, np.stack(columns.rewards))
    ends, is_over = _beside(values, terminated), _beside(values, terminated | truncated)
    if columns.agent_rewards:
        rewards = torch.from_numpy(np.stack(columns.agent_rewards))
        left = torch.from_numpy(_left(actor, columns, alive, truncated))
        ends, is_over = ends | left, is_over | left
    return generalized_advantages(
        rewards,
        values[:-1],
        _next_values(actor, columns, values, truncated),
        ends,
        is_over,
        gamma=gamma,
        lambda_=lambda_,
    )


def _beside(values: Tensor, steps: np.ndarray) -> Tensor:
    """[T, B], or [T, B, 1] where every agent has its own V: one team reward stands for all."""
    return torch.from_numpy(steps).view(*steps.shape, *(1,) * (values.ndim - steps.ndim))


def _left(
    actor: TeamActor, columns: FragmentRecorder, alive: np.ndarray, truncated: np.ndarray
) -> np.ndarray:
    """[T, B, N] whether an agent took part for the last time: its own rewards end there."""
    after = alive[1:].copy()
    for t, cut in columns.bootstraps.items():
        after[t, truncated[t]] = actor.layout.alive(cut.rows[truncated[t]])
    return alive[:-1] & ~after


def _critic_states(hidden: Sequence[RecurrentState | None]) -> Tensor | None:
    """[N, K * B, H] states of a recurrent critic at K steps, if there is one."""
    states = [h.critic for h in hidden if h is not None and h.critic is not None]
    return torch.cat(states, dim=1) if states else None


def _stack_latents(latents: list[Latents]) -> Latents | None:
    """[T, B, ...] of [B, ...] each."""
    if not latents:
        return None
    first = latents[0]
    names = [f.name for f in fields(Latents) if getattr(first, f.name) is not None]
    return Latents(**{name: torch.stack([getattr(d, name) for d in latents]) for name in names})


def _next_values(
    actor: TeamActor, columns: FragmentRecorder, values: Tensor, truncated: np.ndarray
) -> Tensor:
    """V of what followed each step: where a copy was cut, of its last observation."""
    next_values = values[1:].clone()
    for t, cut in columns.bootstraps.items():
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
