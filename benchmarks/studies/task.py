"""One run of one cell: training, evaluations and the result."""

from __future__ import annotations

import gc
import logging
import math
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from benchmarks.studies.cells import Cell
from benchmarks.studies.results import Result, Returns, described
from rllib_agentmixer.runs.local_ray import start_ray

EPISODES = 32
"""Episodes of every evaluation, per policy and mode."""

LEARNER_METRICS = (
    "mode_agreement",
    "kl_joint_individual",
    "joint_correlated_gap",
    "joint_coarse_gap",
    "individual_nash_gap",
)


@dataclass(frozen=True)
class Task:
    """A cell and a seed."""

    cell: Cell
    seed: int


@contextmanager
def own_ray() -> Iterator[None]:
    """A private Ray, one torch thread, and no output on the terminal.

    A running Ray is reused, and left running.
    """
    import ray
    import torch

    torch.set_num_threads(1)
    for name in ("ray", "ray.rllib", "ray.rllib.algorithms.algorithm_config"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore", UserWarning)  # gymnasium, about names that RLlib reuses
    was_running = ray.is_initialized()
    try:
        start_ray(0)
    except Exception:  # a busy machine can miss Ray's start-up deadline once
        ray.shutdown()
        start_ray(0)
    try:
        yield
    finally:
        if not was_running:
            ray.shutdown()


def attempt(task: Task) -> Result:
    """Run a task; an error becomes a failed result."""
    started = time.monotonic()
    try:
        result = _run(task)
    except Exception as error:  # any error: the other tasks must continue
        traceback.print_exc()
        result = failure(task, f"{type(error).__name__}: {error}")
    gc.collect()  # reference cycles keep the networks alive, 3 MB per run
    return replace(result, seconds=time.monotonic() - started)


def failure(task: Task, reason: str) -> Result:
    """The result of a failed task."""
    return Result(
        key=task.cell.key, seed=task.seed, cell=described(task.cell), error=" ".join(reason.split())
    )


def _run(task: Task) -> Result:
    started = time.monotonic()
    cell = task.cell
    config = cell.config(task.seed)
    num_iterations = math.ceil(cell.steps / int(config.train_batch_size or 1))
    every = max(1, round(num_iterations / cell.num_evaluations))
    config.evaluation(evaluation_interval=every, evaluation_duration=EPISODES)
    algorithm: Any = config.build_algo()
    try:
        setup_seconds = time.monotonic() - started
        curve: list[list[float]] = []
        result: dict[str, Any] = {}
        while algorithm.num_env_steps < cell.steps:
            result = algorithm.train()
            if algorithm.iteration % every == 0:
                curve.append(_point(algorithm.num_env_steps, result["evaluation"]))
        if algorithm.iteration % every:
            result["evaluation"] = algorithm.evaluate()
            curve.append(_point(algorithm.num_env_steps, result["evaluation"]))
        return Result(
            key=cell.key,
            seed=task.seed,
            cell=described(cell),
            env_steps=algorithm.num_env_steps,
            setup_seconds=setup_seconds,
            returns=_final_returns(result["evaluation"]),
            curve=curve,
            metrics=_metrics(result),
            versions=_versions() | {cell.env: algorithm.team_spec.version},
        )
    finally:
        algorithm.stop()


def _point(env_steps: int, evaluation: dict[str, Any]) -> list[float]:
    played = (evaluation[policy]["episode_return_mean"] for policy in ("individual", "joint"))
    return [env_steps, *played]


def _final_returns(evaluation: dict[str, Any]) -> Returns:
    names = ("individual", "joint", "individual_sampled", "joint_sampled")
    returns = Returns(*(float(evaluation[name]["episode_return_mean"]) for name in names))
    if not all(map(math.isfinite, asdict(returns).values())):
        raise ArithmeticError(f"training diverged: final returns are {returns}")
    return returns


def _metrics(result: dict[str, Any]) -> dict[str, float]:
    """Selected learner metrics, if the algorithm and the environment have them."""
    from rllib_agentmixer.tracking import metrics_of

    curves = metrics_of(result)
    return {n: curves[f"learner/{n}"] for n in LEARNER_METRICS if f"learner/{n}" in curves}


@lru_cache
def _versions() -> dict[str, str]:
    from rllib_agentmixer.tracking import version_tags

    return {name.rpartition(".")[2]: value for name, value in version_tags().items()}
