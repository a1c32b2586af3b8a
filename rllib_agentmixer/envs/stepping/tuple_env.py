"""Gymnasium environments with tuples of agents, as PettingZoo ParallelEnvs.

Level-based foraging, the robotic warehouse and related environments take a list of actions
and return lists of observations and rewards, one entry per agent, with Tuple spaces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.vector_env import FloatArray
from rllib_agentmixer.errors import ConfigError, EnvContractError


@dataclass(frozen=True)
class Extras:
    """Optional features of a family of environments, as functions of the environment."""

    action_masks: Callable[[Any], Sequence[np.ndarray]] | None = None
    """Legal actions of each agent."""

    state: Callable[[Any], FloatArray] | None = None
    """The global state, as one row of fixed size."""

    is_time_up: Callable[[Any], bool] | None = None
    """True if a time limit cut the episode, where that is reported as termination."""

    picture: Callable[[Any], np.ndarray] | None = None
    """RGB picture of the current state."""


class TupleEnv(ParallelEnv):
    """One environment with Tuple spaces; agents are called ``agent_0``, ``agent_1`` and so on.

    Args:
        env: the Gymnasium environment.
        name: for ``metadata``.
        extras: its optional features.
        render_mode: None or ``"rgb_array"``.

    Raises:
        EnvContractError: its spaces are not tuples of the same length.
    """

    def __init__(
        self, env: Any, name: str, extras: Extras | None = None, render_mode: str | None = None
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        both = (env.observation_space, env.action_space)
        if not all(isinstance(space, spaces.Tuple) for space in both):
            raise EnvContractError(f"{name}: spaces must be Tuples of the agents', got {both}")
        if len(both[0]) != len(both[1]):
            raise EnvContractError(
                f"{name}: {len(both[0])} observations and {len(both[1])} actions; one of each "
                "per agent is needed"
            )
        self.metadata = {
            "name": name,
            "render_modes": ["rgb_array"],
            "is_parallelizable": True,
            "render_fps": 4,
        }
        self.env = env
        self.render_mode = render_mode
        self.possible_agents = [f"agent_{index}" for index in range(len(both[0]))]
        self.agents: list[str] = []
        self.observation_spaces = dict(zip(self.possible_agents, both[0], strict=True))
        self.action_spaces = dict(zip(self.possible_agents, both[1], strict=True))
        self._extras = extras or Extras()

    def observation_space(self, agent: str) -> spaces.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        return self.action_spaces[agent]

    @property
    def state_space(self) -> spaces.Box:
        """Space of the global state; requires a reset before."""
        return spaces.Box(-np.inf, np.inf, self.state().shape, np.float32)

    def state(self) -> FloatArray:
        """The family's global state.

        Raises:
            NotImplementedError: it has none.
        """
        if self._extras.state is None:
            raise NotImplementedError(f"{self.metadata['name']} has no global state")
        return self._extras.state(self.env)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Start an episode; a seed determines all randomness from here on."""
        obs, info = self.env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return self._by_agent(obs), self._infos(info)

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        name = self.metadata["name"]
        if not self.agents:
            raise EnvContractError(f"{name}: the episode is over; call reset() before step()")
        missing = [agent for agent in self.possible_agents if agent not in actions]
        if missing:
            raise EnvContractError(f"{name}: no action for {missing}")
        ordered = [actions[agent] for agent in self.possible_agents]
        obs, rewards, terminated, truncated, info = self.env.step(ordered)
        if terminated and self._extras.is_time_up is not None and self._extras.is_time_up(self.env):
            terminated, truncated = False, True
        if terminated or truncated:
            self.agents = []
        return (
            self._by_agent(obs),
            self._by_agent([float(reward) for reward in rewards]),
            dict.fromkeys(self.possible_agents, bool(terminated)),
            dict.fromkeys(self.possible_agents, bool(truncated)),
            self._infos(info),
        )

    def render(self) -> np.ndarray | None:
        """RGB picture, or None without ``render_mode``."""
        if self.render_mode is None or self._extras.picture is None:
            return None
        return self._extras.picture(self.env)

    def close(self) -> None:
        self.env.close()

    def _by_agent(self, values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.possible_agents, values, strict=True))

    def _infos(self, info: dict[str, Any]) -> dict[str, dict[str, Any]]:
        if self._extras.action_masks is None:
            return {agent: dict(info) for agent in self.possible_agents}
        masks = self._extras.action_masks(self.env)
        return {
            agent: {**info, "action_mask": mask}
            for agent, mask in zip(self.possible_agents, masks, strict=True)
        }
