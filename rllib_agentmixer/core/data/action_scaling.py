"""Map of a policy's continuous actions to the environment's; discrete ones are unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class ActionScaling:
    """Clip, scale and shift, per agent and dimension: ``clip(a, low, high) * scale + shift``.

    Attributes:
        low: lower clip of the policy's action, -inf for none.
        high: upper clip.
        scale: environment units per policy unit.
        shift: environment value of a policy's 0.
    """

    low: np.ndarray
    high: np.ndarray
    scale: np.ndarray
    shift: np.ndarray

    def __call__(self, actions: Any) -> Any:
        return actions.clip(self.low, self.high) * self.scale + self.shift


def action_scaling(
    low: np.ndarray, high: np.ndarray, *, normalize_actions: bool, clip_actions: bool
) -> ActionScaling:
    """RLlib's meaning of its two settings, dimension by dimension.

    Args:
        low: lower bounds of the environment, possibly infinite.
        high: upper bounds.
        normalize_actions: [-1, 1] of the policy spans the bounds (where both are finite).
        clip_actions: otherwise, cut at the bounds.
    """
    low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
    one, zero = np.ones_like(low), np.zeros_like(low)
    with np.errstate(over="ignore", invalid="ignore"):  # +-largest float32 stands for infinity
        bounded = np.isfinite(high - low) & (high > low)
    outer_low = low if clip_actions else np.full_like(low, -np.inf)
    outer_high = high if clip_actions else np.full_like(high, np.inf)
    if not normalize_actions:
        return ActionScaling(outer_low, outer_high, one, zero)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.where(bounded, (high - low) / 2, one)
        shift = np.where(bounded, (high + low) / 2, zero)
    return ActionScaling(
        np.where(bounded, -one, outer_low), np.where(bounded, one, outer_high), scale, shift
    )
