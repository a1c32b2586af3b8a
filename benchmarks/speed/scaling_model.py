"""Linear model of an iteration's time by the number of workers, and its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rllib_agentmixer.errors import ConfigError

TERMS = ("fixed", "per_worker", "per_row")
STAGES: dict[str, tuple[str, ...]] = {
    "gather": TERMS,
    "concatenate": TERMS,
    "learn": ("fixed", "per_row"),
    "broadcast": ("fixed", "per_worker"),
}
"""Stage of the driver while no worker samples -> variables that its seconds depend on."""


@dataclass(frozen=True)
class Observation:
    """One measured iteration.

    Attributes:
        num_workers: remote workers.
        rows: joint steps of the batch.
        sampling_s: wall seconds in which workers sample and the driver waits.
        stages: stage -> wall seconds of the driver.
        iteration_s: wall seconds of the whole ``training_step()``.
    """

    num_workers: int
    rows: int
    sampling_s: float
    stages: Mapping[str, float]
    iteration_s: float


@dataclass(frozen=True)
class StageCost:
    """Seconds of one stage: ``fixed + per_worker * workers + per_row * rows``."""

    fixed: float = 0.0
    per_worker: float = 0.0
    per_row: float = 0.0

    def seconds(self, num_workers: float, rows: float) -> float:
        """Seconds for an iteration of this size."""
        return self.fixed + self.per_worker * num_workers + self.per_row * rows

    def __add__(self, other: StageCost) -> StageCost:
        return StageCost(
            self.fixed + other.fixed,
            self.per_worker + other.per_worker,
            self.per_row + other.per_row,
        )


@dataclass(frozen=True)
class ScalingModel:
    """Seconds of the driver by stage, and of sampling.

    Attributes:
        stages: stage -> its cost.
        sampling_s: seconds in which every worker samples its fragment, independent of their number.
        rows_per_worker: joint steps of one fragment.
    """

    stages: Mapping[str, StageCost]
    sampling_s: float
    rows_per_worker: int

    @property
    def driver(self) -> StageCost:
        """Total cost of all stages."""
        return sum(self.stages.values(), StageCost())

    def driver_s(self, num_workers: float) -> float:
        """Seconds of the driver in one iteration."""
        return self.driver.seconds(num_workers, num_workers * self.rows_per_worker)

    def iteration_s(self, num_workers: float) -> float:
        """Seconds of one iteration: sampling, then the driver's work."""
        return self.sampling_s + self.driver_s(num_workers)

    @property
    def seconds_for_each_worker(self) -> float:
        """Additional seconds of the driver per worker."""
        return self.driver.per_worker + self.driver.per_row * self.rows_per_worker

    @property
    def saturation(self) -> float:
        """Number of workers at which the driver takes as long as sampling; 0 if it always does."""
        left = self.sampling_s - self.driver.fixed
        if left <= 0:
            return 0.0
        each = self.seconds_for_each_worker
        return left / each if each > 0 else float("inf")

    def without(self, stage: str) -> ScalingModel:
        """Model in which one stage takes no time."""
        left = {name: cost for name, cost in self.stages.items() if name != stage}
        return replace(self, stages=left)

    def largest_stage(self, num_workers: int) -> str:
        """Seconds of the driver's stages at that size."""
        rows = num_workers * self.rows_per_worker
        return max(self.stages, key=lambda name: self.stages[name].seconds(num_workers, rows))


def fit_stage(observations: Sequence[Observation], stage: str) -> StageCost:
    """Best fit of a cost with non-negative coefficients, by relative errors.

    Raises:
        ConfigError: too few sizes, or rows that always are the same multiple of workers, so
            that the two coefficients cannot be identified.
    """
    from scipy.optimize import nnls

    terms = STAGES[stage]
    known = {
        "fixed": [1.0] * len(observations),
        "per_worker": [float(o.num_workers) for o in observations],
        "per_row": [float(o.rows) for o in observations],
    }
    features = np.array([known[term] for term in terms]).T
    if np.linalg.matrix_rank(features) < len(terms):
        raise ConfigError(
            f"{len(terms)} coefficients of {stage} need as many sizes that differ in workers and "
            f"in rows for each worker, got {[(o.num_workers, o.rows) for o in observations]}"
        )
    seconds = np.array([o.stages[stage] for o in observations])
    relative = features / np.maximum(seconds, 1e-9)[:, None]
    sizes = relative.max(0)  # normalize: rows are in the thousands
    found, _ = nnls(relative / sizes, np.ones(len(seconds)))
    return StageCost(**{term: float(x) for term, x in zip(terms, found / sizes, strict=True)})


def fit(observations: Sequence[Observation], rows_per_worker: int) -> ScalingModel:
    """Best fit of the model for fragments of ``rows_per_worker``.

    The workers' own time is the median over observations with such fragments.

    Raises:
        ConfigError: see :func:`fit_stage`, or no observation has such fragments.
    """
    sampling = [o.sampling_s for o in observations if o.rows == rows_per_worker * o.num_workers]
    if not sampling:
        raise ConfigError(f"no observation has {rows_per_worker} rows for each worker")
    return ScalingModel(
        stages={stage: fit_stage(observations, stage) for stage in STAGES},
        sampling_s=float(np.median(sampling)),
        rows_per_worker=rows_per_worker,
    )
