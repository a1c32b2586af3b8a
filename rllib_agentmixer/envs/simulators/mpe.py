"""Multi-particle environments of the package mpe2, as cooperative teams.

Reference: Lowe et al., "Multi-agent actor-critic for mixed cooperative-competitive
environments", 2017, arXiv:1706.02275.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pettingzoo import ParallelEnv
from pettingzoo.utils import BaseParallelWrapper

from rllib_agentmixer.errors import ConfigError

PREY = "agent_0"
BORDER = 0.9
"""Distance from the centre beyond which the scripted prey turns back."""


def simple_spread(
    *, local_ratio: float = 0.0, max_cycles: int = 25, **settings: Any
) -> ParallelEnv:
    """Agents cover landmarks and avoid collisions, all with the same reward.

    Args:
        local_ratio: share of each agent's own collisions in its reward; 0, unlike in mpe2,
            because a team has one reward.
        max_cycles: truncates the episode.
        settings: any other argument of ``mpe2.simple_spread_v3.parallel_env``.
    """
    from mpe2 import simple_spread_v3

    env = simple_spread_v3.parallel_env(local_ratio=local_ratio, max_cycles=max_cycles, **settings)
    return _ObservedState(env)


def simple_reference(
    *, local_ratio: float = 0.0, max_cycles: int = 25, **settings: Any
) -> ParallelEnv:
    """Two agents communicate, with ten messages, which of three landmarks is the other's goal.

    An action is a message and a move: 50 combinations.

    Args:
        local_ratio: share of each agent's own distance in its reward; 0, unlike in mpe2.
        max_cycles: truncates the episode.
        settings: any other argument of ``mpe2.simple_reference_v3.parallel_env``.
    """
    from mpe2 import simple_reference_v3

    env = simple_reference_v3.parallel_env(
        local_ratio=local_ratio, max_cycles=max_cycles, **settings
    )
    return _ObservedState(env)


def simple_speaker_listener(*, max_cycles: int = 25, **settings: Any) -> ParallelEnv:
    """A speaker that sees the goal and cannot move, a listener that moves and does not see it.

    Different observations (3 and 11) and actions (3 messages and 5 moves).

    Args:
        max_cycles: truncates the episode.
        settings: any other argument of ``mpe2.simple_speaker_listener_v4.parallel_env``.
    """
    from mpe2 import simple_speaker_listener_v4

    return _ObservedState(
        simple_speaker_listener_v4.parallel_env(max_cycles=max_cycles, **settings)
    )


def simple_tag(
    *, prey: Literal["flee", "freeze"] = "flee", max_cycles: int = 25, **settings: Any
) -> ParallelEnv:
    """Three slower predators must catch a faster prey that a script moves.

    Args:
        prey: ``flee`` runs from near predators and turns back at the border, ``freeze`` stays.
        max_cycles: truncates the episode.
        settings: any other argument of ``mpe2.simple_tag_v3.parallel_env``; ``num_good`` is 1.

    Raises:
        ConfigError: another script.
    """
    if prey not in ("flee", "freeze"):
        raise ConfigError(f"prey must be 'flee' or 'freeze', got {prey!r}")
    from mpe2 import simple_tag_v3

    pursuit = simple_tag_v3.parallel_env(num_good=1, max_cycles=max_cycles, **settings)
    return _ScriptedPrey(pursuit, is_fleeing=prey == "flee")


class _ObservedState(BaseParallelWrapper):
    """Cache of mpe2's state, which concatenates recomputed observations."""

    def __init__(self, env: ParallelEnv) -> None:
        super().__init__(env)
        self._seen: dict[str, np.ndarray] = {}

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        self._seen, infos = self.env.reset(seed=seed, options=options)
        return dict(self._seen), infos

    def step(self, actions: dict) -> tuple[dict, dict, dict, dict, dict]:
        self._seen, rewards, terminated, truncated, infos = self.env.step(actions)
        return dict(self._seen), rewards, terminated, truncated, infos

    def state(self) -> np.ndarray:
        """All observations, concatenated as in mpe2."""
        return np.concatenate([self._seen[name] for name in self.possible_agents])


class _ScriptedPrey(BaseParallelWrapper):
    """simple_tag from the predators' side: the prey is part of the environment."""

    def __init__(self, env: ParallelEnv, *, is_fleeing: bool) -> None:
        super().__init__(env)
        self.is_fleeing = is_fleeing
        self.possible_agents = [name for name in env.possible_agents if name != PREY]
        self._prey_obs = np.zeros(0)

    @property
    def agents(self) -> list[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return [name for name in self.env.agents if name != PREY]

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        obs, infos = self.env.reset(seed=seed, options=options)
        return self._without_prey(obs), self._others(infos)

    def step(self, actions: dict) -> tuple[dict, dict, dict, dict, dict]:
        obs, *others = self.env.step({**actions, PREY: self._prey_action()})
        rewards, terminated, truncated, infos = (self._others(group) for group in others)
        return self._without_prey(obs), rewards, terminated, truncated, infos

    def _without_prey(self, obs: dict) -> dict:
        self._prey_obs = obs.get(PREY, self._prey_obs)
        return self._others(obs)

    @staticmethod
    def _others(group: dict) -> dict:
        return {name: value for name, value in group.items() if name != PREY}

    def _prey_action(self) -> Any:
        """One step along the axis with the largest component of the escape direction."""
        push = self._push() if self.is_fleeing else np.zeros(2)
        space = self.env.action_space(PREY)
        axis = int(np.abs(push).argmax())
        # Actions: stay, left, right, down, up.
        chosen = 0 if not push.any() else 1 + 2 * axis + int(push[axis] > 0)
        if space.shape == ():
            return chosen
        return np.eye(5, dtype=space.dtype)[chosen]

    def _push(self) -> np.ndarray:
        """[2] escape direction: away from near predators, and back from the border."""
        num_predators = len(self.possible_agents)
        position = self._prey_obs[2:4]
        # Own velocity and position, then landmarks, then relative positions of the predators.
        predators = self._prey_obs[-2 * num_predators :].reshape(num_predators, 2)
        distances = np.linalg.norm(predators, axis=1, keepdims=True).clip(1e-3)
        away = -(predators / distances**3).sum(0)
        outside = np.abs(position) > BORDER
        return np.where(outside, -10.0 * np.sign(position) * np.abs(away).max(), away)
