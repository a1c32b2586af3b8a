"""Transforms of an agent's observations and actions around its network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """Observation and action transforms of a training run, stored in its exports.

    Attributes:
        obs_mean: [O] subtracted, or None.
        obs_std: [O] divided by.
        obs_clip: largest magnitude after normalization.
        action: ``low``, ``high``, ``scale``, ``shift`` [A] of continuous actions, or None:
            ``clip(a, low, high) * scale + shift``.
        action_start: offset of a discrete space.
        action_parts: number of choices per component of a MultiDiscrete action, or empty.
        action_starts: offset per component.
    """

    obs_mean: Tensor | None = None
    obs_std: Tensor | None = None
    obs_clip: float = math.inf
    action: dict[str, Tensor] | None = None
    action_start: int = 0
    action_parts: tuple[int, ...] = ()
    action_starts: tuple[int, ...] = ()

    @classmethod
    def from_manifest(cls, constants: dict[str, Any]) -> Preprocessing:
        """Construct from the constants in an export's manifest."""

        def tensor(value: Any) -> Tensor | None:
            return None if value is None else torch.tensor(value, dtype=torch.float32)

        action = constants["action"]
        return cls(
            tensor(constants["obs_mean"]),
            tensor(constants["obs_std"]),
            constants["obs_clip"] or math.inf,
            action and {name: _unbounded(name, values) for name, values in action.items()},
            constants["action_start"],
            # Exports of earlier versions have no combined actions.
            tuple(constants.get("action_parts", ())),
            tuple(constants.get("action_starts", ())),
        )

    def observation(self, flat: Tensor) -> Tensor:
        """[O] normalized observation."""
        if self.obs_mean is None or self.obs_std is None:
            return flat
        return ((flat - self.obs_mean) / self.obs_std).clamp(-self.obs_clip, self.obs_clip)

    def action_mask(self, mask: Any) -> Tensor:
        """[A] legal actions; one mask per component becomes one over all combinations."""
        if not self.action_parts or not hasattr(mask[0], "__len__"):
            return torch.as_tensor(mask).reshape(-1) > 0
        allowed = torch.ones(1, dtype=torch.bool)
        for part in mask:
            allowed = (allowed[:, None] & (torch.as_tensor(part) > 0)).reshape(-1)
        return allowed

    def discrete_action(self, chosen: int) -> int | Tensor:
        """Environment action of a zero-based choice."""
        if not self.action_parts:
            return chosen + self.action_start
        parts = torch.unravel_index(torch.tensor(chosen), self.action_parts)
        return torch.stack(parts) + torch.tensor(self.action_starts)

    def continuous_action(self, action: Tensor) -> Tensor:
        """[A] policy units -> environment units."""
        if self.action is None:
            return action
        constants = self.action
        clipped = action.clamp(constants["low"], constants["high"])
        return clipped * constants["scale"] + constants["shift"]


def like(action: Any, obs: Any) -> Any:
    """Convert an action tensor to NumPy if the observation was a NumPy array."""
    if isinstance(action, Tensor) and type(obs).__module__ == "numpy":
        return action.numpy()
    return action


def _unbounded(name: str, values: list[float | None]) -> Tensor:
    """Bounds with null replaced by infinity, which JSON cannot represent."""
    infinity = -math.inf if name == "low" else math.inf
    return torch.tensor([infinity if v is None else v for v in values], dtype=torch.float32)
