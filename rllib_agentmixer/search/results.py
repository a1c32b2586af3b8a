"""Results of a search: one record per trial, with its best checkpoint."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.search.plan import STEPS, SearchPlan
from rllib_agentmixer.search.spaces import config_path
from rllib_agentmixer.utils.files import write_atomically
from rllib_agentmixer.utils.nested import value_at

if TYPE_CHECKING:
    from ray import tune

SUMMARY = "trials.csv"


def setting_of(config: Mapping[str, Any], name: str) -> Any:
    """Value of ``name``, ``env.<argument>`` or ``model.<option>`` in a trial's configuration."""
    return value_at(config, "/".join(config_path(name)))


@dataclass(frozen=True)
class TrialRecord:
    """Result of one trial.

    Attributes:
        name: folder of the trial.
        status: ``finished``, ``stopped`` (by the scheduler), ``failed`` or ``unfinished``.
        settings: final values of the searched settings.
        score: metric of the best checkpoint; None without one.
        steps: joint environment steps trained.
        seconds: training time.
        checkpoint: folder of the best checkpoint; None without one.
        error: last line of the error of a failed trial.
    """

    name: str
    status: str
    settings: dict[str, Any]
    score: float | None
    steps: int
    seconds: float
    checkpoint: Path | None
    error: str | None


def records_of(results: tune.ResultGrid, plan: SearchPlan) -> list[TrialRecord]:
    """Records of the trials, best first, those without a score last."""
    records = [_record(result, plan) for result in results]
    # Names break ties, so that the best trial is the same after a resume.
    return sorted(records, key=lambda r: (math.inf if r.score is None else -r.score, r.name))


def _record(result: Any, plan: SearchPlan) -> TrialRecord:
    metrics = result.metrics or {}
    steps = int(metrics.get(STEPS) or 0)
    scored = [
        (value, checkpoint)
        for checkpoint, found in result.best_checkpoints
        if (value := value_at(found, plan.metric)) is not None
    ]
    # Ties go to the last checkpoint: it has trained longest.
    score, checkpoint = max(reversed(scored), key=lambda pair: pair[0], default=(None, None))
    status = "finished" if steps >= plan.steps else "stopped"
    if result.error is not None:
        status = "failed"
    elif not metrics.get("done") and status == "stopped":
        status = "unfinished"
    message = None
    if result.error is not None:
        message = (str(result.error).strip() or repr(result.error)).splitlines()[-1]
    return TrialRecord(
        name=Path(result.path).name,
        status=status,
        settings={name: setting_of(result.config or {}, name) for name in plan.space},
        score=None if score is None else float(score),
        steps=steps,
        seconds=float(metrics.get("time_total_s") or 0.0),
        checkpoint=None if checkpoint is None else Path(checkpoint.path),
        error=message,
    )


def write_summary(records: list[TrialRecord], folder: Path) -> Path:
    """Write ``trials.csv``: one row per trial, best first.

    Raises:
        ConfigError: the folder is not writable.
    """
    text = io.StringIO()
    names = list(records[0].settings) if records else []
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "status", "score", "steps", "seconds", *names, "checkpoint", "error"])
    for r in records:
        score = "" if r.score is None else r.score
        place = "" if r.checkpoint is None else r.checkpoint.name
        table.writerow(
            [
                *(r.name, r.status, score, r.steps, round(r.seconds, 1)),
                *(r.settings[name] for name in names),
                *(place, r.error or ""),
            ]
        )
    try:
        write_atomically(folder / SUMMARY, text.getvalue())
    except OSError as error:
        raise ConfigError(f"cannot write {folder / SUMMARY}: {error}") from error
    return folder / SUMMARY
