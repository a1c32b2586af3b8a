"""Cooperative environments that come with PettingZoo: SISL and Butterfly.

References: Gupta et al., "Cooperative multi-agent control using deep reinforcement learning",
AAMAS 2017 (SISL); Terry et al., "PettingZoo", NeurIPS 2021, arXiv:2009.14471.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pettingzoo import ParallelEnv
from pettingzoo.utils import BaseParallelWrapper


def multiwalker(*, max_cycles: int = 500, **settings: Any) -> ParallelEnv:
    """Walkers carry a package together; continuous actions.

    Two bugs of the environment are fixed: it reports its time limit as a terminal state,
    and has no global state once a walker has fallen.

    Args:
        max_cycles: truncates the episode.
        settings: any other argument of ``pettingzoo.sisl.multiwalker_v9.parallel_env``.
    """
    from pettingzoo.sisl import multiwalker_v9

    return _Multiwalker(multiwalker_v9.parallel_env(max_cycles=max_cycles, **settings), max_cycles)


def pursuit(*, max_cycles: int = 500, **settings: Any) -> ParallelEnv:
    """Eight pursuers surround evaders on a grid; observations are images of 7 x 7 x 3.

    Args:
        max_cycles: truncates the episode.
        settings: any other argument of ``pettingzoo.sisl.pursuit_v5.parallel_env``.
    """
    from pettingzoo.sisl import pursuit_v5

    return pursuit_v5.parallel_env(max_cycles=max_cycles, **settings)


def knights_archers_zombies(*, max_cycles: int = 900, **settings: Any) -> ParallelEnv:
    """Knights and archers hold zombies off; agents die one by one, kills are their own.

    Args:
        max_cycles: truncates the episode.
        settings: any other argument of
            ``pettingzoo.butterfly.knights_archers_zombies_v11.parallel_env``.
    """
    from pettingzoo.butterfly import knights_archers_zombies_v11

    return knights_archers_zombies_v11.parallel_env(max_cycles=max_cycles, **settings)


class _Multiwalker(BaseParallelWrapper):
    env: Any

    def __init__(self, env: ParallelEnv, max_cycles: int) -> None:
        super().__init__(env)
        self.max_cycles = max_cycles
        self._num_steps = 0

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        self._num_steps = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: dict) -> tuple[dict, dict, dict, dict, dict]:
        obs, rewards, terminated, truncated, infos = self.env.step(actions)
        self._num_steps += 1
        if self._num_steps >= self.max_cycles:
            # The walkers' own flags, before the limit was added to them.
            fell = dict(zip(self.possible_agents, self._walkers.last_dones, strict=True))
            terminated = {name: bool(fell[name]) for name in terminated}
            truncated = {name: not ended for name, ended in terminated.items()}
        return obs, rewards, terminated, truncated, infos

    def state(self) -> np.ndarray:
        """All walkers' own features (zero once removed) and the package's position."""
        walkers = self._walkers.walkers
        standing = [walker.hull is not None for walker in walkers]
        size = (self.env.state_space.shape[0] - 3) // len(walkers)
        rows = [
            walker.get_observation() if stands else np.zeros(size)
            for walker, stands in zip(walkers, standing, strict=True)
        ]
        package = self._walkers.package
        place = (
            np.zeros(3)
            if package is None
            else np.array([package.position.x, package.position.y, package.angle])
        )
        return np.concatenate([*rows, place]).astype(np.float32)

    @property
    def _walkers(self) -> Any:
        """The simulation below PettingZoo's interfaces."""
        return self.env.unwrapped.env
