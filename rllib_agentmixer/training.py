"""Run one training to its end: progress, metrics, checkpoints, and a clean stop by signals."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import CheckpointError, ConfigError
from rllib_agentmixer.files import recover_interrupted
from rllib_agentmixer.progress import LiveProgress, snapshot
from rllib_agentmixer.tracking import (
    MLflowTracker,
    metrics_of,
    open_tracker,
    opening_store,
    plain_config,
)

if TYPE_CHECKING:
    from rllib_agentmixer.algorithms.team_algorithm import TeamAlgorithm
    from rllib_agentmixer.algorithms.team_config import TeamConfig

CHECKPOINT = "checkpoint"
PROGRESS = "progress.jsonl"
CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """When a run ends and what it leaves behind.

    Attributes:
        out: folder of the run: checkpoint, progress, MLflow run id.
        total_steps: joint environment steps at which training ends; None for no limit.
        time_limit_s: seconds of training after which it ends; None for no limit.
        checkpoint_every: iterations between checkpoints; one is always written at the end.
        resume: continue from the run's checkpoint.
        tracking_uri: MLflow store; None for the default.
        use_mlflow: False logs to files only.
        experiment: MLflow experiment.
    """

    out: Path
    total_steps: int | None = None
    time_limit_s: float | None = None
    checkpoint_every: int = 10
    resume: bool = False
    tracking_uri: str | None = None
    use_mlflow: bool = True
    experiment: str = "rllib_agentmixer"


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        rows: one dictionary of numbers per iteration, ``env_steps`` and ``seconds`` among them.
        checkpoint: folder of the last checkpoint.
        was_interrupted: ended by Ctrl-C or SIGTERM.
        signal_number: which signal, or None.
    """

    rows: list[dict[str, float]]
    checkpoint: Path
    was_interrupted: bool
    signal_number: int | None = None


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying, so that a run ends with a checkpoint."""
    received: list[int] = []
    previous = {
        number: signal.signal(number, lambda n, _: received.append(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def preparing(plan: RunPlan) -> AbstractContextManager[None]:
    """Get ready what tracks the run, beside a body that waits: Ray takes seconds to start."""
    if not plan.use_mlflow:
        return nullcontext()
    return opening_store(plan.out, plan.tracking_uri)


def build(config: TeamConfig, plan: RunPlan) -> TeamAlgorithm:
    """The algorithm, fresh or restored from the run's checkpoint.

    Raises:
        CheckpointError: nothing to resume from, or something that a fresh run would overwrite.
    """
    checkpoint = plan.out / CHECKPOINT
    recover_interrupted(checkpoint)
    if plan.resume:
        if not checkpoint.is_dir():
            raise CheckpointError(
                f"nothing to resume: {checkpoint} does not exist; train without --resume first"
            )
        return type_of(config).from_checkpoint(str(checkpoint))  # type: ignore[return-value]
    if checkpoint.exists():
        raise CheckpointError(
            f"{plan.out} holds a finished or interrupted run; add --resume to continue it, or "
            "name another --out"
        )
    return config.build_algo()  # type: ignore[return-value]


def type_of(config: TeamConfig) -> type[TeamAlgorithm]:
    """The algorithm class of a configuration."""
    return config.algo_class  # type: ignore[return-value]


def run(algorithm: TeamAlgorithm, plan: RunPlan, progress: LiveProgress) -> RunOutcome:
    """Train until a limit or a signal; every iteration is written down before the next.

    Raises:
        ConfigError: no limit was set, or the folder cannot be written.
    """
    if plan.total_steps is None and plan.time_limit_s is None:
        raise ConfigError("a run needs --steps or --minutes, got neither")
    tracker = _open_tracker(algorithm, plan)
    rows = _rows_until_checkpoint(algorithm, plan) if plan.resume else []
    status = "FAILED"
    try:
        with stop_requests() as received, progress:
            _iterate(algorithm, plan, progress, rows, tracker, received)
            algorithm.save(str(plan.out / CHECKPOINT))
        status = "KILLED" if received else "FINISHED"
    finally:
        if tracker is not None:
            tracker.log_results()
            tracker.finish(status)
    return RunOutcome(
        rows, plan.out / CHECKPOINT, bool(received), received[0] if received else None
    )


def _iterate(
    algorithm: TeamAlgorithm,
    plan: RunPlan,
    progress: LiveProgress,
    rows: list[dict[str, float]],
    tracker: MLflowTracker | None,
    received: list[int],
) -> None:
    seconds_before = rows[-1]["seconds"] if rows else 0.0
    individual = math.nan
    progress.begin(algorithm.num_env_steps)
    started = time.monotonic()
    with (plan.out / PROGRESS).open("a", encoding="utf-8") as file:
        while not received and not _is_over(algorithm, plan, time.monotonic() - started):
            result = algorithm.train()
            now = snapshot(result, individual)
            individual = now.individual_return
            progress.show(now)
            metrics = metrics_of(result)
            elapsed = seconds_before + time.monotonic() - started
            rows.append({"env_steps": now.env_steps, "seconds": elapsed, **metrics})
            stamped = rows[-1] | {"environment": result.get("environment")}
            file.write(json.dumps(stamped, default=str) + "\n")
            file.flush()
            if tracker is not None:
                tracker.log(metrics, now.env_steps)
            if algorithm.iteration % plan.checkpoint_every == 0:
                algorithm.save(str(plan.out / CHECKPOINT))


def _is_over(algorithm: TeamAlgorithm, plan: RunPlan, elapsed: float) -> bool:
    steps = algorithm.num_env_steps
    by_steps = plan.total_steps is not None and steps >= plan.total_steps
    by_time = plan.time_limit_s is not None and elapsed >= plan.time_limit_s
    return by_steps or by_time


def _open_tracker(algorithm: TeamAlgorithm, plan: RunPlan) -> MLflowTracker | None:
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
        settings = plain_config(algorithm.config)
        (plan.out / CONFIG).write_text(json.dumps(settings, indent=1, default=str))
    except OSError as error:
        raise ConfigError(f"cannot write to {plan.out}: {error}; choose another --out") from error
    if not plan.use_mlflow:
        return None
    return open_tracker(
        algorithm, plan.out, experiment=plan.experiment, tracking_uri=plan.tracking_uri
    )


def num_workers(settings: dict[str, Any]) -> int:
    """Remote workers that a run starts, for rollouts and for evaluation."""
    return int(settings["num_env_runners"]) + int(settings["evaluation_num_env_runners"])


def read_workers(out: Path) -> int:
    """Remote workers of the run in a folder; 0 where it has no readable ``config.json``."""
    try:
        return num_workers(json.loads((out / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _rows_until_checkpoint(algorithm: TeamAlgorithm, plan: RunPlan) -> list[dict[str, float]]:
    """Rows up to the restored step; those after it will be written again."""
    steps = algorithm.num_env_steps
    rows = [row for row in read_progress(plan.out) if row["env_steps"] <= steps]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (plan.out / PROGRESS).write_text(text, encoding="utf-8")
    return rows


def read_progress(out: Path) -> list[dict[str, float]]:
    """Rows of an earlier part of the run; a last line cut short by a crash is dropped."""
    path = out / PROGRESS
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
