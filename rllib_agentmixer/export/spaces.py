"""Descriptions of Gymnasium spaces and their values in JSON, for exports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces


def describe_space(space: spaces.Space) -> dict[str, Any]:
    """JSON description of a Gymnasium space; null stands for infinity."""
    kind = type(space).__name__
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.Box):
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": _bounds(space.low),
            "high": _bounds(space.high),
        }
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "n": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "shape": list(space.shape)}
    if isinstance(space, spaces.Dict):
        parts = {str(name): describe_space(part) for name, part in space.items()}
        return {"type": "Dict", "spaces": parts}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [describe_space(part) for part in space.spaces]}
    return {"type": kind, "description": str(space)}


def as_json(value: Any) -> Any:
    """A value of a space with JSON's types only."""
    if isinstance(value, Mapping):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [as_json(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def action_numbers(space: spaces.Space) -> dict[str, Any]:
    """Map from outputs counted from 0 to actions of a discrete space."""
    if isinstance(space, spaces.MultiDiscrete):
        starts = space.start.tolist()
        return {"action_start": 0, "action_parts": space.nvec.tolist(), "action_starts": starts}
    if isinstance(space, spaces.MultiBinary):
        n = int(np.prod(space.shape))
        return {"action_start": 0, "action_parts": [2] * n, "action_starts": [0] * n}
    return {"action_start": int(getattr(space, "start", 0)), "action_parts": []}


def _bounds(bounds: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in bounds.reshape(-1)]
