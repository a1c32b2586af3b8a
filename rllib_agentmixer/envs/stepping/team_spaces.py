"""Spaces of an environment's agents: sizes, kinds and conversions, computed once.

:func:`spaces_of` reads the spaces of a ParallelEnv and rejects unsupported ones before
anything runs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.vector_env import FloatArray, TeamObs, TeamSpec
from rllib_agentmixer.errors import EnvContractError

logger = logging.getLogger(__name__)

MOST_COMBINATIONS = 1024
"""Largest number of joint choices of a MultiDiscrete space that become actions."""

NUMERIC_KINDS = "fiub"
"""numpy kinds that an observation may have: float, signed, unsigned, bool."""


@dataclass(frozen=True)
class ObsSpace:
    """Conversion of one agent's observation to a flat row."""

    space: gymnasium.Space
    """Without the action mask."""
    size: int
    shape: tuple[int, ...]
    """Shape of the array that the environment sends (Box), else of the flattened one."""
    is_box: bool
    holds_mask: bool
    """True if observations are ``{"observation": .., "action_mask": ..}``."""

    def to_array(self, value: Any) -> np.ndarray:
        """The environment's observation as an array; a Box keeps its shape."""
        if self.holds_mask:
            value = value["observation"]
        if not self.is_box:
            value = spaces.flatten(self.space, value)
        return value if isinstance(value, np.ndarray) else np.asarray(value)


@dataclass(frozen=True)
class ActionSpace:
    """Conversion of a network's output to one agent's action."""

    is_discrete: bool
    size: int
    start: int = 0
    """First action of a Discrete space that does not start at 0."""
    space: spaces.Box | None = None
    """None if discrete."""
    parts: tuple[int, ...] = ()
    """Choices in each place of a MultiDiscrete or MultiBinary space: the agent chooses among
    all combinations, the last place varying fastest."""
    starts: np.ndarray | None = None
    """First choice in each place."""

    def to_action(self, action: Any) -> Any:
        """The environment's action, from an integer counted from 0 or a padded row [A]."""
        box = self.space
        if self.parts:
            return np.array(np.unravel_index(action, self.parts)) + self.starts
        if box is None:
            return action + self.start
        own = action[: self.size].reshape(box.shape).astype(box.dtype)
        if box.dtype != np.float32:
            # A float32 bound such as 0.4 lies beyond the same bound in double precision.
            np.clip(own, box.low, box.high, out=own)
        return own

    def to_mask(self, mask: Any) -> np.ndarray:
        """A flat action mask; masks per place become one mask of their combinations."""
        if not self.parts or not hasattr(mask[0], "__len__"):
            return np.asarray(mask)
        combined = np.ones(1, np.bool_)
        for place in mask:
            combined = np.logical_and.outer(combined, np.asarray(place, np.bool_)).ravel()
        return combined


@dataclass(frozen=True, eq=False)
class TeamSpaces:
    """Sizes of a team and conversions of each agent's data."""

    spec: TeamSpec
    observations: tuple[ObsSpace, ...]
    actions: tuple[ActionSpace, ...]
    sends_mask: tuple[bool, ...]
    """True for agents with an action mask in their observation or info."""


@dataclass(frozen=True, eq=False)
class TeamRow:
    """Views on one sub-environment's rows of the team arrays, cut to each agent's size."""

    observation: TeamObs
    """Without the leading axis: obs [N, O], state [S], action_mask [N, A], alive [N]."""
    agent_rewards: FloatArray
    """[N]"""
    flat_obs: FloatArray
    """[N * O] all observations in memory order."""
    obs_slots: tuple[FloatArray, ...]
    state_slots: tuple[FloatArray, ...]
    """The agents' parts of the state; empty unless it is concatenated."""

    def copy_from(self, other: TeamRow) -> None:
        """Copy another row's observation."""
        for name in ("obs", "state", "action_mask", "alive"):
            getattr(self.observation, name)[...] = getattr(other.observation, name)


def rows_of(layout: TeamSpaces, arrays: TeamObs, agent_rewards: FloatArray) -> tuple[TeamRow, ...]:
    """Views on the rows of arrays that have a leading axis of sub-environments."""
    sizes = layout.spec.obs_sizes
    ends = np.cumsum(sizes) if layout.spec.state_kind == "concatenated" else ()
    return tuple(
        TeamRow(
            observation=TeamObs(obs, state, action_mask, alive),
            agent_rewards=rewards,
            flat_obs=obs.reshape(-1),
            obs_slots=tuple(obs[i, :size] for i, size in enumerate(sizes)),
            state_slots=tuple(
                state[end - size : end] for end, size in zip(ends, sizes, strict=bool(len(ends)))
            ),
        )
        for obs, state, action_mask, alive, rewards in zip(
            arrays.obs, arrays.state, arrays.action_mask, arrays.alive, agent_rewards, strict=True
        )
    )


def new_arrays(layout: TeamSpaces, num_envs: int) -> TeamObs:
    """Zeroed observations of B sub-environments without living agents or legal padding."""
    spec, B = layout.spec, num_envs
    return TeamObs(
        obs=np.zeros((B, spec.num_agents, spec.obs_size), np.float32),
        state=np.zeros((B, spec.state_size), np.float32),
        action_mask=np.repeat(spec.action_valid[None], B, axis=0),
        alive=np.zeros((B, spec.num_agents), np.bool_),
    )


def spaces_of(env: ParallelEnv, name: str, version: str = "0") -> TeamSpaces:
    """Compute an environment's layout; resets it once to inspect its state and masks.

    Raises:
        EnvContractError: unsupported agents or spaces.
    """
    agents: tuple[Any, ...] = tuple(getattr(env, "possible_agents", None) or ())
    if not agents:
        raise EnvContractError(f"{name}: possible_agents is missing or empty; list every agent")
    observations = tuple(_obs_layout(name, agent, env.observation_space(agent)) for agent in agents)
    actions = tuple(_action_layout(name, agent, env.action_space(agent)) for agent in agents)
    if len({action.is_discrete for action in actions}) > 1:
        kinds = {str(agent): str(env.action_space(agent)) for agent in agents}
        raise EnvContractError(
            f"{name}: a team's actions must be all Discrete or all Box, got {kinds}; "
            "wrap the environment so that they agree"
        )
    infos = env.reset()[1]
    state = _probe_state(env, name)
    obs_sizes = tuple(layout.size for layout in observations)
    is_discrete = actions[0].is_discrete
    sends_mask = tuple(
        layout.holds_mask or "action_mask" in (infos.get(agent) or {})
        for agent, layout in zip(agents, observations, strict=True)
    )
    low, high = (None, None) if is_discrete else _bounds(actions)
    spec = TeamSpec(
        name=name,
        agents=tuple(str(agent) for agent in agents),
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
    return TeamSpaces(spec, observations, actions, sends_mask)


def _obs_layout(name: str, agent: str, space: gymnasium.Space) -> ObsSpace:
    holds_mask = False
    if isinstance(space, spaces.Dict) and "action_mask" in space.spaces:
        holds_mask = True
        if set(space.spaces) != {"observation", "action_mask"}:
            raise EnvContractError(
                f"{name}: agent {agent!r}: an observation with an action mask must hold "
                f"'observation' and 'action_mask' alone, got {sorted(space.spaces)}"
            )
        space = space["observation"]
    if not space.is_np_flattenable:
        raise EnvContractError(
            f"{name}: agent {agent!r}: observations in {space} have no fixed size; "
            "use Box, Discrete, or a Dict or Tuple of them"
        )
    size = spaces.flatdim(space)
    is_box = isinstance(space, spaces.Box)
    shape = tuple(space.shape) if is_box else (size,)
    return ObsSpace(space, size, shape, is_box, holds_mask)


def _action_layout(name: str, agent: str, space: gymnasium.Space) -> ActionSpace:
    if isinstance(space, spaces.Discrete):
        return ActionSpace(is_discrete=True, size=int(space.n), start=int(space.start))
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        return _combinations(name, agent, space)
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        return ActionSpace(is_discrete=False, size=int(np.prod(space.shape)), space=space)
    raise EnvContractError(
        f"{name}: agent {agent!r}: actions in {space} are not supported; "
        "use Discrete, MultiDiscrete, MultiBinary, or Box of a float type"
    )


def _combinations(
    name: str, agent: str, space: spaces.MultiDiscrete | spaces.MultiBinary
) -> ActionSpace:
    if isinstance(space, spaces.MultiDiscrete):
        choices, starts = space.nvec, space.start
    else:
        choices = np.full(space.shape, 2)
        starts = np.zeros(space.shape, np.int64)
    if choices.ndim != 1:
        raise EnvContractError(
            f"{name}: agent {agent!r}: actions in {space} have {choices.ndim} axes; flatten them"
        )
    number = int(np.prod(choices, dtype=np.float64))
    if number > MOST_COMBINATIONS:
        raise EnvContractError(
            f"{name}: agent {agent!r}: actions in {space} have {number} combinations, more than "
            f"{MOST_COMBINATIONS}; use fewer choices, or a Box for quantities"
        )
    return ActionSpace(is_discrete=True, size=number, parts=tuple(choices.tolist()), starts=starts)


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
