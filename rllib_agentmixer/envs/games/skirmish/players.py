"""Scripted allies for skirmish: baselines for learned policies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rllib_agentmixer.envs.games.skirmish.script import NO_UNIT, Prey, script_actions
from rllib_agentmixer.envs.games.skirmish.vector import VectorSkirmish

Player = Callable[[VectorSkirmish], np.ndarray]
"""Function from the vectorized environment to actions [B, N]."""


class RandomPlayer:
    """Uniformly random legal actions.

    Args:
        seed: of the draws.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def __call__(self, env: VectorSkirmish) -> np.ndarray:
        keys = self._rng.random(env.action_mask.shape)
        return np.where(env.action_mask, keys, -1.0).argmax(axis=-1)


class ScriptedPlayer:
    """The enemies' script applied to the allies: each acts on its own observations.

    Args:
        prey: ``"closest"`` shoots at the closest unit in range and stays with it, which is
            what the enemies do; ``"weakest"`` at the one with the least health.
    """

    def __init__(self, prey: Prey) -> None:
        self._prey: Prey = prey
        self._focus: np.ndarray | None = None

    def __call__(self, env: VectorSkirmish) -> np.ndarray:
        if self._focus is None:
            self._focus = np.full((env.spec.num_agents, env.num_envs), NO_UNIT)
        self._focus[:, env.time == 0] = NO_UNIT
        allies, enemies = env.side(is_ally=True), env.side(is_ally=False)
        return script_actions(allies, enemies, env.goals(True), self._focus, self._prey).T


PLAYERS: dict[str, Callable[[], Player]] = {
    "random": RandomPlayer,
    "attack the closest": lambda: ScriptedPlayer("closest"),
    "attack the weakest": lambda: ScriptedPlayer("weakest"),
}
"""Builders of players by name."""


@dataclass(frozen=True)
class Score:
    """Means over episodes."""

    win_rate: float
    episode_return: float
    length: float
    episodes: int


def measure(player: Player, env: VectorSkirmish, episodes_per_env: int, seed: int) -> Score:
    """Play an equal number of complete episodes in every sub-environment."""
    env.reset(seed)
    left = np.full(env.num_envs, episodes_per_env)
    wins, total, steps = 0.0, 0.0, 0
    while left.any():
        step = env.step(player(env))
        counts = left > 0
        total += float(step.reward[counts].sum())
        steps += int(counts.sum())
        ended = counts & (step.terminated | step.truncated)
        if ended.any():
            wins += float(step.info["won"][ended].sum())
        left -= ended
    episodes = env.num_envs * episodes_per_env
    return Score(wins / episodes, total / episodes, steps / episodes, episodes)
