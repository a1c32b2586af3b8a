"""Synthetic team: arrays of given sizes, with a given cost per step."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from rllib_agentmixer.envs.vector_env import TeamObs, TeamSpec, TeamStep, VectorTeamEnv

OBS_SIZE = 32
STATE_SIZE = 64
NUM_ACTIONS = 5
EPISODE_LENGTH = 25


class FakeTeam(VectorTeamEnv):
    """B sub-environments with constant arrays; all episodes end together after 25 steps.

    Stepping has a negligible CPU cost and no randomness, so that measurements around it show
    the package's own cost. ``step_seconds`` simulates a slow simulator: every step of all
    sub-environments sleeps that long, which leaves the CPU free, so that many workers fit on
    few cores.

    Args:
        num_envs: B.
        num_agents: N.
        step_seconds: wall time of one step of all sub-environments.
    """

    def __init__(self, num_envs: int, num_agents: int = 3, step_seconds: float = 0.0) -> None:
        self.num_envs = num_envs
        self.step_seconds = step_seconds
        self.spec = TeamSpec(
            name="fake_team",
            agents=tuple(f"agent_{index}" for index in range(num_agents)),
            obs_sizes=(OBS_SIZE,) * num_agents,
            state_size=STATE_SIZE,
            state_kind="env",
            action_kind="discrete",
            action_sizes=(NUM_ACTIONS,) * num_agents,
        )
        rng = np.random.default_rng(0)
        self._observation = TeamObs(
            obs=rng.standard_normal((num_envs, num_agents, OBS_SIZE)).astype(np.float32),
            state=rng.standard_normal((num_envs, STATE_SIZE)).astype(np.float32),
            action_mask=np.ones((num_envs, num_agents, NUM_ACTIONS), np.bool_),
            alive=np.ones((num_envs, num_agents), np.bool_),
        )
        self._reward = np.ones(num_envs, np.float32)
        self._agent_rewards = np.ones((num_envs, num_agents), np.float32)
        self._no, self._yes = np.zeros(num_envs, np.bool_), np.ones(num_envs, np.bool_)
        self._time = 0

    def reset(self, seed: int | None = None) -> TeamObs:
        self._time = 0
        return self._observation

    def step(self, actions: np.ndarray) -> TeamStep:
        if self.step_seconds:
            time.sleep(self.step_seconds)
        self._time = (self._time + 1) % EPISODE_LENGTH
        return TeamStep(
            observation=self._observation,
            reward=self._reward,
            agent_rewards=self._agent_rewards,
            terminated=self._no if self._time else self._yes,
            truncated=self._no,
            final_observation=self._observation,
            faulty=self._no,
        )

    def get_state(self) -> Any:
        return self._time

    def set_state(self, snapshot: Any) -> None:
        self._time = snapshot
