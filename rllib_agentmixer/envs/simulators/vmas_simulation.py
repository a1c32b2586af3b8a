"""Batched VMAS simulation on PyTorch tensors, with its own random state.

Reference: Bettini et al., "VMAS: a vectorized multi-agent simulator for collective robot
learning", 2022, arXiv:2207.03530.
"""

from __future__ import annotations

import contextlib
import importlib
import pickle
import random
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rllib_agentmixer.errors import ConfigError


@dataclass(frozen=True)
class BatchStep:
    """Result of one step of all sub-environments."""

    obs: list[Tensor]
    """Observations of each agent, [B, O_i]."""
    rewards: Tensor
    """[N, B]"""
    terminated: Tensor
    """[B]"""
    truncated: Tensor
    """[B] at the time limit; never with ``terminated``."""
    infos: dict[str, Tensor]
    """Diagnostics of the first agent and its team, [B]."""


class Simulation:
    """A batched simulation of one scenario.

    All VMAS environments of a process share one random state. Each simulation swaps in its
    own while it runs, so that a seed determines its results whatever else runs.

    Args:
        scenario: name, such as ``balance`` or ``mpe.simple_spread``.
        num_envs: B.
        max_steps: truncates an episode.
        continuous_actions: forces, or one of a few directions.
        settings: any argument of the scenario.

    Raises:
        ConfigError: no such scenario.
    """

    def __init__(
        self,
        scenario: str,
        num_envs: int,
        max_steps: int,
        continuous_actions: bool,
        settings: dict[str, Any],
    ) -> None:
        if max_steps < 1:
            raise ConfigError(f"max_steps must be at least 1, got {max_steps!r}")
        self._random = [
            torch.random.get_rng_state(),
            np.random.get_state(),
            random.getstate(),
        ]
        with self._own_random_numbers():
            self.env = _make(
                scenario,
                settings,
                num_envs=num_envs,
                max_steps=max_steps,
                continuous_actions=continuous_actions,
            )
        self.num_envs = num_envs
        self.names: list[str] = [agent.name for agent in self.env.agents]
        self.action_spaces = [
            _gymnasium_space(self.env.get_agent_action_space(agent)) for agent in self.env.agents
        ]

    def reset(self, seed: int | None = None) -> list[Tensor]:
        """Reset all sub-environments; returns each agent's observations [B, O_i]."""
        with self._own_random_numbers():
            return [flat(obs) for obs in self.env.reset(seed=seed)]

    def reset_at(self, rows: list[int]) -> list[Tensor]:
        """Reset some sub-environments; returns the observations of all."""
        if len(rows) == self.num_envs:
            return self.reset()
        with self._own_random_numbers():
            for row in rows:
                self.env.reset_at(row, return_observations=False)
            (obs,) = self.env.get_from_scenario(
                get_observations=True, get_rewards=False, get_infos=False, get_dones=False
            )
        return [flat(own) for own in obs]

    def step(self, actions: list[Tensor]) -> BatchStep:
        """Apply each agent's actions [B, A_i]."""
        with self._own_random_numbers():
            obs, rewards, terminated, truncated, infos = self.env.step(actions)
        return BatchStep(
            obs=[flat(own) for own in obs],
            rewards=torch.stack([reward.reshape(self.num_envs) for reward in rewards]),
            terminated=terminated,
            truncated=truncated & ~terminated,
            infos={
                name: value.float().reshape(self.num_envs)
                for name, value in infos[0].items()
                if isinstance(value, Tensor) and value.numel() == self.num_envs
            },
        )

    def render(self, env_index: int = 0) -> np.ndarray:
        """RGB picture of one sub-environment."""
        try:
            return np.asarray(self.env.render(mode="rgb_array", env_index=env_index))
        except Exception as error:  # each graphics library raises its own errors
            raise ConfigError(
                f"VMAS cannot render on this machine ({error!r}); it needs OpenGL through pyglet: "
                "without a display, EGL (libegl1 on Debian) or xvfb-run"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "env": None, "snapshot": self.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        snapshot = state.pop("snapshot")
        self.__dict__.update(state)
        self.env, self._random = pickle.loads(snapshot)  # noqa: S301  our own checkpoint

    def get_state(self) -> bytes:
        """A snapshot of all sub-environments and the random state."""
        import cloudpickle  # its scenarios hold lambdas

        viewer, self.env.viewer = self.env.viewer, None
        try:
            return cloudpickle.dumps((self.env, self._random))
        finally:
            self.env.viewer = viewer

    def set_state(self, snapshot: bytes) -> None:
        """Restore a snapshot."""
        self.close()
        self.env, self._random = pickle.loads(snapshot)  # noqa: S301  our own checkpoint

    def close(self) -> None:
        """Close the window, if one was opened."""
        if self.env.viewer is not None:
            self.env.viewer.close()
            self.env.viewer = None

    @contextlib.contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        from vmas.simulator.environment import Environment

        shared = Environment.vmas_random_state
        before, shared[:] = list(shared), self._random
        try:
            yield
        finally:
            self._random = list(shared)
            shared[:] = before


def _make(scenario: str, settings: dict[str, Any], **batch: Any) -> Any:
    import vmas

    loaded = _load_scenario(scenario)
    with warnings.catch_warnings():
        # Of an argument that the scenario does not know, VMAS only warns.
        warnings.filterwarnings("error", message="Scenario kwargs", category=UserWarning)
        try:
            return vmas.make_env(
                loaded, clamp_actions=True, terminated_truncated=True, **batch, **settings
            )
        except UserWarning as warning:
            raise ConfigError(
                f"VMAS scenario {scenario!r} does not know all of {settings}: {warning}"
            ) from warning


def flat(obs: Tensor | Mapping[str, Any]) -> Tensor:
    """Observations [B, O]; parts of a dictionary are concatenated."""
    if isinstance(obs, Mapping):
        return torch.cat([flat(part) for part in obs.values()], dim=-1)
    return obs.reshape(obs.shape[0], -1).float()


def _load_scenario(name: str) -> Any:
    """The scenario from its own module: VMAS loads it in a way that cannot be pickled."""
    module = f"vmas.scenarios.{name}"
    try:
        return importlib.import_module(module).Scenario()
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        import vmas

        known = list(vmas.scenarios)
        raise ConfigError(f"VMAS has no scenario {name!r}; it has {known}") from error


def _gymnasium_space(space: Any) -> spaces.Box | spaces.Discrete:
    """The same space in Gymnasium; VMAS uses gym."""
    if hasattr(space, "n"):
        return spaces.Discrete(int(space.n))
    return spaces.Box(space.low, space.high, dtype=np.float32)
