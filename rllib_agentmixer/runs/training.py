"""Run one training to its end: progress, metrics, checkpoints, and a clean stop by signals."""

from __future__ import annotations

import json
import logging
import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import CheckpointError, ConfigError
from rllib_agentmixer.runs.checkpoints import RunCheckpoints
from rllib_agentmixer.runs.live_progress import LiveProgress, snapshot
from rllib_agentmixer.runs.progress_file import ProgressFile, read_progress
from rllib_agentmixer.runs.run_folder import CONFIG
from rllib_agentmixer.runs.signals import stop_requests
from rllib_agentmixer.tracking import (
    MLflowTracker,
    metrics_of,
    opening_store,
    plain_settings,
    run_tags,
)
from rllib_agentmixer.utils.files import write_atomically

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.classic.algorithm import TeamAlgorithm
    from rllib_agentmixer.adapters.classic.config import ClassicConfig

logger = logging.getLogger(__name__)


EVALUATED_RETURN = "evaluation/individual/episode_return_mean"
SAMPLED_RETURN = "env_runners/episode_return_mean"


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Limits and outputs of a run.

    Attributes:
        out: folder of the run: checkpoint, progress, MLflow run id.
        total_steps: joint environment steps at which training ends; None for no limit.
        time_limit_s: seconds of training after which it ends; None for no limit.
        checkpoint_every: iterations between checkpoints; one is always written at the end, and
            one whenever an evaluation is the best so far.
        keep_checkpoints_num: how many of the newest checkpoints are kept beside the best; None
            keeps all.
        best_metric: metric whose highest value makes a checkpoint the best; None takes the
            return of the individual policies, without evaluation that of training episodes.
        resume: continue from the run's newest checkpoint.
        fall_back: when resuming, skip damaged checkpoints.
        tracking_uri: MLflow store; None for the default.
        use_mlflow: False logs to files only.
        experiment: MLflow experiment.
        sweep: name under which runs of one comparison are grouped in MLflow.
        tracking_optional: begin even when the MLflow store does not answer.
    """

    out: Path
    total_steps: int | None = None
    time_limit_s: float | None = None
    checkpoint_every: int = 10
    keep_checkpoints_num: int | None = 3
    best_metric: str | None = None
    resume: bool = False
    fall_back: bool = False
    tracking_uri: str | None = None
    use_mlflow: bool = True
    experiment: str = "rllib_agentmixer"
    sweep: str | None = None
    tracking_optional: bool = False


@dataclass(frozen=True)
class RunOutcome:
    """Outcome of a run.

    Attributes:
        rows: one dictionary of metrics per iteration, ``env_steps`` and ``seconds`` among them.
        checkpoint: folder of the last checkpoint.
        was_interrupted: ended by Ctrl-C, SIGTERM or SIGHUP.
        signal_number: which signal, or None.
    """

    rows: list[dict[str, float]]
    checkpoint: Path
    was_interrupted: bool
    signal_number: int | None = None


def preparing(plan: RunPlan) -> AbstractContextManager[None]:
    """Prepare tracking in parallel with the body, since Ray takes seconds to start."""
    if not plan.use_mlflow:
        return nullcontext()
    return opening_store(plan.out, plan.tracking_uri)


def build(config: ClassicConfig, plan: RunPlan) -> TeamAlgorithm:
    """The algorithm, fresh or restored from the run's checkpoint.

    Raises:
        CheckpointError: nothing to resume from.
    """
    if plan.resume:
        checkpoints = RunCheckpoints(plan.out, plan.keep_checkpoints_num)
        newest = checkpoints.newest_good(fall_back=plan.fall_back)
        return type_of(config).from_checkpoint(str(newest))  # type: ignore[return-value]
    return config.build_algo()  # type: ignore[return-value]


def type_of(config: ClassicConfig) -> type[TeamAlgorithm]:
    """The algorithm class of a configuration."""
    return config.algo_class  # type: ignore[return-value]


def run(algorithm: TeamAlgorithm, plan: RunPlan, progress: LiveProgress) -> RunOutcome:
    """Train until a limit or a signal; every iteration is written down before the next.

    Raises:
        ConfigError: no limit was set, or the folder cannot be written.
    """
    if plan.total_steps is None and plan.time_limit_s is None:
        raise ConfigError("a run needs --steps or --minutes, got neither")
    progress_file, rows = _open_folder(algorithm, plan)
    tracker = _open_tracker(algorithm, plan)
    saver = _Saver(algorithm, plan)
    status = "FAILED"
    try:
        with stop_requests() as received, progress:
            seconds_before = rows[-1]["seconds"] if rows else 0.0
            progress.begin(algorithm.num_env_steps)
            started = time.monotonic()
            individual = math.nan
            while not received and not _is_over(algorithm, plan, time.monotonic() - started):
                result = algorithm.train()
                now = snapshot(result, individual)
                individual = now.individual_return
                progress.show(now)
                metrics = metrics_of(result)
                elapsed = seconds_before + time.monotonic() - started
                rows.append({"env_steps": now.env_steps, "seconds": elapsed, **metrics})
                progress_file.append(rows[-1] | {"environment": result.get("environment")})
                if tracker is not None:
                    tracker.log(metrics, now.env_steps)
                saver.after_iteration(metrics)
            checkpoint = saver.at_the_end(rows[-1] if rows else {})
        status = "KILLED" if received else "FINISHED"
    finally:
        if tracker is not None:
            tracker.log_results()
            tracker.finish(status)
    return RunOutcome(rows, checkpoint, bool(received), received[0] if received else None)


class _Saver:
    """Schedule of checkpoints, which tolerates a full disk for a while."""

    def __init__(self, algorithm: TeamAlgorithm, plan: RunPlan) -> None:
        self.algorithm = algorithm
        self.every = plan.checkpoint_every
        self.checkpoints = RunCheckpoints(plan.out, plan.keep_checkpoints_num)
        self.checkpoints.remove_leftovers()
        is_evaluated = bool(algorithm.config.evaluation_interval)
        self.metric = plan.best_metric or (EVALUATED_RETURN if is_evaluated else SAMPLED_RETURN)

    def after_iteration(self, metrics: dict[str, float]) -> None:
        """Save if a checkpoint is due, or if this evaluation is the best so far."""
        value = metrics.get(self.metric)
        # Returns of training episodes come with every iteration: too often to save each best.
        is_best = self.metric != SAMPLED_RETURN and self.checkpoints.is_improvement(
            self.metric, value
        )
        if self.algorithm.iteration % self.every == 0 or is_best:
            try:
                self.checkpoints.save(self.algorithm, self.metric, value)
            except CheckpointError as error:
                # Training is worth more than this checkpoint; the next one is due soon.
                logger.warning("%s. Training continues", error)

    def at_the_end(self, metrics: dict[str, float]) -> Path:
        """The last checkpoint; failing to write this one is an error."""
        newest = self.checkpoints.newest
        if newest is not None and newest.name == self.checkpoints.name_of(self.algorithm):
            return newest
        return self.checkpoints.save(self.algorithm, self.metric, metrics.get(self.metric))


def _is_over(algorithm: TeamAlgorithm, plan: RunPlan, elapsed: float) -> bool:
    steps = algorithm.num_env_steps
    by_steps = plan.total_steps is not None and steps >= plan.total_steps
    by_time = plan.time_limit_s is not None and elapsed >= plan.time_limit_s
    return by_steps or by_time


def _open_folder(
    algorithm: TeamAlgorithm, plan: RunPlan
) -> tuple[ProgressFile, list[dict[str, float]]]:
    """Files of the run; rows after the restored step are removed, to be written again."""
    steps = algorithm.num_env_steps
    earlier = read_progress(plan.out) if plan.resume else []
    rows = [row for row in earlier if row["env_steps"] <= steps]
    try:
        settings = plain_settings(algorithm.config.to_dict())
        write_atomically(plan.out / CONFIG, json.dumps(settings, indent=1, default=str))
        return ProgressFile(plan.out, rows), rows
    except OSError as error:
        raise ConfigError(f"cannot write to {plan.out}: {error}; choose another --out") from error


def _open_tracker(algorithm: TeamAlgorithm, plan: RunPlan) -> MLflowTracker | None:
    if not plan.use_mlflow:
        return None
    tracker = MLflowTracker(
        plan.out, plan.experiment, plan.tracking_uri, optional=plan.tracking_optional
    )
    settings = plain_settings(algorithm.config.to_dict())
    stamp = algorithm.config.environment_stamp(algorithm.team_spec)
    tags = run_tags(type(algorithm).__name__, settings, stamp)
    tracker.log_config(settings, tags | ({"sweep": plan.sweep} if plan.sweep else {}))
    return tracker


def num_workers(settings: dict[str, Any]) -> int:
    """Remote workers that a run starts, for rollouts and for evaluation."""
    return int(settings["num_env_runners"]) + int(settings["evaluation_num_env_runners"])


def read_workers(out: Path) -> int:
    """Remote workers of the run in a folder; 0 where it has no readable ``config.json``."""
    try:
        return num_workers(json.loads((out / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0
