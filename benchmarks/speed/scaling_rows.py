"""Rows of the scaling case: measured sizes, the model, its check, and the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.speed.rows import Goal, Row
from benchmarks.speed.scaling_model import Observation, ScalingModel

PLANNED = (10, 100, 1000)
MOST_ERROR = 0.25
"""Largest relative error of the prediction for the held-out count."""


@dataclass(frozen=True)
class Bytes:
    """Bytes sent in one iteration.

    Attributes:
        weights: sent to every worker.
        batch: sent by one worker, for the longer fragments.
    """

    weights: int
    batch: int


def measured_rows(
    observations: Sequence[Observation], settings: Mapping[str, Any]
) -> Iterator[Row]:
    """Rows of the measured sizes."""
    for observation in observations:
        each = observation.rows // observation.num_workers
        yield Row(
            labels={"what": f"measured, workers: {observation.num_workers}, rows of each: {each}"},
            value=observation.iteration_s,
            unit="s/iteration, wall",
            details={
                "workers": observation.num_workers,
                "rows": observation.rows,
                "sampling, s": observation.sampling_s,
                "driver, s": sum(observation.stages.values()),
                **{f"{stage}, s": seconds for stage, seconds in observation.stages.items()},
            },
            settings=settings,
        )


def bytes_rows(travelling: Bytes, rows: int) -> Iterator[Row]:
    """Bytes sent to and by every worker, the latter for a batch of this many rows."""
    for what, size in (("weights, to", travelling.weights), ("batch, from", travelling.batch)):
        yield Row(
            labels={"what": f"{what} each worker"},
            value=size / 1e3,
            unit="kB/iteration",
            details={"bytes for each row": size / rows} if what.startswith("batch") else {},
        )


def model_rows(model: ScalingModel) -> Iterator[Row]:
    """Rows of the coefficients of the driver's stages."""
    for stage, cost in [*model.stages.items(), ("driver", model.driver)]:
        yield Row(
            labels={"what": f"model of {stage}"},
            value=cost.seconds(1, model.rows_per_worker),
            unit="s with 1 worker",
            details={
                "fixed, ms": cost.fixed * 1e3,
                "each worker, ms": cost.per_worker * 1e3,
                "each row, us": cost.per_row * 1e6,
            },
        )


def check_row(model: ScalingModel, observations: Sequence[Observation], held_out: int) -> Row:
    """Relative error of the prediction for the held-out count."""
    rows = held_out * model.rows_per_worker
    measured = next(o for o in observations if o.num_workers == held_out and o.rows == rows)
    predicted = model.iteration_s(held_out)
    return Row(
        labels={"what": f"check: prediction for {held_out} workers, error"},
        value=abs(predicted / measured.iteration_s - 1),
        unit="share",
        goal=Goal(most=MOST_ERROR),
        details={
            "predicted, s": predicted,
            "measured, s": measured.iteration_s,
            "predicted driver, s": model.driver_s(held_out),
            "driver, s": sum(measured.stages.values()),
        },
        note=f"fitted to fewer than {held_out} workers",
    )


def plan_rows(model: ScalingModel, travelling: Bytes) -> Iterator[Row]:
    """Predictions for many workers, and the number at which the driver becomes the bottleneck."""
    for num_workers in PLANNED:
        driver_s, iteration_s = model.driver_s(num_workers), model.iteration_s(num_workers)
        rows = num_workers * model.rows_per_worker
        yield Row(
            labels={"what": f"plan, workers: {num_workers}"},
            value=iteration_s,
            unit="s/iteration, wall",
            details={
                "workers": num_workers,
                "rows": rows,
                "MB of weights": num_workers * travelling.weights / 1e6,
                "MB of batches": num_workers * travelling.batch / 1e6,
                "sampling, s": model.sampling_s,
                "driver, s": driver_s,
                "steps/s": rows / iteration_s,
            },
            note=advice(model, num_workers),
        )
    for what, limit in (("", model), (", if learning took no time,", model.without("learn"))):
        yield Row(
            labels={"what": f"the driver works as long as the workers{what} at"},
            value=limit.saturation,
            unit="workers",
            details={"steps/s at most": limit.rows_per_worker / limit.seconds_for_each_worker},
            note=advice(limit, round(limit.saturation) + 1),
        )


REMEDIES = {
    "learn": "learn on a GPU, or with fewer epochs",
    "gather": "send less for each row, or gather through a tree of nodes",
    "concatenate": "learn from the workers' batches without joining them",
    "broadcast": "send weights through a tree of nodes, or every few iterations",
}
"""Stage that takes most of the driver's time -> remedy."""


def advice(model: ScalingModel, num_workers: int) -> str:
    """Bottleneck at that size, and its remedy."""
    driver_s = model.driver_s(num_workers)
    if driver_s <= model.sampling_s:
        return f"workers limit: the driver is busy {driver_s / model.iteration_s(num_workers):.0%}"
    stage = model.largest_stage(num_workers)
    return f"the driver limits, most of it in {stage}: {REMEDIES[stage]}"
