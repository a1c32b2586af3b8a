"""Conversion of a ParallelEnv's dictionaries to a row of team arrays, with validation.

This runs for every step of every third-party environment, so the usual case takes a fast
path; anything else is validated in detail, and violations of the contract are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rllib_agentmixer.envs.stepping.agent_spaces import NUMERIC_KINDS
from rllib_agentmixer.envs.stepping.outcomes import CRASHES
from rllib_agentmixer.envs.stepping.team_rows import TeamRow
from rllib_agentmixer.envs.stepping.team_spaces import TeamSpaces
from rllib_agentmixer.errors import EnvContractError

Complaint = Callable[..., EnvContractError]
"""Builds an error from a problem and an agent; adds the environment and the step."""


class RowWriter:
    """Writes observations, state and masks of one sub-environment.

    Args:
        layout: of the team.
        names: agents as the environment names them, in the team's order.
        error: builds the error for a violated contract.
    """

    def __init__(self, layout: TeamSpaces, names: list[Any], error: Complaint) -> None:
        self.layout = layout
        self.names = names
        self.error = error
        self.valid = layout.spec.action_valid
        self.is_masked = layout.spec.has_action_mask
        self.is_discrete = layout.spec.action_kind == "discrete"
        # Shape of observations that can be copied unconverted; None where they cannot.
        self.plain_shapes = [
            part.shape if part.is_box and not part.holds_mask and len(part.shape) == 1 else None
            for part in layout.observations
        ]

    def write(
        self,
        row: TeamRow,
        obs: Mapping,
        infos: Mapping,
        alive: list[bool],
        state: Callable[[], Any] | None,
        *,
        is_final: bool,
        is_terminal: bool = False,
    ) -> None:
        """Write the observation after a reset or a step.

        Args:
            row: views to write to.
            obs: observation of each living agent.
            infos: info of each agent.
            alive: which agents' observations to show; the others' are zero.
            state: the environment's ``state``; not called where observations are concatenated.
            is_final: no agent acts on it, so masks are not read.
            is_terminal: no value follows, so the state need not be readable.

        Raises:
            EnvContractError: an entry is missing, of another shape, or non-finite.
        """
        self._write_obs(row, obs, alive)
        row.observation.alive[:] = alive
        if not is_finite(row.flat_obs):
            self._name_what_is_not_finite(row)
        write_state = self._write_last_state if is_terminal else self._write_state
        write_state(row, state)
        if self.is_masked:
            self._write_masks(row, obs, infos, alive, is_final=is_final)
        elif self.is_discrete and any(info and "action_mask" in info for info in infos.values()):
            raise self.error("an action mask, but reset() sent none; always send it")

    def _write_obs(self, row: TeamRow, obs: Mapping, alive: list[bool]) -> None:
        for index, slot in enumerate(row.obs_slots):
            if not alive[index]:
                slot[:] = 0.0
                continue
            name = self.names[index]
            if name not in obs:
                raise self.error("no observation for a living agent", name)
            value = obs[name]
            if (
                type(value) is not np.ndarray
                or value.shape != self.plain_shapes[index]
                or value.dtype.kind not in NUMERIC_KINDS
            ):
                value = self._flat(index, name, value)
            slot[:] = value

    def _flat(self, index: int, name: Any, value: Any) -> np.ndarray:
        layout = self.layout.observations[index]
        try:
            array = layout.to_array(value)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise self.error(f"observation {value!r} does not fit {layout.space}", name) from error
        if array.shape != layout.shape or array.dtype.kind not in NUMERIC_KINDS:
            raise self.error(
                f"the observation must have shape {layout.shape} and a numeric type, "
                f"got shape {array.shape} of {array.dtype}",
                name,
            )
        return array if array.ndim == 1 else array.ravel()

    def _name_what_is_not_finite(self, row: TeamRow) -> None:
        for name, slot in zip(self.names, row.obs_slots, strict=True):
            bad = np.flatnonzero(~np.isfinite(slot))
            if bad.size:
                raise self.error(f"the observation's entry {bad[0]} is {slot[bad[0]]}", name)

    def _write_state(self, row: TeamRow, read: Callable[[], Any] | None) -> None:
        target = row.observation.state
        if row.state_slots or read is None:
            for source, slot in zip(row.obs_slots, row.state_slots, strict=True):
                slot[:] = source
            return
        state = np.asarray(read())
        if state.size != target.size or state.dtype.kind not in NUMERIC_KINDS:
            raise self.error(
                f"state() must have {target.size} numbers, got shape {state.shape} of {state.dtype}"
            )
        target[:] = state if state.ndim == 1 else state.ravel()
        if not is_finite(target):
            raise self.error(f"state() holds {target[~np.isfinite(target)][0]}")

    def _write_last_state(self, row: TeamRow, read: Callable[[], Any] | None) -> None:
        """State after a terminal step: zero where the environment has none left."""
        try:
            self._write_state(row, read)
        except CRASHES:
            row.observation.state[:] = 0.0

    def _write_masks(
        self, row: TeamRow, obs: Mapping, infos: Mapping, alive: list[bool], *, is_final: bool
    ) -> None:
        target = row.observation.action_mask
        target[:] = self.valid
        if is_final:
            return  # no agent acts on it, and many environments then allow nothing
        for index, name in enumerate(self.names):
            if alive[index]:
                mask = self._mask(index, obs[name], infos.get(name))
                if mask is not None:
                    self._check_mask(index, name, mask)
                    target[index, : mask.size] = mask
                elif self.layout.sends_mask[index]:
                    raise self.error("no action mask, though earlier steps had one", name)

    def _mask(self, index: int, obs: Any, info: Any) -> np.ndarray | None:
        source = obs if self.layout.observations[index].holds_mask else info
        if not source or "action_mask" not in source:
            return None
        try:
            return self.layout.actions[index].to_mask(source["action_mask"])
        except (ValueError, TypeError, IndexError) as error:
            raise self.error(f"the action mask: {error}", self.names[index]) from error

    def _check_mask(self, index: int, name: Any, mask: np.ndarray) -> None:
        size = self.layout.spec.action_sizes[index]
        if mask.shape != (size,):
            raise self.error(f"the action mask must have shape ({size},), got {mask.shape}", name)
        if not mask.any():
            raise self.error(f"the action mask allows nothing: {mask.tolist()}", name)


def is_finite(row: np.ndarray) -> bool:
    """True if every entry of a row is finite. Searching a zero byte is the cheapest ``all``."""
    return 0 not in np.isfinite(row).tobytes()
