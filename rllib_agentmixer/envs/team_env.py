"""One PettingZoo ParallelEnv as a team: dictionaries in, rows of arrays out, contract checked.

Checks run in every step because third-party environments break their contract late: an agent
dies, a division by zero comes up. Each names the environment, the step, the agent and the
value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.team_spaces import (
    NUMERIC_KINDS,
    TeamRow,
    TeamSpaces,
    spaces_of,
)
from rllib_agentmixer.envs.vector_env import TeamReward
from rllib_agentmixer.errors import ConfigError, EnvContractError

SAME_REWARD = 1e-6
"""Largest relative difference between rewards that count as one shared reward."""


@dataclass(frozen=True)
class TeamOutcome:
    """What a step of one copy brought, besides the row that it wrote."""

    reward: float
    terminated: bool = False
    truncated: bool = False
    diagnostics: dict[str, float] = field(default_factory=dict)
    """Numbers in the agents' infos when the episode ended, such as ``won``."""


class TeamEnv:
    """One copy of a ParallelEnv that writes observations into rows of team arrays.

    Agents keep the order of ``possible_agents``. An agent that has left has a zero
    observation. The last observation of an episode keeps the agents that acted in its last
    step; if the episode was cut, those that reached a terminal state are gone from it.

    Args:
        parallel_env: the environment; it is not reset here unless ``layout`` is missing.
        name: for messages and stamps.
        team_reward: ``"shared"`` takes the one reward that all living agents got,
            ``"sum"`` and ``"mean"`` combine theirs.
        layout: of an equal copy, to save working it out again.
        version: of the environment, for stamps.
    """

    def __init__(
        self,
        parallel_env: ParallelEnv,
        name: str,
        team_reward: TeamReward = "shared",
        *,
        layout: TeamSpaces | None = None,
        version: str = "0",
    ) -> None:
        if team_reward not in ("shared", "sum", "mean"):
            raise ConfigError(f"team_reward must be 'shared', 'sum' or 'mean', got {team_reward!r}")
        self.env = parallel_env
        self.layout = layout or spaces_of(parallel_env, name, version)
        self.spec = replace(self.layout.spec, team_reward=team_reward)
        self.num_steps = 0
        self._team_reward = team_reward
        self._names: list[Any] = list(parallel_env.possible_agents)
        self._known = frozenset(self._names)
        self._valid = self.spec.action_valid
        self._alive: list[bool] = [False] * len(self._names)
        self._present: set[Any] = set()
        self._ended: set[Any] = set()

    def reset(self, row: TeamRow, seed: int | None = None) -> None:
        """Start an episode and write its first observation."""
        self.num_steps = 0
        self._ended.clear()
        obs, infos = self.env.reset(seed=seed)
        self._present = present = set(self.env.agents)
        self._check_names(agents=present, observations=obs)
        self._alive = [name in present for name in self._names]
        if not any(self._alive):
            raise self._error("reset() left no agent in env.agents")
        self._write(row, obs, infos, self._alive, is_final=False)

    def step(self, row: TeamRow, actions: Sequence[Any]) -> TeamOutcome:
        """Apply one action per agent, in order, and write what follows.

        Args:
            row: views to write to; every entry but padding is written.
            actions: whole numbers counted from 0, or arrays of A floats.
        """
        env = self.env
        present = self._present
        self.num_steps += 1
        obs, rewards, terminated, truncated, infos = env.step(
            {
                name: layout.to_action(action)
                for name, layout, action in zip(
                    self._names, self.layout.actions, actions, strict=True
                )
                if name in present
            }
        )
        self._check_names(
            observations=obs, rewards=rewards, terminated=terminated, truncated=truncated
        )
        reward = self._reward(row, rewards)
        unchanged = len(env.agents) == len(present) and not (
            any(terminated.values()) or any(truncated.values())
        )
        if unchanged:
            self._write(row, obs, infos, self._alive, is_final=False)
            return TeamOutcome(reward)
        was_alive = self._alive
        self._alive = self._survivors(terminated, truncated)
        if any(self._alive):
            self._write(row, obs, infos, self._alive, is_final=False)
            return TeamOutcome(reward)
        gone = [bool(terminated.get(name)) for name in self._names]
        was_cut = any(
            lived and not left and bool(truncated.get(name))
            for name, lived, left in zip(self._names, was_alive, gone, strict=True)
        )
        shown = [
            lived and name in obs and not (was_cut and left)
            for name, lived, left in zip(self._names, was_alive, gone, strict=True)
        ]
        self._write(row, obs, infos, shown, is_final=True)
        return TeamOutcome(reward, not was_cut, was_cut, _diagnostics(infos))

    def _survivors(self, terminated: Mapping, truncated: Mapping) -> list[bool]:
        self._present = present = set(self.env.agents)
        self._check_names(agents=present)
        self._ended.update(name for name, ended in terminated.items() if ended)
        self._ended.update(name for name, ended in truncated.items() if ended)
        return [name in present and name not in self._ended for name in self._names]

    def _reward(self, row: TeamRow, rewards: Mapping[Any, Any]) -> float:
        """Team reward; writes each agent's."""
        values = []
        row.agent_rewards[:] = 0.0
        for index, name in enumerate(self._names):
            if self._alive[index]:
                value = self._own_reward(name, rewards)
                values.append(value)
                row.agent_rewards[index] = value
        if self._team_reward == "sum":
            return math.fsum(values)
        if self._team_reward == "mean":
            return math.fsum(values) / len(values)
        least, most = min(values), max(values)
        if most - least > SAME_REWARD * max(1.0, abs(most)):
            raise self._error(
                f"agents got different rewards {dict(rewards)}; choose team_reward='sum' or 'mean'"
            )
        return values[0]

    def _own_reward(self, name: Any, rewards: Mapping[Any, Any]) -> float:
        if name not in rewards:
            raise self._error("no reward for a living agent", name)
        try:
            value = float(rewards[name])
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise self._error(f"the reward must be a finite number, got {rewards[name]!r}", name)
        return value

    def _write(
        self, row: TeamRow, obs: Mapping, infos: Mapping, alive: list[bool], *, is_final: bool
    ) -> None:
        target = row.observation
        for index, name in enumerate(self._names):
            slot = row.obs_slots[index]
            if not alive[index]:
                slot[:] = 0.0
                continue
            if name not in obs:
                raise self._error("no observation for a living agent", name)
            slot[:] = self._flat(index, name, obs[name])
        target.alive[:] = alive
        if not np.isfinite(target.obs).all():
            self._raise_if_not_finite(row)
        self._write_state(row)
        if self.spec.action_kind == "discrete":
            self._write_masks(row, obs, infos, alive, is_final=is_final)

    def _flat(self, index: int, name: Any, value: Any) -> np.ndarray:
        layout = self.layout.observations[index]
        try:
            array = layout.to_array(value)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise self._error(f"observation {value!r} does not fit {layout.space}", name) from error
        if array.shape != layout.shape or array.dtype.kind not in NUMERIC_KINDS:
            raise self._error(
                f"the observation must have shape {layout.shape} and a numeric type, "
                f"got shape {array.shape} of {array.dtype}",
                name,
            )
        return array if array.ndim == 1 else array.ravel()

    def _raise_if_not_finite(self, row: TeamRow) -> None:
        for index, name in enumerate(self._names):
            bad = np.flatnonzero(~np.isfinite(row.obs_slots[index]))
            if bad.size:
                value = row.obs_slots[index][bad[0]]
                raise self._error(f"the observation's entry {bad[0]} is {value}", name)

    def _write_state(self, row: TeamRow) -> None:
        target = row.observation.state
        if row.state_slots:
            for source, slot in zip(row.obs_slots, row.state_slots, strict=True):
                slot[:] = source
            return
        state = np.asarray(self.env.state())
        if state.size != target.size or state.dtype.kind not in NUMERIC_KINDS:
            raise self._error(
                f"state() must have {target.size} numbers, got shape {state.shape} of {state.dtype}"
            )
        target[:] = state.ravel()
        if not np.isfinite(target).all():
            raise self._error(f"state() holds {target[~np.isfinite(target)][0]}")

    def _write_masks(
        self, row: TeamRow, obs: Mapping, infos: Mapping, alive: list[bool], *, is_final: bool
    ) -> None:
        target = row.observation.action_mask
        target[:] = self._valid
        if is_final:
            return  # nobody acts on it, and many environments then allow nothing
        for index, name in enumerate(self._names):
            if alive[index]:
                mask = self._mask(index, obs[name], infos.get(name))
                if mask is not None:
                    self._check_mask(index, name, mask)
                    target[index, : mask.size] = mask
                elif self.layout.sends_mask[index]:
                    raise self._error("no action mask, though masks came before", name)

    def _mask(self, index: int, obs: Any, info: Any) -> np.ndarray | None:
        to_mask = self.layout.actions[index].to_mask
        if self.layout.observations[index].holds_mask:
            return to_mask(obs["action_mask"])
        return to_mask(info["action_mask"]) if info and "action_mask" in info else None

    def _check_mask(self, index: int, name: Any, mask: np.ndarray) -> None:
        size = self.spec.action_sizes[index]
        if not self.spec.has_action_mask:
            raise self._error("an action mask, but none came with reset(); always send it", name)
        if mask.shape != (size,):
            raise self._error(f"the action mask must have shape ({size},), got {mask.shape}", name)
        if not mask.any():
            raise self._error(f"the action mask allows nothing: {mask.tolist()}", name)

    def _check_names(self, **groups: Any) -> None:
        for what, group in groups.items():
            if not self._known.issuperset(group):
                unknown = sorted(map(str, set(group) - self._known))
                raise self._error(f"{what} for {unknown}, not in possible_agents {self._names}")

    def _error(self, problem: str, agent: Any = None) -> EnvContractError:
        who = "" if agent is None else f", agent {agent!r}"
        return EnvContractError(f"{self.spec.name}, step {self.num_steps}{who}: {problem}")


def _diagnostics(infos: Mapping[Any, Any]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for info in infos.values():
        if isinstance(info, Mapping):
            for key, value in info.items():
                if isinstance(value, (bool, int, float, np.bool_, np.number)):
                    numbers.setdefault(str(key), float(value))
    return numbers
