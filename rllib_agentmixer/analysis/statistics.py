r"""Statistics over few seeds: means, interquartile means and bootstrap intervals.

The interquartile mean ignores the best and the worst quarter of the runs, so that one lucky
or failed seed affects it less than the mean. The bootstrap estimates how much a statistic
varies when the runs are resampled with replacement; with three to ten seeds its intervals
are rough, and too narrow.

References: Efron, "Bootstrap methods: another look at the jackknife", 1979; Agarwal et al.,
"Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021,
arXiv:2108.13264.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rllib_agentmixer.errors import ConfigError

Array = NDArray[np.float64]
Statistic = Callable[..., Any]
"""A function of an array and ``axis``: np.mean, np.median, :func:`interquartile_mean`."""

TRIMMED_SHARE = 0.25
"""Fraction of the values that the interquartile mean trims at each end."""


@dataclass(frozen=True)
class Interval:
    """Confidence interval of a statistic."""

    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """Summary statistics of a sample.

    Attributes:
        n: number of values.
        mean: mean of all values.
        iqm: mean of the middle half.
        low: lower end of the bootstrap interval of the mean.
        high: upper end of the interval.
        min: smallest value.
        max: largest value.
    """

    n: int
    mean: float
    iqm: float
    low: float
    high: float
    min: float
    max: float


def interquartile_mean(values: ArrayLike, axis: int | None = None) -> Any:
    """Mean of the middle half: floor(n / 4) values are trimmed at each end.

    Fewer than four values are all kept.

    Args:
        values: finite numbers.
        axis: axis of the mean; None for all values, which returns a float.

    Raises:
        ConfigError: no values, or NaN or infinity among them.
    """
    array = _checked(values)
    if axis is None:
        array, axis = array.reshape(-1), 0
    ordered = np.sort(array, axis=axis)
    n = ordered.shape[axis]
    left_out = int(TRIMMED_SHARE * n)
    mean = np.take(ordered, range(left_out, n - left_out), axis=axis).mean(axis)
    return float(mean) if mean.ndim == 0 else mean


def bootstrap_interval(
    values: ArrayLike,
    statistic: Statistic = np.mean,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap: the middle ``confidence`` of the statistic over resamples.

    The same arguments always return the same interval.

    Args:
        values: one finite number per run.
        statistic: function of an array [num_resamples, n] and ``axis``.
        confidence: fraction of resamples inside the interval, in (0, 1).
        num_resamples: number of resamples of n values with replacement.
        seed: seed of the resampling.

    Raises:
        ConfigError: no values, NaN or infinity, or an argument out of its range.
    """
    return stratified_interval([values], statistic, confidence, num_resamples, seed)


def stratified_interval(
    strata: Sequence[ArrayLike],
    statistic: Statistic = interquartile_mean,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Bootstrap that resamples within each stratum, such as the runs of one environment.

    Args:
        strata: per stratum, one finite number per run.
        statistic: statistic of all values: function of an array [num_resamples, n] and ``axis``.
        confidence: fraction of resamples inside the interval, in (0, 1).
        num_resamples: number of resamples with replacement, each of the stratum's size.
        seed: seed of the resampling.

    Raises:
        ConfigError: no values, NaN or infinity, or an argument out of its range.
    """
    arrays = [_checked(values).reshape(-1) for values in strata]
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must lie in (0, 1), got {confidence!r}")
    if num_resamples < 1:
        raise ConfigError(f"num_resamples must be at least 1, got {num_resamples!r}")
    rng = np.random.default_rng(seed)
    resamples = [a[rng.integers(len(a), size=(num_resamples, len(a)))] for a in arrays]
    found = np.asarray(statistic(np.concatenate(resamples, axis=1), axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(float(low), float(high))


def summarize(values: ArrayLike, confidence: float = 0.95) -> Summary:
    """Summary of a sample; the interval is that of the mean.

    Raises:
        ConfigError: no values, NaN or infinity, or a confidence out of its range.
    """
    array = _checked(values).reshape(-1)
    interval = bootstrap_interval(array, confidence=confidence)
    return Summary(
        n=len(array),
        mean=float(array.mean()),
        iqm=interquartile_mean(array),
        low=interval.low,
        high=interval.high,
        min=float(array.min()),
        max=float(array.max()),
    )


def _checked(values: ArrayLike) -> Array:
    array = np.asarray(values, np.float64)
    if array.size == 0 or array.ndim == 0:
        raise ConfigError(f"statistics need a list of at least one value, got {values!r}")
    if not np.isfinite(array).all():
        raise ConfigError(f"values must be finite, got NaN or infinity in {values!r}")
    return array
