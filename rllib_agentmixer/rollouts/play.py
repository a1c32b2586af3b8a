"""Whole episodes played with a team. Free of Ray."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rllib_agentmixer.envs.vector_env import VectorTeamEnv
from rllib_agentmixer.errors import EnvContractError
from rllib_agentmixer.rollouts.actor import (
    Actor,
    PolicyKind,
    RowFilter,
    pack_rows,
    reset_hidden,
    start,
)
from rllib_agentmixer.rollouts.episodes import (
    MOST_EPISODE_STEPS,
    EpisodeRecord,
    warn_of_cut,
)

MOST_ENVS = 32
"""Sub-environments that play together. Episodes depend on their number: each has its own seeds."""


def play(
    actor: Actor,
    env: VectorTeamEnv,
    num_episodes: int,
    *,
    policy: PolicyKind,
    explore: bool,
    seed: int | None,
    row_filter: RowFilter | None = None,
    before_step: Callable[[], None] | None = None,
    max_steps: int = MOST_EPISODE_STEPS,
) -> list[EpisodeRecord]:
    """Play exactly ``num_episodes`` episodes; none is dropped for being long.

    Every sub-environment plays a quota fixed beforehand: taking whichever episodes end first would
    favour short ones. An episode that reaches ``max_steps`` counts with its return so far, and a
    warning says so.
    """
    rollout = start(actor, env, seed)
    indices = np.arange(env.num_envs)
    quota = num_episodes // env.num_envs + (indices < num_episodes % env.num_envs)
    records: list[EpisodeRecord] = []
    is_cut = np.zeros(env.num_envs, bool)
    while quota.any():
        if not (quota.astype(bool) & ~is_cut).any():
            rollout, is_cut = start(actor, env), np.zeros_like(is_cut)
        if before_step is not None:
            before_step()
        rows = pack_rows(actor.layout, rollout.observation)
        rows = row_filter(rows) if row_filter else rows
        output = actor.act(rows, rollout.hidden, explore=explore, policy=policy)
        step = env.step(actor.to_env(output.actions))
        ended = step.terminated | step.truncated
        finished = rollout.tracker.add(step, ended)
        too_long = rollout.tracker.lengths >= max_steps
        finished |= rollout.tracker.cut(too_long)
        for index, record in finished.items():
            if quota[index] and not is_cut[index] and not record.is_faulty:
                quota[index] -= 1
                records.append(record)
        is_cut |= too_long  # it cannot be reset alone, so it waits for the others
        rollout.observation = step.observation
        rollout.hidden = reset_hidden(output.hidden, ended, actor.layout.alive(rows))
    warn_of_cut(records, env.spec.name, max_steps)
    return records


def render(
    actor: Actor,
    env: VectorTeamEnv,
    *,
    policy: PolicyKind,
    explore: bool,
    seed: int | None,
    row_filter: RowFilter | None = None,
    max_steps: int = MOST_EPISODE_STEPS,
) -> list[np.ndarray]:
    """RGB pictures of one episode in a single sub-environment, one before each step.

    Raises:
        EnvContractError: the environment renders nothing.
    """
    frames: list[np.ndarray] = []

    def draw() -> None:
        frame = env.render(0)
        if frame is None:
            raise EnvContractError(f"{env.spec.name} renders nothing; it needs rgb_array rendering")
        frames.append(frame)

    play(
        actor,
        env,
        1,
        policy=policy,
        explore=explore,
        seed=seed,
        row_filter=row_filter,
        before_step=draw,
        max_steps=max_steps,
    )
    return frames
