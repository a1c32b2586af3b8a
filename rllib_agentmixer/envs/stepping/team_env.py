"""One PettingZoo ParallelEnv as a team: dictionaries in, rows of arrays out, contract checked.

Checks run in every step because third-party environments violate the contract late: an agent
dies, a division by zero occurs. Each names the environment, the step, the agent and the
value.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.stepping.outcomes import StepOutcome, reset_outcome, step_outcome
from rllib_agentmixer.envs.stepping.presence import Presence
from rllib_agentmixer.envs.stepping.rllib_env import MultiAgentParallelEnv
from rllib_agentmixer.envs.stepping.row_writer import RowWriter
from rllib_agentmixer.envs.stepping.supersuit_wrappers import fix_black_death
from rllib_agentmixer.envs.stepping.team_rows import TeamRow
from rllib_agentmixer.envs.stepping.team_spaces import TeamSpaces, spaces_of
from rllib_agentmixer.envs.vector_env import TeamReward
from rllib_agentmixer.errors import ConfigError, EnvContractError

SAME_REWARD = 1e-6
"""Largest relative difference between rewards that count as one shared reward."""


@dataclass(frozen=True)
class TeamOutcome:
    """Result of one step of a sub-environment, besides the row that it wrote."""

    reward: float
    terminated: bool = False
    truncated: bool = False
    diagnostics: dict[str, float] = field(default_factory=dict)
    """Numbers in the agents' infos when the episode ended, such as ``won``: means over the
    agents that report them."""

    infos: Mapping[Any, Any] = field(default_factory=dict)
    """Infos by agent, as the environment gave them."""


class TeamEnv:
    """A ParallelEnv that writes observations into rows of team arrays.

    Agents keep the team's order, whatever order ``possible_agents`` has. An agent that has left
    has a zero observation. The last observation of an episode keeps the agents that acted in
    its last step; if the episode was cut, those that reached a terminal state are gone from it.

    Args:
        parallel_env: the environment; it is not reset here unless ``layout`` is missing.
        name: for messages and metadata.
        team_reward: ``"shared"`` takes the one reward that all living agents got,
            ``"sum"`` and ``"mean"`` combine theirs.
        layout: of an equal environment, to avoid computing it again.
        version: of the environment, for metadata.
        agents: order of the team where ``layout`` is missing; None for that of
            ``possible_agents``.
    """

    def __init__(
        self,
        parallel_env: ParallelEnv,
        name: str,
        team_reward: TeamReward = "shared",
        *,
        layout: TeamSpaces | None = None,
        version: str = "0",
        agents: Sequence[str] | None = None,
    ) -> None:
        if team_reward not in ("shared", "sum", "mean"):
            raise ConfigError(f"team_reward must be 'shared', 'sum' or 'mean', got {team_reward!r}")
        self.env = parallel_env = fix_black_death(parallel_env)
        self.layout = layout or spaces_of(parallel_env, name, version, agents)
        self.spec = replace(self.layout.spec, team_reward=team_reward)
        self.num_steps = 0
        self.seed: int | None = None
        self.actions: list[Any] = []
        """Joint actions of the episode so far; together with the seed they reproduce it."""
        self._team_reward = team_reward
        self._names: list[Any] = list(self.layout.agents)
        self._check_agents()
        self._known = frozenset(self._names)
        self._alive: list[bool] = [False] * len(self._names)
        self._living: list[Any] = []
        self._presence = Presence()
        self._writer = RowWriter(self.layout, self._names, self._error)
        has_state = self.spec.state_kind == "env"
        self._state = parallel_env.state if has_state else None
        actions = self.layout.actions
        self._takes_numbers = all(a.is_discrete and not a.start and not a.parts for a in actions)

    @property
    def given(self) -> Any:
        """The environment as its creator returned it."""
        return self.env.env if isinstance(self.env, MultiAgentParallelEnv) else self.env

    def reset(self, row: TeamRow, seed: int | None = None) -> Mapping[Any, Any]:
        """Start an episode and write its first observation; returns the infos by agent."""
        self.num_steps, self.seed, self.actions = 0, seed, []
        obs, infos = reset_outcome(self.spec.name, self.env.reset(seed=seed))
        self._check_agents()
        self._presence.begin(self.env.agents)
        self._check_names(agents=self._presence.listed, observations=obs)
        self._set_alive([name in self._presence for name in self._names])
        if not self._living:
            raise self._error("reset() left no agent in env.agents")
        self._writer.write(row, obs, infos, self._alive, self._state, is_final=False)
        return infos

    def step(self, row: TeamRow, actions: Sequence[Any] | np.ndarray) -> TeamOutcome:
        """Apply one action per agent, in order, and write the next observation.

        Args:
            row: views to write to; every entry but padding is written.
            actions: integers from 0, or arrays of A floats.
        """
        env = self.env
        obs, rewards, terminated, truncated, infos = self._advance(actions)
        reward = self._reward(row, rewards)
        if not (
            any(terminated.values())
            or any(truncated.values())
            or len(env.agents) != len(self._presence.listed)
            or not self._presence.listed.issuperset(env.agents)
        ):
            self._writer.write(row, obs, infos, self._alive, self._state, is_final=False)
            return TeamOutcome(reward, infos=infos)
        was_alive = self._alive
        self._note_changes(terminated, truncated)
        if self._living:
            self._writer.write(row, obs, infos, self._alive, self._state, is_final=False)
            return TeamOutcome(reward, infos=infos)
        gone = [bool(terminated.get(name)) for name in self._names]
        was_cut = any(
            lived and not left and bool(truncated.get(name))
            for name, lived, left in zip(self._names, was_alive, gone, strict=True)
        )
        shown = [
            lived and name in obs and not (was_cut and left)
            for name, lived, left in zip(self._names, was_alive, gone, strict=True)
        ]
        state, is_terminal = self._state, not was_cut
        self._writer.write(row, obs, infos, shown, state, is_final=True, is_terminal=is_terminal)
        return TeamOutcome(reward, is_terminal, was_cut, _diagnostics(infos), infos)

    def _advance(self, actions: Sequence[Any] | np.ndarray) -> StepOutcome:
        """Step the environment; checks the form of its result and the names in it."""
        self.num_steps += 1
        self.actions.append(actions)
        outcome = step_outcome(self.spec.name, self.env.step(self.by_name(actions)))
        obs, rewards, terminated, truncated, _ = outcome
        known = self._known
        if not (
            known.issuperset(obs)
            and known.issuperset(rewards)
            and known.issuperset(terminated)
            and known.issuperset(truncated)
        ):
            self._check_names(
                observations=obs, rewards=rewards, terminated=terminated, truncated=truncated
            )
        return outcome

    def by_name(self, actions: Sequence[Any] | np.ndarray) -> dict[Any, Any]:
        """Actions of the living agents, as the environment takes them."""
        present = self._presence.listed
        if self._takes_numbers and len(present) == len(self._names):
            return dict(zip(self._names, actions, strict=True))
        return {
            name: layout.to_action(action)
            for name, layout, action in zip(self._names, self.layout.actions, actions, strict=True)
            if name in present
        }

    def _note_changes(self, terminated: Mapping, truncated: Mapping) -> None:
        """Update the living agents after a step."""
        self._check_names(agents=self.env.agents)
        self._presence.follow(self.env.agents, terminated, truncated)
        self._set_alive([name in self._presence for name in self._names])

    def _set_alive(self, alive: list[bool]) -> None:
        self._alive = alive
        self._living = [name for name, lives in zip(self._names, alive, strict=True) if lives]

    def _reward(self, row: TeamRow, rewards: Mapping[Any, Any]) -> float:
        """Team reward; writes the reward of each agent."""
        try:
            values = [float(rewards[name]) for name in self._living]
        except (KeyError, TypeError, ValueError):
            values = [math.nan]
        if not math.isfinite(sum(values)):
            values = [self._own_reward(name, rewards) for name in self._living]
        if len(values) == len(self._names):
            row.agent_rewards[:] = values
        else:
            row.agent_rewards[:] = 0.0
            row.agent_rewards[self._alive] = values
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

    def _check_agents(self) -> None:
        """Refuse a team that is drawn anew: rows, and what they stand for, are fixed."""
        if list(self.env.possible_agents) == self.layout.listed:
            return
        raise EnvContractError(
            f"{self.spec.name}: possible_agents is {list(self.env.possible_agents)}, but was "
            f"{self.layout.listed} in another instance or before reset(); list every agent that "
            "can ever appear, in one order, and let those that are absent join later"
        )

    def _check_names(self, **groups: Any) -> None:
        for what, group in groups.items():
            if not self._known.issuperset(group):
                unknown = sorted(map(str, set(group) - self._known))
                raise self._error(f"{what} for {unknown}, not in possible_agents {self._names}")

    def _error(self, problem: str, agent: Any = None) -> EnvContractError:
        who = "" if agent is None else f", agent {agent!r}"
        return EnvContractError(f"{self.spec.name}, step {self.num_steps}{who}: {problem}")


def _diagnostics(infos: Mapping[Any, Any]) -> dict[str, float]:
    """Finite numbers in infos by key, averaged over the agents that report them."""
    numbers: dict[str, list[float]] = {}
    for info in infos.values():
        if isinstance(info, Mapping):
            for key, value in info.items():
                if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
                    with contextlib.suppress(OverflowError):  # an integer beyond all floats
                        numbers.setdefault(str(key), []).append(float(value))
    finite = {key: [v for v in values if math.isfinite(v)] for key, values in numbers.items()}
    return {key: math.fsum(values) / len(values) for key, values in finite.items() if values}


def diagnostics_of(outcomes: Sequence[TeamOutcome]) -> dict[str, np.ndarray]:
    """[B] diagnostics by name, NaN for sub-environments that have none."""
    gathered: dict[str, np.ndarray] = {}
    for index, outcome in enumerate(outcomes):
        for key, value in outcome.diagnostics.items():
            if key not in gathered:
                gathered[key] = np.full(len(outcomes), np.nan)
            gathered[key][index] = value
    return gathered
