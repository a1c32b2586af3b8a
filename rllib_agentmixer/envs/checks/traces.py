"""Random legal play of one ParallelEnv, recorded step by step."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_agentmixer.errors import EnvContractError


@dataclass(frozen=True)
class TraceStep:
    """Copied results of one reset or step.

    Attributes:
        agents: ``env.agents`` afterwards.
        obs: by agent.
        infos: by agent.
        rewards: by agent; empty after a reset.
        terminated: by agent; empty after a reset.
        truncated: by agent; empty after a reset.
        state: of ``env.state()``; None if the environment has none.
        is_reset: whether an episode began.
    """

    agents: tuple[Any, ...]
    obs: dict
    infos: dict
    rewards: dict = field(default_factory=dict)
    terminated: dict = field(default_factory=dict)
    truncated: dict = field(default_factory=dict)
    state: Any = None
    is_reset: bool = False


@dataclass(frozen=True)
class Trace:
    """Steps of several episodes; records whether returned observations changed afterwards."""

    steps: list[TraceStep]
    overwritten: bool = False

    @property
    def episodes(self) -> list[list[TraceStep]]:
        """Complete episodes without their resets; the last one only if it ended."""
        found: list[list[TraceStep]] = []
        for step in self.steps:
            if step.is_reset:
                found.append([])
            else:
                found[-1].append(step)
        if found and (not found[-1] or found[-1][-1].agents):
            found.pop()
        return found


def action_mask(obs: Any, info: Any) -> Any:
    """The action mask in an observation or an info, or None."""
    if isinstance(obs, dict) and "action_mask" in obs:
        return obs["action_mask"]
    return (info or {}).get("action_mask")


def random_action(space: spaces.Space, mask: Any, rng: np.random.Generator) -> Any:
    """A random legal action: within the mask and within finite bounds."""
    if mask is not None and isinstance(space, spaces.Discrete):
        return int(rng.choice(np.flatnonzero(np.asarray(mask)))) + int(space.start)
    if isinstance(space, spaces.Discrete):
        return int(rng.integers(space.n)) + int(space.start)
    if isinstance(space, spaces.Box):
        low = np.maximum(space.low, -1.0) if not np.isfinite(space.low).all() else space.low
        high = np.minimum(space.high, 1.0) if not np.isfinite(space.high).all() else space.high
        return rng.uniform(low, high).astype(space.dtype)
    space.seed(int(rng.integers(2**31)))
    return space.sample(mask)


def record(env: ParallelEnv, seed: int, num_steps: int, *, has_state: bool) -> Trace:
    """Play with random legal actions.

    Args:
        env: reset here with ``seed``; later episodes follow without one.
        seed: of the environment and of the actions.
        num_steps: T.
        has_state: whether to read ``env.state()``.

    Raises:
        EnvContractError: the environment raised; the message names the step and the error.
    """
    rng = np.random.default_rng(seed)
    steps, overwritten = [], False
    try:
        obs, infos = env.reset(seed=seed)
        steps.append(_copied(env, obs, infos, has_state=has_state))
        for _ in range(num_steps):
            if not env.agents:
                obs, infos = env.reset()
                steps.append(_copied(env, obs, infos, has_state=has_state))
            actions = {
                agent: random_action(
                    env.action_space(agent), action_mask(obs[agent], infos.get(agent)), rng
                )
                for agent in env.agents
            }
            before = obs
            obs, rewards, terminated, truncated, infos = env.step(actions)
            overwritten |= not same(before, steps[-1].obs)
            steps.append(
                _copied(env, obs, infos, rewards, terminated, truncated, has_state=has_state)
            )
    except Exception as error:  # an environment may raise any exception
        raise EnvContractError(
            f"raised {error!r} in step {len(steps)} of play with seed {seed}"
        ) from error
    return Trace(steps, overwritten)


def _copied(
    env: ParallelEnv,
    obs: dict,
    infos: dict,
    rewards: dict | None = None,
    terminated: dict | None = None,
    truncated: dict | None = None,
    *,
    has_state: bool,
) -> TraceStep:
    agents = tuple(env.agents)
    return TraceStep(
        agents,
        copy.deepcopy(obs),
        copy.deepcopy(infos),
        dict(rewards or {}),
        dict(terminated or {}),
        dict(truncated or {}),
        copy.deepcopy(env.state()) if has_state and agents else None,
        is_reset=rewards is None,
    )


def same(first: Any, second: Any) -> bool:
    """Equality of two nested structures of dictionaries and arrays."""
    if isinstance(first, dict):
        is_alike = isinstance(second, dict) and first.keys() == second.keys()
        return is_alike and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (tuple, list)):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return np.array_equal(first, second)
    return bool(first == second)
