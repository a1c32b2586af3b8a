"""Transforms of an agent's observations and actions around its network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rllib_agentmixer.core.data.masks import MaskForm, places_of
from rllib_agentmixer.runtime.observations import numbers


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
        mask_form: declared form of flat masks over a MultiDiscrete action; None to tell by length.
        action_space: bounds, shape and type of a continuous action.
    """

    obs_mean: Tensor | None = None
    obs_std: Tensor | None = None
    obs_clip: float = math.inf
    action: dict[str, Tensor] | None = None
    action_start: int = 0
    action_parts: tuple[int, ...] = ()
    action_starts: tuple[int, ...] = ()
    mask_form: MaskForm | None = None
    action_space: BoxAction | None = None

    @classmethod
    def from_manifest(
        cls, constants: dict[str, Any], action_space: dict[str, Any]
    ) -> Preprocessing:
        """Construct from the constants in an export's manifest, and its agent's action space."""

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
            constants.get("mask_form"),
            BoxAction.from_manifest(action_space) if action_space["type"] == "Box" else None,
        )

    def observation(self, flat: Tensor) -> Tensor:
        """[O] normalized observation."""
        if self.obs_mean is None or self.obs_std is None:
            return flat
        return ((flat - self.obs_mean) / self.obs_std).clamp(-self.obs_clip, self.obs_clip)

    def action_mask(self, mask: Any) -> Tensor:
        """[A] legal actions; one mask per component becomes one over all combinations.

        Raises:
            ValueError: it can be read in two ways.
        """
        places = None
        if len(self.action_parts) > 1:
            size = math.prod(self.action_parts)
            places = places_of(mask, self.action_parts, size, self.mask_form)
        if places is None:
            return numbers(mask) > 0
        allowed = torch.ones(1, dtype=torch.bool)
        for place in places:
            allowed = (allowed[:, None] & (numbers(place) > 0)).reshape(-1)
        return allowed

    def discrete_action(self, chosen: int) -> int | Tensor:
        """Environment action of a zero-based choice."""
        if not self.action_parts:
            return chosen + self.action_start
        parts = torch.unravel_index(torch.tensor(chosen), self.action_parts)
        return torch.stack(parts) + torch.tensor(self.action_starts)

    def continuous_action(self, action: Tensor) -> Tensor:
        """[.., A] policy units -> environment units, within the environment's bounds."""
        if self.action is not None:
            constants = self.action
            clipped = action.clamp(constants["low"], constants["high"])
            action = clipped * constants["scale"] + constants["shift"]
        box = self.action_space
        return action if box is None else action.clamp(box.low, box.high)

    def environment_action(self, action: Tensor) -> Tensor:
        """The action [A] in policy units as the environment takes it: bounds, shape, type."""
        scaled, box = self.continuous_action(action), self.action_space
        if box is None:
            return scaled
        if box.dtype != torch.float32:
            # A float32 bound such as 0.4 lies beyond the same bound in double precision.
            scaled = scaled.to(box.dtype).clamp(box.exact_low, box.exact_high)
        return scaled.reshape(box.shape)


@dataclass(frozen=True)
class BoxAction:
    """Bounds [A], shape and type of a continuous action space."""

    exact_low: Tensor
    exact_high: Tensor
    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def from_manifest(cls, space: dict[str, Any]) -> BoxAction:
        """Construct from the description of a Box."""
        dtype = {"float16": torch.float16, "float64": torch.float64}.get(
            space["dtype"], torch.float32
        )
        low, high = (_unbounded(name, space[name], dtype) for name in ("low", "high"))
        return cls(low, high, tuple(space["shape"]), dtype)

    @property
    def low(self) -> Tensor:
        """Lower bounds in the network's precision."""
        return self.exact_low.float()

    @property
    def high(self) -> Tensor:
        """Upper bounds in the network's precision."""
        return self.exact_high.float()


def like(action: Tensor, obs: Any) -> Any:
    """Action as a tensor if the observation was one, else as a NumPy array."""
    return action if isinstance(obs, Tensor) else action.numpy()


def _unbounded(name: str, values: list[float | None], dtype: torch.dtype = torch.float32) -> Tensor:
    """Bounds with null replaced by infinity, which JSON cannot represent."""
    infinity = -math.inf if name == "low" else math.inf
    return torch.tensor([infinity if v is None else v for v in values], dtype=dtype)
