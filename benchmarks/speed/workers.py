"""Wall time with remote workers: sampling alone with one and two, whole iterations with 0 to 2.

Sampling: every worker steps 32 sub-environments for 100 steps and its batch is gathered by the
driver. One and two workers are interleaved. Training: the demonstration's batch of 6400 joint
steps and 15 epochs. Only a machine with two idle cores can show the speed-up by a second
worker; rows record the cores used by others just before, and a warning if the load was high.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.speed.algorithms import Setup, built, remote_sampling, training
from benchmarks.speed.case import Case
from benchmarks.speed.measure import Effort, busy_cores, interleaved, load_average
from benchmarks.speed.rows import Goal, Row

ENVIRONMENTS = ("predator_prey", "simple_spread")
LEAST_GAIN = 1.7
NUM_ENVS = 32
BATCH = 6400
MOST_BUSY = 0.2
"""Cores used by others above which the gain of a second worker is not measurable."""


def warning(busy: float) -> str:
    """Warning about a busy machine; empty on an idle one."""
    if busy <= MOST_BUSY:
        return ""
    load = load_average()
    return f"others used {busy:.1f} cores (load average {load:.1f}): unreliable measurement"


def sampling_rows(env: str, effort: Effort) -> Iterator[Row]:
    """One worker against two, interleaved."""
    fragment = effort.pick(50, 100)
    setups = {
        num_workers: Setup(
            algo="agentmixer",
            env=env,
            num_envs=NUM_ENVS,
            fragment=fragment,
            num_workers=num_workers,
        )
        for num_workers in (1, 2)
    }
    with built({str(count): setup for count, setup in setups.items()}) as algorithms:
        works = {name: remote_sampling(algorithm) for name, algorithm in algorithms.items()}
        busy = busy_cores()
        costs = interleaved(works, effort.pick(4, 15), clock=time.perf_counter)
    for name, cost in costs.items():
        yield Row(
            labels={"environment": env, "what": f"sampling, workers: {name}"},
            value=cost,
            unit="us/step, wall",
            details={"steps/s": 1e6 / cost},
            settings=setups[int(name)].settings(),
        )
    yield Row(
        labels={"environment": env, "what": "sampling, one worker / two"},
        value=costs["1"] / costs["2"],
        unit="x",
        goal=Goal(least=LEAST_GAIN),
        details={"cores used by others": busy},
        note=warning(busy),
    )


def training_rows(env: str, effort: Effort) -> Iterator[Row]:
    """Rows of training iterations of the same batch with 0, 1 and 2 workers."""
    batch = effort.pick(BATCH // 4, BATCH)
    setups = {
        num_workers: Setup(
            algo="agentmixer",
            env=env,
            num_envs=NUM_ENVS,
            fragment=batch // NUM_ENVS // max(1, num_workers),
            num_workers=num_workers,
        )
        for num_workers in (0, 1, 2)
    }
    with built({str(count): setup for count, setup in setups.items()}) as algorithms:
        works = {name: training(algorithm) for name, algorithm in algorithms.items()}
        busy = busy_cores()
        costs = interleaved(works, effort.pick(2, 5), clock=time.perf_counter)
    for name, cost in costs.items():
        setup = setups[int(name)]
        yield Row(
            labels={"environment": env, "what": f"training, workers: {name}"},
            value=cost,
            unit="us/step, wall",
            details={"steps/s": 1e6 / cost, "cores used by others": busy},
            settings=setup.settings(),
            note=warning(busy),
        )


def rows_of(env: str, effort: Effort) -> Iterator[Row]:
    """Rows of sampling, then of training."""
    yield from sampling_rows(env, effort)
    yield from training_rows(env, effort)


PARTS: dict[str, Callable[[Effort], Iterator[Row]]] = {
    env: partial(rows_of, env) for env in ENVIRONMENTS
}

CASE = Case(
    name="workers",
    title="One and two remote workers",
    explanation=__doc__ or "",
    parts=PARTS,
)
