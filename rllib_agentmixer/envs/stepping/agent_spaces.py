"""Spaces of one agent: sizes, and conversions of observations, actions and masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from rllib_agentmixer.core.data.masks import MaskForm, places_of
from rllib_agentmixer.errors import EnvContractError

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
    mask_form: MaskForm | None = None
    """Declared form of flat masks of several places; None to tell by their length."""

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
        """A flat action mask [size]; masks of choices become one mask of their combinations.

        Args:
            mask: one entry per action; of a MultiDiscrete or MultiBinary space one entry per
                combination, one mask per place, or those masks one behind the other.

        Raises:
            ValueError: its length fits both of the last two, and none is declared.
        """
        if len(self.parts) < 2:
            return np.asarray(mask)
        places = places_of(mask, self.parts, self.size, self.mask_form)
        if places is None:
            return np.asarray(mask)
        combined = np.ones(1, np.bool_)
        for place in places:
            combined = np.logical_and.outer(combined, np.asarray(place, np.bool_)).ravel()
        return combined


def obs_space_of(name: str, agent: str, space: gymnasium.Space) -> ObsSpace:
    """Conversion of an agent's observations.

    Raises:
        EnvContractError: the space has no fixed size.
    """
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


def action_space_of(
    name: str, agent: str, space: gymnasium.Space, mask_form: MaskForm | None
) -> ActionSpace:
    """Conversion of an agent's actions.

    Raises:
        EnvContractError: the space is of another kind.
    """
    if isinstance(space, spaces.Discrete):
        return ActionSpace(is_discrete=True, size=int(space.n), start=int(space.start))
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        return replace(_combinations(name, agent, space), mask_form=mask_form)
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
