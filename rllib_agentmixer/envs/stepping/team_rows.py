"""Rows of team arrays: views on the part of each sub-environment and agent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rllib_agentmixer.envs.stepping.team_spaces import TeamSpaces
from rllib_agentmixer.envs.vector_env import FloatArray, TeamObs


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


@dataclass(frozen=True, eq=False)
class TeamBuffer:
    """Arrays of B sub-environments, and views on the row of each."""

    arrays: TeamObs
    agent_rewards: FloatArray
    rows: tuple[TeamRow, ...]


def new_buffer(layout: TeamSpaces, num_envs: int) -> TeamBuffer:
    """A buffer of zeros."""
    arrays = new_arrays(layout, num_envs)
    agent_rewards = np.zeros((num_envs, layout.spec.num_agents), np.float32)
    return TeamBuffer(arrays, agent_rewards, rows_of(layout, arrays, agent_rewards))
