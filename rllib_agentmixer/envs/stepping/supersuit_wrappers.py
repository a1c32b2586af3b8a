"""Compatibility with SuperSuit's wrappers: a fix of ``black_death``, and explained errors.

SuperSuit 3.11's ``black_death`` ends an episode once every agent is terminated *and*
truncated, which rarely happens; afterwards it keeps stepping an environment whose episode has
ended.
"""

from __future__ import annotations

import traceback
from functools import lru_cache
from typing import Any

import numpy as np


def fix_black_death(env: Any) -> Any:
    """The same environment, in which a ``black_death`` among its wrappers ends episodes."""
    layer = env
    while layer is not None:
        kind = type(layer)
        if kind.__name__ == "black_death_par" and kind.__module__.startswith("supersuit."):
            layer.__class__ = _with_ends(kind)
        layer = vars(layer).get("env") if hasattr(layer, "__dict__") else None
    return env


def is_supersuit_error(error: BaseException) -> bool:
    """True if SuperSuit raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "/supersuit/" in frames[-1].filename.replace("\\", "/")


@lru_cache(maxsize=1)
def _with_ends(kind: type) -> type:
    class BlackDeathWithEnds(kind):
        """``black_death``: dead agents get a zero observation until the last one has ended."""

        def step(self, actions: dict) -> tuple[dict, dict, dict, dict, dict]:
            living = {name: actions[name] for name in self.env.agents}
            obs, rewards, _terminated, truncated, infos = self.env.step(living)
            for name in self.agents:
                if name not in obs:
                    obs[name] = np.zeros_like(self.observation_space(name).low)
                rewards.setdefault(name, 0.0)
                infos.setdefault(name, {})
            was_cut = any(truncated.values())
            is_over = not self.env.agents
            ended = {name: is_over and not was_cut for name in self.agents}
            cut = {name: is_over and was_cut for name in self.agents}
            if is_over:
                self.agents = []
            return obs, rewards, ended, cut, infos

    BlackDeathWithEnds.__qualname__ = "BlackDeathWithEnds"
    return BlackDeathWithEnds


def __getattr__(name: str) -> Any:
    """The wrapper class under its pickled name, created lazily as SuperSuit is imported lazily."""
    if name != "BlackDeathWithEnds":
        raise AttributeError(name)
    from supersuit.multiagent_wrappers.black_death import black_death_par

    return _with_ends(black_death_par)
