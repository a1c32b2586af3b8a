"""Random legal play of one ParallelEnv, recorded step by step."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.stepping.outcomes import CRASHES, reset_outcome, step_outcome
from rllib_agentmixer.envs.stepping.presence import Presence
from rllib_agentmixer.errors import EnvContractError


@contextlib.contextmanager
def closed_afterwards(env: ParallelEnv) -> Iterator[ParallelEnv]:
    """Close an environment at the end of the block, whatever ``close()`` raises."""
    try:
        yield env
    finally:
        with contextlib.suppress(*CRASHES):
            env.close()


@dataclass(frozen=True)
class TraceStep:
    """Copied results of one reset or step.

    Attributes:
        agents: that act next; none at the end of an episode.
        obs: by agent.
        infos: by agent.
        rewards: of the agents that acted; empty after a reset.
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
    steps, overwritten, presence = [], False, Presence()
    name = type(env).__name__
    try:
        obs, infos = reset_outcome(name, env.reset(seed=seed))
        presence.begin(env.agents)
        steps.append(_copied(env, presence, obs, infos, has_state=has_state))
        for _ in range(num_steps):
            if not presence.living:
                obs, infos = reset_outcome(name, env.reset())
                presence.begin(env.agents)
                steps.append(_copied(env, presence, obs, infos, has_state=has_state))
            actions = {
                agent: random_action(
                    env.action_space(agent), action_mask(obs.get(agent), infos.get(agent)), rng
                )
                for agent in env.agents
            }
            before, acted = obs, presence.living
            obs, rewards, *flags, infos = step_outcome(name, env.step(actions))
            presence.follow(env.agents, *flags)
            overwritten |= not same(before, steps[-1].obs)
            own = {agent: rewards[agent] for agent in rewards if agent in acted}
            steps.append(_copied(env, presence, obs, infos, own, *flags, has_state=has_state))
    except EnvContractError:
        raise
    except CRASHES as error:
        raise EnvContractError(
            f"raised {error!r} in step {len(steps)} of play with seed {seed}"
        ) from error
    return Trace(steps, overwritten)


def _copied(
    env: ParallelEnv,
    presence: Presence,
    obs: Mapping,
    infos: Mapping,
    rewards: Mapping | None = None,
    terminated: Mapping | None = None,
    truncated: Mapping | None = None,
    *,
    has_state: bool,
) -> TraceStep:
    return TraceStep(
        agents=tuple(agent for agent in env.agents if agent in presence),
        obs=copy.deepcopy(dict(obs)),
        infos=copy.deepcopy(dict(infos)),
        rewards=dict(rewards or {}),
        terminated=dict(terminated or {}),
        truncated=dict(truncated or {}),
        state=copy.deepcopy(env.state()) if has_state and presence.living else None,
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
