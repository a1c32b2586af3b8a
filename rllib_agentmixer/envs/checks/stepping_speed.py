"""Stepping speed of environments under random legal actions, action selection excluded."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.checks.traces import action_mask, closed_afterwards, random_action
from rllib_agentmixer.envs.stepping.presence import Presence
from rllib_agentmixer.envs.vector_env import TeamObs, TeamSpec, VectorTeamEnv

SPEED_STEPS = 300


def bare_speed(
    make: Callable[[], ParallelEnv],
    num_steps: int = SPEED_STEPS,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Steps per second of one environment, resets included."""
    with closed_afterwards(make()) as env:
        return _measured(env, num_steps, clock)


def _measured(env: ParallelEnv, num_steps: int, clock: Callable[[], float]) -> float:
    rng, presence, spent = np.random.default_rng(0), Presence(), 0.0
    obs, infos = env.reset(seed=0)
    presence.begin(env.agents)
    for _ in range(num_steps):
        actions = {
            agent: random_action(
                env.action_space(agent), action_mask(obs.get(agent), infos.get(agent)), rng
            )
            for agent in env.agents
        }
        started = clock()
        obs, _, terminated, truncated, infos = env.step(actions)
        presence.follow(env.agents, terminated, truncated)
        if not presence.living:
            obs, infos = env.reset()
            presence.begin(env.agents)
        spent += clock() - started
    return num_steps / spent


def team_speed(
    make: Callable[[], VectorTeamEnv],
    num_steps: int = SPEED_STEPS,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Joint steps per second of B sub-environments as a team, resets included."""
    vector_env, rng = make(), np.random.default_rng(0)
    seen = vector_env.reset(seed=0)
    spent = 0.0
    for _ in range(num_steps):
        actions = random_team_actions(vector_env.spec, seen, rng)
        started = clock()
        seen = vector_env.step(actions).observation
        spent += clock() - started
    vector_env.close()
    return num_steps * vector_env.num_envs / spent


def random_team_actions(spec: TeamSpec, seen: TeamObs, rng: np.random.Generator) -> np.ndarray:
    """[B, N] legal actions, or [B, N, A] from -1 to 1 within the bounds."""
    if spec.action_low is None or spec.action_high is None:
        return (rng.random(seen.action_mask.shape) * seen.action_mask).argmax(-1)
    low, high = np.maximum(spec.action_low, -1), np.minimum(spec.action_high, 1)
    return rng.uniform(low, high, (len(seen.obs), *low.shape)).astype(np.float32)
