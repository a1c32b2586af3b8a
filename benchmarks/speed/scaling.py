"""Scaling of training to 10, 100 and 1000 workers: a model, validated on two cores.

Every worker steps 32 sub-environments of a synthetic team whose step sleeps for 50
milliseconds, like a slow simulator that leaves the CPU free, so that many workers fit on two
cores. An iteration is sampling by all workers, then the driver's work: fetching their batches
(gather), joining them (concatenate), all epochs (learn), sending the new weights (broadcast).
Each part is timed for 1, 2, 4, .. workers and for two lengths of fragments, which separates
growth with workers from growth with rows. Seconds are modelled as

    fixed + per_worker * workers + per_row * rows

where learning does not depend on workers, nor broadcasting on rows. The largest number of
workers is held out: the model has to predict its whole ``training_step()``. Larger numbers are
extrapolated: one machine, no network, a driver whose memory holds the batch.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from benchmarks.speed.algorithms import Setup, quiet_ray, sample_fragment
from benchmarks.speed.case import Case
from benchmarks.speed.measure import Effort, free_gigabytes
from benchmarks.speed.rows import Row
from benchmarks.speed.scaling_model import Observation, fit
from benchmarks.speed.scaling_rows import (
    Bytes,
    bytes_rows,
    check_row,
    measured_rows,
    model_rows,
    plan_rows,
)
from rllib_agentmixer.errors import ConfigError

NUM_ENVS = 32
STEP_SECONDS = 0.05
FRAGMENTS = (4, 8)
"""Steps of each sub-environment in one batch; the plan uses the longer one."""

NUM_EPOCHS = 5
LEAST_FREE_GB = 6.0
EACH_WORKER_GB = 0.4
LEAST_COUNTS = 3
"""Minimum number of measured worker counts: two to fit, one to validate."""


def counts(effort: Effort) -> tuple[int, ...]:
    """Measured numbers of workers; the last one is held out."""
    return effort.pick((1, 2, 4, 6), (1, 2, 4, 8, 16))


SETUP = Setup(
    algo="agentmixer",
    env="fake_team",
    env_config={"step_seconds": STEP_SECONDS},
    num_envs=NUM_ENVS,
    fragment=max(FRAGMENTS),
    num_workers=1,
    epochs=NUM_EPOCHS,
)
"""Initial setup of training; workers are added later."""


@contextmanager
def timed(name: str, taken: dict[str, float]) -> Iterator[None]:
    """Record the wall seconds of a block under a name."""
    started = time.perf_counter()
    yield
    taken[name] = time.perf_counter() - started


class Driver:
    """Driver with a growing number of workers, timed stage by stage.

    Args:
        algorithm: algorithm built with one remote worker.
    """

    def __init__(self, algorithm: Any) -> None:
        self.algorithm = algorithm
        self.group = algorithm.workers_group
        self.policy = algorithm.team_policy
        # One minibatch, regardless of the number of rows.
        learner = self.policy.learner
        learner.rllib = replace(learner.rllib, minibatch_size=None)

    def grow(self, num_workers: int) -> None:
        """Start workers until there are this many."""
        missing = num_workers - self.group.num_remote_workers()
        if missing:
            self.group.add_workers(missing, validate=True)

    def set_fragment(self, fragment: int) -> None:
        """Batches of ``fragment`` steps of each sub-environment, one from each worker."""

        def change(worker: Any) -> None:
            worker.config = worker.config.copy(copy_frozen=False)
            worker.config.rollout_fragment_length = fragment

        self.group.foreach_env_runner(change, local_env_runner=False)
        config = self.algorithm.config.copy(copy_frozen=False)
        rows = self.group.num_remote_workers() * NUM_ENVS * fragment
        config.train_batch_size = rows
        self.algorithm.config = config
        self.algorithm.sampler = type(self.algorithm.sampler)(self.group, config)

    def parts_once(self) -> dict[str, float]:
        """Wall seconds of sampling and of every stage, sequentially."""
        import ray
        from ray.rllib.policy.sample_batch import concat_samples

        taken: dict[str, float] = {}
        with timed("sampling", taken):
            references = self.group.foreach_env_runner(
                sample_fragment, local_env_runner=False, return_obj_refs=True
            )
            ray.wait(references, num_returns=len(references), fetch_local=False)
        with timed("gather", taken):
            batches = ray.get(references)
        with timed("concatenate", taken):
            batch = concat_samples(batches)
        with timed("learn", taken):
            self.policy.update(batch)
        with timed("broadcast", taken):
            self.group.sync_weights(policies=["default_policy"])
        self.wait_for_workers()
        return taken

    def wait_for_workers(self) -> None:
        """Wait until all workers have received their weights."""
        self.group.foreach_env_runner(lambda worker: None, local_env_runner=False)

    def iteration_once(self) -> float:
        """Wall seconds of a ``training_step()``."""
        started = time.perf_counter()
        self.algorithm.training_step()
        taken = time.perf_counter() - started
        self.wait_for_workers()
        return taken

    def observe(self, fragment: int, rounds: int) -> Observation:
        """Medians over rounds, after a warm-up."""
        self.set_fragment(fragment)
        self.parts_once()
        parts = [self.parts_once() for _ in range(rounds)]
        iterations = [self.iteration_once() for _ in range(rounds)]
        medians = {name: statistics.median(p[name] for p in parts) for name in parts[0]}
        num_workers = self.group.num_remote_workers()
        return Observation(
            num_workers=num_workers,
            rows=num_workers * NUM_ENVS * fragment,
            sampling_s=medians.pop("sampling"),
            stages=medians,
            iteration_s=statistics.median(iterations),
        )

    def bytes_that_travel(self) -> Bytes:
        """Serialized sizes of the weights and of one worker's batch."""
        import ray
        from ray._private.worker import global_worker

        def size(value: Any) -> int:
            context = global_worker.get_serialization_context()
            return context.serialize(value).total_bytes

        weights = self.algorithm.team_worker.get_weights()
        batches = ray.get(
            self.group.foreach_env_runner(
                sample_fragment, local_env_runner=False, return_obj_refs=True
            )
        )
        return Bytes(weights=size(weights), batch=size(batches[0]))


def observe_all(driver: Driver, effort: Effort) -> list[Observation]:
    """All worker counts that memory allows, each with both lengths of fragments."""
    found = []
    for num_workers in counts(effort):
        needed = EACH_WORKER_GB * (num_workers - driver.group.num_remote_workers())
        if free_gigabytes() - needed < LEAST_FREE_GB:
            print(f"  memory ends at {driver.group.num_remote_workers()} workers", file=sys.stderr)
            break
        driver.grow(num_workers)
        found += [driver.observe(fragment, effort.pick(3, 7)) for fragment in FRAGMENTS]
    if len({observation.num_workers for observation in found}) < LEAST_COUNTS:
        raise ConfigError(
            f"a model and its check need {LEAST_COUNTS} counts of workers, but only "
            f"{free_gigabytes():.1f} GB are free and {LEAST_FREE_GB:g} must remain; free some"
        )
    return found


def rows_of(effort: Effort) -> Iterator[Row]:
    """Rows of measurements, model, validation and plan."""
    with quiet_ray(max(counts(effort))):
        algorithm = SETUP.build()
        driver = Driver(algorithm)
        observations = observe_all(driver, effort)
        driver.set_fragment(max(FRAGMENTS))
        travelling = driver.bytes_that_travel()
        algorithm.stop()
    varied = ("fragment", "num_workers", "batch")
    settings = {n: v for n, v in SETUP.settings().items() if n not in varied}
    held_out = max(o.num_workers for o in observations)
    known = [o for o in observations if o.num_workers < held_out]
    model = fit(known, NUM_ENVS * max(FRAGMENTS))
    yield from measured_rows(observations, settings)
    yield from bytes_rows(travelling, model.rows_per_worker)
    yield from model_rows(model)
    yield check_row(model, observations, held_out)
    yield from plan_rows(model, travelling)


CASE = Case(
    name="scaling",
    title="Scaling to many workers",
    explanation=__doc__ or "",
    parts={"sleeping_team": rows_of},
    picture="draw_scaling",
)
