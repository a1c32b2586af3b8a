"""What happens to an agent's observation before its network and to its action after it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """Constants of the training run, written into its exports.

    Attributes:
        obs_mean: [O] subtracted, or None.
        obs_std: [O] divided by.
        obs_clip: largest magnitude afterwards.
        action: ``low``, ``high``, ``scale``, ``shift`` [A] of continuous actions, or None:
            ``clip(a, low, high) * scale + shift``.
        action_start: number of the first action of a discrete space.
        action_parts: choices in each place of a combined action (MultiDiscrete), or empty.
        action_starts: first choice in each place.
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
        """From what an export says."""

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
        """[O] as the network reads it."""
        if self.obs_mean is None or self.obs_std is None:
            return flat
        return ((flat - self.obs_mean) / self.obs_std).clamp(-self.obs_clip, self.obs_clip)

    def action_mask(self, mask: Any) -> Tensor:
        """[A] what is legal; one mask per place becomes one of all combinations."""
        if not self.action_parts or not hasattr(mask[0], "__len__"):
            return torch.as_tensor(mask).reshape(-1) > 0
        allowed = torch.ones(1, dtype=torch.bool)
        for place in mask:
            allowed = (allowed[:, None] & (torch.as_tensor(place) > 0)).reshape(-1)
        return allowed

    def discrete_action(self, chosen: int) -> int | Tensor:
        """The environment's action of a choice that counts from 0."""
        if not self.action_parts:
            return chosen + self.action_start
        places = torch.unravel_index(torch.tensor(chosen), self.action_parts)
        return torch.stack(places) + torch.tensor(self.action_starts)

    def continuous_action(self, action: Tensor) -> Tensor:
        """[A] policy units -> environment units."""
        if self.action is None:
            return action
        constants = self.action
        clipped = action.clamp(constants["low"], constants["high"])
        return clipped * constants["scale"] + constants["shift"]


def like(action: Any, obs: Any) -> Any:
    """An action as a NumPy array where the observation was one; a number stays a number."""
    if isinstance(action, Tensor) and type(obs).__module__ == "numpy":
        return action.numpy()
    return action


def _unbounded(name: str, values: list[float | None]) -> Tensor:
    """JSON knows no infinity: null stands for it in bounds."""
    infinity = -math.inf if name == "low" else math.inf
    return torch.tensor([infinity if v is None else v for v in values], dtype=torch.float32)
