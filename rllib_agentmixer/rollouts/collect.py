"""The array loop: B sub-environments of a team stepped together, one forward pass for all.

Free of Ray: both RLlib's workers and plain scripts call :func:`collect`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from rllib_agentmixer.core.data.experience import Bootstrap, Fragment
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
from rllib_agentmixer.rollouts.recorder import FragmentRecorder

logger = logging.getLogger(__name__)

StepHook = Callable[[TeamStep, dict[int, EpisodeRecord]], None]
"""Called after every step with the records of the wanted episodes that ended in it."""


@dataclass(frozen=True, eq=False)
class Collected:
    """Result of one round of collecting.

    Attributes:
        fragment: the steps.
        raw_rows: [T, B, F] joint observations before any filter.
        episodes: finished episodes, in the order of their end.
    """

    fragment: Fragment
    raw_rows: np.ndarray
    episodes: list[EpisodeRecord]


def collect(
    actor: TeamActor,
    env: VectorTeamEnv,
    rollout: RolloutState,
    num_steps: int,
    *,
    limits_are_ends: bool = False,
    explore: bool = True,
    complete_episodes: bool = False,
    row_filter: RowFilter | None = None,
    on_start: Callable[[RolloutState], None] | None = None,
    on_step: StepHook | None = None,
    max_episode_steps: int | None = None,
) -> Collected:
    """Step all sub-environments and return a fragment; ``rollout`` moves on.

    Args:
        actor: chooses actions.
        env: B sub-environments.
        rollout: current state of the sub-environments; changed in place.
        num_steps: T, steps of every sub-environment; with ``complete_episodes`` the least
            number of steps of each on average, after which running episodes are played to
            their end.
        limits_are_ends: count a time limit as an end, which no value follows.
        explore: False takes modes.
        complete_episodes: start all sub-environments anew and return whole episodes only.
        row_filter: observation filter.
        on_start: called once ``complete_episodes`` has started all sub-environments anew.
        on_step: hook for callbacks.
        max_episode_steps: steps after which an episode counts as truncated, which an endless
            one would never be; None where episodes need not end.
    """
    if complete_episodes:
        fresh = start(actor, env)
        rollout.observation, rollout.hidden = fresh.observation, fresh.hidden
        rollout.tracker = fresh.tracker
        if on_start is not None:
            on_start(rollout)
    recorder = FragmentRecorder(actor.layout, limits_are_ends)
    episodes: list[EpisodeRecord] = []
    active = np.ones(env.num_envs, bool)
    steps_wanted, steps_kept = num_steps * env.num_envs, 0
    while active.any() if complete_episodes else len(recorder) < num_steps:
        step, ended = advance(actor, env, rollout, recorder, explore, row_filter, max_episode_steps)
        # A finished one continues until all are; its later episodes are biased to be short.
        finished = rollout.tracker.add(step, ended)
        records = {index: record for index, record in finished.items() if active[index]}
        episodes += records.values()
        if on_step is not None:
            on_step(step, records)
        recorder.keep.append(active.copy())
        steps_kept += int(active.sum())
        if complete_episodes and steps_kept >= steps_wanted:
            active &= ~ended
    last_rows = pack_rows(actor.layout, rollout.observation)
    fragment = recorder.fragment(row_filter(last_rows) if row_filter else last_rows, rollout.hidden)
    raw = np.stack(recorder.raw_rows if recorder.is_filtered else recorder.rows)
    return Collected(fragment, raw, episodes)


def advance(
    actor: TeamActor,
    env: VectorTeamEnv,
    rollout: RolloutState,
    recorder: FragmentRecorder,
    explore: bool,
    row_filter: RowFilter | None,
    max_episode_steps: int | None = None,
) -> tuple[TeamStep, np.ndarray]:
    """One recorded step of all sub-environments, and [B] whose episode ended."""
    raw = pack_rows(actor.layout, rollout.observation)
    rows = row_filter(raw.copy()) if row_filter else raw
    output = actor.act(rows, rollout.hidden, explore=explore)
    step = env.step(actor.to_env(output.actions))
    if max_episode_steps is not None:
        step = _cut(step, rollout.tracker.lengths + 1 >= max_episode_steps)
    if recorder.cut(step).any():
        final = pack_rows(actor.layout, step.final_observation)
        final = row_filter(final) if row_filter else final
        recorder.bootstraps[len(recorder)] = Bootstrap(
            actor.layout.inputs(torch.from_numpy(final)), output.hidden
        )
    recorder.add(raw, rows, rollout.hidden, output, step)
    ended = step.terminated | step.truncated
    rollout.observation = step.observation
    rollout.hidden = reset_hidden(output.hidden, ended, actor.layout.alive(raw))
    return step, ended


def _cut(step: TeamStep, is_too_long: np.ndarray) -> TeamStep:
    """The step with episodes truncated that reached the bound; they go on as episodes anew."""
    cut = is_too_long & ~step.terminated & ~step.truncated
    if not cut.any():
        return step
    logger.warning(
        "an episode was truncated after evaluation_max_steps steps, since it did not end; let the "
        "environment end its episodes, or raise the bound"
    )
    return replace(step, truncated=step.truncated | cut)
