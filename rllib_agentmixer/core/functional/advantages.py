"""Normalisation of advantages: the weight of one joint action relative to a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from rllib_agentmixer.core.functional.losses import valid_mean
from rllib_agentmixer.core.shapes import Bool, Float, Tensor

SMALLEST_SPREAD = 1e-4
"""Floor of a divisor, in reward units: a batch without differences gives no signal."""

HYSTERETIC_FACTOR = 0.3
"""Weight of negative advantages under ``hysteretic``."""

ROBUST_CLIP = 2.0
"""Largest magnitude under ``robust``, in inter-quartile ranges."""


def standardized(
    advantages: Float[Tensor, "*batch"], valid: Bool[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Zero mean and unit standard deviation over valid rows."""
    centred = advantages - valid_mean(advantages, valid)
    std = valid_mean(centred.square(), valid).sqrt()
    return centred / std.clamp_min(SMALLEST_SPREAD)


def hysteretic(
    advantages: Float[Tensor, "*batch"], valid: Bool[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Standardised, then negative ones scaled down (Matignon et al. 2007, hysteretic learning).

    Failures that come from a team mate's exploration then discourage an agent less than
    joint successes encourage it.
    """
    scaled = standardized(advantages, valid)
    return torch.where(scaled < 0, HYSTERETIC_FACTOR * scaled, scaled)


def robust(
    advantages: Float[Tensor, "*batch"], valid: Bool[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Median and inter-quartile range in place of mean and deviation, clipped.

    Rare disasters then neither move the centre nor stretch the scale.
    """
    chosen = advantages[valid]
    low, median, high = (chosen.quantile(q) for q in (0.25, 0.5, 0.75))
    scaled = (advantages - median) / (high - low).clamp_min(SMALLEST_SPREAD)
    return scaled.clamp(-ROBUST_CLIP, ROBUST_CLIP)


ADVANTAGE_SCALES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "standard": standardized,
    "hysteretic": hysteretic,
    "robust": robust,
}
