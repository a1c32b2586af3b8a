"""Execution of a search: trials, progress, MLflow, signals and export of the best policies."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.envs.registry import nearest
from rllib_agentmixer.errors import CheckpointError, ConfigError, MissingExtraError
from rllib_agentmixer.runs.checkpoints import BEST_OF_SEARCH
from rllib_agentmixer.runs.run_folder import LOCK
from rllib_agentmixer.runs.signals import handled
from rllib_agentmixer.search.figure import FIGURE, save_parallel_coordinates
from rllib_agentmixer.search.plan import PLAN, SearchPlan
from rllib_agentmixer.search.progress import SearchProgress
from rllib_agentmixer.search.results import TrialRecord, records_of, write_summary
from rllib_agentmixer.search.tuner import TRIAL_PREFIX, fresh_tuner, prepare_tune, resumed_tuner
from rllib_agentmixer.utils.files import replaced_atomically

if TYPE_CHECKING:
    from ray import tune

    from rllib_agentmixer.adapters.classic.config import ClassicConfig


@dataclass(frozen=True)
class SearchOutcome:
    """Outcome of a search.

    Attributes:
        records: trials, best first.
        best: folder with the best trial's ``checkpoint`` and ``exported`` policies; None if
            no trial has a checkpoint.
        figure: parallel coordinates; None without matplotlib.
        signal_number: signal that interrupted it, or None.
    """

    records: list[TrialRecord]
    best: Path | None
    figure: Path | None
    signal_number: int | None

    @property
    def failed(self) -> list[TrialRecord]:
        """Trials that ended in an error."""
        return [record for record in self.records if record.status == "failed"]


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Stop the search gracefully on a signal to end, at once on a second signal."""
    received: list[int] = []

    def handle(number: int, frame: Any) -> None:
        received.append(number)
        tune_listens = callable(signal.getsignal(signal.SIGUSR1))
        if len(received) > 1 or not tune_listens:
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGUSR1)  # Tune's signal for a graceful stop

    # Tune would otherwise handle SIGINT itself and never receive SIGTERM.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    listener = signal.getsignal(signal.SIGUSR1)
    try:
        with handled(handle):
            yield received
    finally:
        signal.signal(signal.SIGUSR1, listener)


def run_search(
    plan: SearchPlan, config: ClassicConfig, folder: Path, *, resume: bool = False
) -> SearchOutcome:
    """Run a search until every trial has ended or a signal is received.

    Args:
        plan: plan of the search.
        config: configuration shared by all trials, not validated.
        folder: folder of the search.
        resume: resume the search in the folder.

    Raises:
        ConfigError: the folder contains something else or is not writable, or MLflow is
            unavailable.
        CheckpointError: nothing to resume, or no disk space for the best checkpoint.
    """
    from ray import tune

    prepare_tune(plan.search)
    if resume and tune.Tuner.can_restore(str(folder.absolute())):
        tuner = resumed_tuner(plan, config, folder)
    else:
        _check_unused(folder, resume)
        callbacks = _callbacks(plan, folder)
        plan.write(folder)
        tuner = fresh_tuner(plan, config, folder, callbacks)
    with _interruptible() as received:
        results = _fit(tuner, plan)
    records = records_of(results, plan)
    write_summary(records, folder)
    return SearchOutcome(
        records,
        _keep_best(records, plan, folder),
        _draw(records, plan, folder),
        received[0] if received else None,
    )


def _check_unused(folder: Path, resume: bool) -> None:
    """Reject a folder that contains other files."""
    try:
        found = {path.name for path in folder.iterdir()} - {LOCK}
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot use {folder}: {error}; choose another --out") from error
    # A search killed before its first trial left only its plan: it starts over.
    if resume and any(name.startswith(TRIAL_PREFIX) for name in found):
        raise CheckpointError(
            f"{folder} has trials, but Ray Tune's record of them is missing; restore tuner.pkl, "
            "or search again in another --out"
        )
    if found and not resume:
        raise ConfigError(
            f"{folder} is not empty; add --resume to resume the search in it, or choose "
            "another --out"
        )


def _fit(tuner: tune.Tuner, plan: SearchPlan) -> tune.ResultGrid:
    """Run all trials; a ConfigError replaces Ray Tune's error about an unreported metric."""
    from ray.tune import TuneError

    try:
        return tuner.fit()
    except TuneError as error:
        if "did not include the specified metric" not in str(error):
            raise
        reported = re.findall(r"'((?!config/)[^']+)': ", str(error))
        raise ConfigError(
            f"trials report no {plan.metric!r}{nearest(plan.metric, reported)}; search again with "
            "another --metric in another --out"
        ) from error


def _callbacks(plan: SearchPlan, folder: Path) -> list[Any]:
    progress = SearchProgress(plan.metric, list(plan.space))
    if not plan.use_mlflow:
        return [progress]
    from rllib_agentmixer.tracking import MLflowCallback
    from rllib_agentmixer.tracking.store import check_answers, default_tracking_uri

    uri = plan.tracking_uri or default_tracking_uri(folder)
    if not plan.tracking_optional:
        check_answers(uri)
    return [progress, MLflowCallback(folder.name, experiment=plan.experiment, tracking_uri=uri)]


def _keep_best(records: list[TrialRecord], plan: SearchPlan, folder: Path) -> Path | None:
    """Copy the best checkpoint from its trial and export its policies beside it."""
    best = next((r for r in records if r.checkpoint is not None), None)
    if best is None or best.checkpoint is None:
        return None
    from rllib_agentmixer.export import export_policies
    from rllib_agentmixer.rollouts.saved_team import load_team

    try:
        with replaced_atomically(folder / BEST_OF_SEARCH.parent) as place:
            shutil.copytree(best.checkpoint, place / BEST_OF_SEARCH.name)
            team = load_team(place / BEST_OF_SEARCH.name, plan.env)
            export_policies(team, place / "exported")
    except OSError as error:
        raise CheckpointError(
            f"could not copy the best checkpoint {best.checkpoint} into {folder}: {error}; free "
            "some space, then run the same command with --resume"
        ) from error
    return folder / BEST_OF_SEARCH.parent


def _draw(records: list[TrialRecord], plan: SearchPlan, folder: Path) -> Path | None:
    if not any(record.score is not None for record in records):
        return None
    try:
        save_parallel_coordinates(records, plan.space, folder / FIGURE, plan.metric)
    except MissingExtraError:  # the table is enough
        return None
    return folder / FIGURE


def is_search(folder: Path) -> bool:
    """True if a folder contains a search."""
    return (folder / PLAN).is_file()
