"""Spaces of an environment's agents: sizes, kinds and conversions, computed once.

:func:`spaces_of` reads the spaces of a ParallelEnv and rejects unsupported ones before
anything runs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.stepping.agent_spaces import (
    NUMERIC_KINDS,
    ActionSpace,
    MaskForm,
    ObsSpace,
    action_space_of,
    obs_space_of,
)
from rllib_agentmixer.envs.stepping.outcomes import explained, reset_outcome
from rllib_agentmixer.envs.vector_env import FloatArray, TeamSpec
from rllib_agentmixer.errors import EnvContractError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TeamSpaces:
    """Sizes of a team and conversions of each agent's data."""

    spec: TeamSpec
    agents: tuple[Any, ...]
    """Agents as the environment names them, in the team's order."""
    listed: list[Any]
    """The same agents in the order of ``possible_agents``."""
    observations: tuple[ObsSpace, ...]
    actions: tuple[ActionSpace, ...]
    sends_mask: tuple[bool, ...]
    """True for agents with an action mask in their observation or info."""


def agents_of(env: ParallelEnv, name: str, order: Sequence[str] | None = None) -> tuple[Any, ...]:
    """An environment's agents in the team's order, as the environment names them.

    Args:
        env: its ``possible_agents`` may come in any order, such as that of a set.
        name: for messages.
        order: the team's agents as text; None for the order of ``possible_agents``.

    Raises:
        EnvContractError: no agents, two that read alike, or others than the team's.
    """
    agents: tuple[Any, ...] = tuple(getattr(env, "possible_agents", None) or ())
    if not agents:
        raise EnvContractError(f"{name}: possible_agents is missing or empty; list every agent")
    by_text = {str(agent): agent for agent in agents}
    if len(by_text) < len(agents):
        raise EnvContractError(
            f"{name}: possible_agents must differ in their text form, got {list(agents)}; rename "
            "those that read alike"
        )
    if order is None:
        return agents
    if set(by_text) != set(order):
        raise EnvContractError(
            f"{name}: the team's agents are {list(order)}, but possible_agents is {list(agents)}; "
            "list every agent that can ever appear, under the same names in every instance"
        )
    return tuple(by_text[agent] for agent in order)


def spaces_of(
    env: ParallelEnv, name: str, version: str = "0", agents: Sequence[str] | None = None
) -> TeamSpaces:
    """Compute an environment's layout; resets it once to inspect its state and masks.

    Args:
        env: the environment.
        name: for messages and metadata.
        version: for metadata.
        agents: order of the team; None for that of ``possible_agents``.

    Raises:
        EnvContractError: unsupported agents or spaces.
    """
    names = agents_of(env, name, agents)
    listed = list(env.possible_agents)
    observations, actions = _spaces(env, name, names)
    with explained(name, "reset() raised"):
        outcome = env.reset()
    infos = reset_outcome(name, outcome)[1]
    state = _probe_state(env, name)
    obs_sizes = tuple(layout.size for layout in observations)
    is_discrete = actions[0].is_discrete
    sends_mask = tuple(
        layout.holds_mask or "action_mask" in (infos.get(agent) or {})
        for agent, layout in zip(names, observations, strict=True)
    )
    low, high = (None, None) if is_discrete else _bounds(actions)
    spec = TeamSpec(
        name=name,
        agents=tuple(str(agent) for agent in names),
        obs_sizes=obs_sizes,
        state_size=sum(obs_sizes) if state is None else state.size,
        state_kind="concatenated" if state is None else "env",
        action_kind="discrete" if is_discrete else "continuous",
        action_sizes=tuple(action.size for action in actions),
        action_low=low,
        action_high=high,
        obs_shapes=tuple(layout.shape for layout in observations),
        has_action_mask=is_discrete and any(sends_mask),
        version=version,
    )
    return TeamSpaces(spec, names, listed, observations, actions, sends_mask)


def _spaces(
    env: ParallelEnv, name: str, names: tuple[Any, ...]
) -> tuple[tuple[ObsSpace, ...], tuple[ActionSpace, ...]]:
    with explained(name, "its spaces raised"):
        observations = tuple(obs_space_of(name, a, env.observation_space(a)) for a in names)
        form = _mask_form(env, name)
        actions = tuple(action_space_of(name, a, env.action_space(a), form) for a in names)
    if len({action.is_discrete for action in actions}) > 1:
        kinds = {str(agent): str(env.action_space(agent)) for agent in names}
        raise EnvContractError(
            f"{name}: a team's actions must be all Discrete or all Box, got {kinds}; "
            "wrap the environment so that they agree"
        )
    return observations, actions


def _mask_form(env: ParallelEnv, name: str) -> MaskForm | None:
    form = (getattr(env, "metadata", None) or {}).get("action_mask_form")
    if form not in (None, *get_args(MaskForm)):
        raise EnvContractError(
            f"{name}: metadata['action_mask_form'] must be 'choices' or 'combinations', "
            f"got {form!r}"
        )
    return form


def _bounds(actions: tuple[ActionSpace, ...]) -> tuple[FloatArray, FloatArray]:
    """[N, A] lower and upper bounds, 0 in padding."""
    shape = (len(actions), max(action.size for action in actions))
    low, high = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for index, action in enumerate(actions):
        if action.space is not None:
            low[index, : action.size] = action.space.low.ravel()
            high[index, : action.size] = action.space.high.ravel()
    return low, high


def _probe_state(env: ParallelEnv, name: str) -> np.ndarray | None:
    """The environment's state as one row, or None if it has no working ``state()``."""
    try:
        state = env.state()
    except (NotImplementedError, AttributeError):
        return None
    except Exception as error:
        # Conversions and wrappers forward state() to parts without one, with various errors.
        logger.warning(
            "%s: state() failed (%r); the concatenated observations are used", name, error
        )
        return None
    if not isinstance(state, np.ndarray) or state.dtype.kind not in NUMERIC_KINDS:
        return None
    return state.ravel() if state.size else None
