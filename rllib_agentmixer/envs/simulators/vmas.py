"""VMAS scenarios: B sub-environments stepped together as PyTorch tensors, or a single one.

VMAS simulates robots in the plane, vectorized over environments, so the batched form uses its
batch directly and converts tensors to arrays once a step. One environment costs as much as
many.

Reference: Bettini et al., 2022, arXiv:2207.03530.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from torch import Tensor

from rllib_agentmixer.envs.simulators.vmas_simulation import BatchStep, Simulation
from rllib_agentmixer.envs.stepping.team_spaces import spaces_of
from rllib_agentmixer.envs.vector_env import (
    FloatArray,
    TeamObs,
    TeamReward,
    TeamStep,
    VectorTeamEnv,
)
from rllib_agentmixer.errors import ConfigError, EnvContractError

SAME_REWARD = 1e-4
"""Tolerance for equal rewards; VMAS computes in float32."""


def vmas(
    *,
    scenario: str,
    max_steps: int = 100,
    continuous_actions: bool = True,
    render_mode: str | None = None,
    **settings: Any,
) -> Vmas:
    """A single environment of a scenario.

    Args:
        scenario: name, such as ``balance``, ``navigation`` or ``mpe.simple_spread``.
        max_steps: truncates the episode.
        continuous_actions: forces in a Box; False: one of a few directions.
        render_mode: None or ``"rgb_array"``.
        settings: any argument of the scenario, such as ``n_agents``.
    """
    return Vmas(scenario, max_steps, continuous_actions, render_mode, settings)


class Vmas(ParallelEnv):
    """A single VMAS environment, for evaluation and checks; it has no global state.

    Observations that are dictionaries are concatenated.
    """

    metadata = {  # noqa: RUF012  PettingZoo declares it as a plain class attribute
        "name": "vmas",
        "render_modes": ["rgb_array"],
        "is_parallelizable": True,
        "render_fps": 10,
    }

    def __init__(
        self,
        scenario: str,
        max_steps: int,
        continuous_actions: bool,
        render_mode: str | None,
        settings: dict[str, Any],
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self._simulation = Simulation(scenario, 1, max_steps, continuous_actions, settings)
        self.render_mode = render_mode
        names = self._simulation.names
        self.possible_agents = list(names)
        self.agents: list[str] = []
        self.action_spaces = dict(zip(names, self._simulation.action_spaces, strict=True))
        first = self._simulation.reset(seed=0)
        self.observation_spaces = {
            name: spaces.Box(-np.inf, np.inf, (obs.shape[1],), np.float32)
            for name, obs in zip(names, first, strict=True)
        }

    def observation_space(self, agent: str) -> spaces.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, FloatArray], dict[str, dict[str, Any]]]:
        """Start an episode; a seed determines all randomness from here on."""
        obs = self._simulation.reset(seed)
        self.agents = list(self.possible_agents)
        return self._named(obs), {name: {} for name in self.possible_agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        if not self.agents:
            raise EnvContractError("vmas: the episode is over; call reset() before step()")
        rows = [
            torch.as_tensor(actions[name], dtype=torch.float32).reshape(1, -1)
            for name in self.possible_agents
        ]
        step = self._simulation.step(rows)
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        names = self.possible_agents
        if terminated or truncated:
            self.agents = []
        infos = {key: float(value[0]) for key, value in step.infos.items()}
        return (
            self._named(step.obs),
            dict(zip(names, step.rewards[:, 0].tolist(), strict=True)),
            dict.fromkeys(names, terminated),
            dict.fromkeys(names, truncated),
            {name: dict(infos) for name in names},
        )

    def render(self) -> np.ndarray | None:
        """RGB picture, or None without ``render_mode``."""
        return self._simulation.render() if self.render_mode else None

    def close(self) -> None:
        self._simulation.close()

    def _named(self, obs: list[Tensor]) -> dict[str, FloatArray]:
        return {name: own[0].numpy() for name, own in zip(self.possible_agents, obs, strict=True)}


class VectorVmas(VectorTeamEnv):
    """Vectorized form of a scenario, with the settings of :func:`vmas`.

    Args:
        num_envs: B.
        name: environment name, for metadata.
        team_reward: how the agents' rewards are combined.
        version: of the environment, for metadata.
        settings: as for :func:`vmas`.
    """

    def __init__(
        self,
        num_envs: int,
        name: str = "vmas",
        team_reward: TeamReward = "mean",
        version: str = "1",
        *,
        scenario: str,
        max_steps: int = 100,
        continuous_actions: bool = True,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        single_env = Vmas(scenario, max_steps, continuous_actions, render_mode, settings)
        self.spec = replace(spaces_of(single_env, name, version).spec, team_reward=team_reward)
        self.num_envs = num_envs
        self._simulation = Simulation(scenario, num_envs, max_steps, continuous_actions, settings)
        self._team_reward = team_reward
        self._can_draw = render_mode is not None
        self._sizes = self.spec.action_sizes if continuous_actions else None
        N, A = self.spec.num_agents, self.spec.num_actions
        self._everyone = np.ones((num_envs, N), np.bool_)
        self._mask = np.broadcast_to(self.spec.action_valid, (num_envs, N, A)).copy()
        self._never = np.zeros(num_envs, np.bool_)

    def reset(self, seed: int | None = None) -> TeamObs:
        return self._team_obs(self._simulation.reset(seed))

    def step(self, actions: np.ndarray) -> TeamStep:
        step = self._simulation.step(self._per_agent(actions))
        final = self._team_obs(step.obs)
        terminated, truncated = step.terminated.numpy(), step.truncated.numpy()
        ended = np.flatnonzero(terminated | truncated)
        return TeamStep(
            observation=self._restarted(final, ended) if ended.size else final,
            reward=self._combined(step.rewards),
            agent_rewards=step.rewards.T.numpy(),
            terminated=terminated,
            truncated=truncated,
            final_observation=final,
            faulty=self._never,
            info=_of_ended(step, ended, self.num_envs),
        )

    def get_state(self) -> bytes:
        return self._simulation.get_state()

    def set_state(self, snapshot: bytes) -> None:
        self._simulation.set_state(snapshot)

    def render(self, env_index: int = 0) -> np.ndarray | None:
        return self._simulation.render(env_index) if self._can_draw else None

    def close(self) -> None:
        self._simulation.close()

    def _restarted(self, final: TeamObs, ended: np.ndarray) -> TeamObs:
        """Next observation, after the sub-environments that ended have been reset."""
        fresh = self._team_obs(self._simulation.reset_at(ended.tolist()))
        obs, state = final.obs.copy(), final.state.copy()
        obs[ended], state[ended] = fresh.obs[ended], fresh.state[ended]
        return TeamObs(obs, state, self._mask, self._everyone)

    def _per_agent(self, actions: np.ndarray) -> list[Tensor]:
        B, N, A = self.num_envs, self.spec.num_agents, self.spec.num_actions
        expected = (B, N) if self._sizes is None else (B, N, A)
        if actions.shape != expected:
            raise EnvContractError(
                f"{self.spec.name}: actions must have shape {expected}, got {actions.shape}"
            )
        rows = torch.as_tensor(np.asarray(actions, np.float32))
        if self._sizes is None:
            return [rows[:, index, None] for index in range(N)]
        return [rows[:, index, :size] for index, size in enumerate(self._sizes)]

    def _team_obs(self, obs: list[Tensor]) -> TeamObs:
        size = self.spec.obs_size
        state = torch.cat(obs, dim=1)
        if not bool(torch.isfinite(state).all()):
            raise EnvContractError(f"{self.spec.name}: an observation is not finite")
        padded = [torch.nn.functional.pad(own, (0, size - own.shape[1])) for own in obs]
        stacked = torch.stack(padded, dim=1)
        return TeamObs(stacked.numpy(), state.numpy(), self._mask, self._everyone)

    def _combined(self, rewards: Tensor) -> FloatArray:
        """[B] the team reward, from the agents' [N, B]."""
        if self._team_reward == "sum":
            return rewards.sum(0).numpy()
        if self._team_reward == "mean":
            return rewards.mean(0).numpy()
        if float((rewards - rewards[0]).abs().max()) > SAME_REWARD:
            raise EnvContractError(
                f"{self.spec.name}: agents got different rewards; choose team_reward='sum' or "
                "'mean'"
            )
        return rewards[0].numpy()


def _of_ended(step: BatchStep, ended: np.ndarray, num_envs: int) -> dict[str, np.ndarray]:
    """[B] diagnostics, NaN for sub-environments whose episode goes on."""
    if not ended.size:
        return {}
    infos = {}
    for key, value in step.infos.items():
        infos[key] = np.full(num_envs, np.nan)
        infos[key][ended] = value.numpy()[ended]
    return infos
