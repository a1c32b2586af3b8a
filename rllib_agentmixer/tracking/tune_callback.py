"""Ray Tune callback that logs trials as MLflow runs and survives outages and restores.

    tune.RunConfig(callbacks=[MLflowCallback("learning rates")])

Unlike Ray's ``MLflowLoggerCallback``, one thread sends batches for all trials, an outage does
not stop the search, steps are environment steps, and a restored trial resumes its own run.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune import Callback

from rllib_agentmixer.tracking.identity import RunIdentity, known_identity
from rllib_agentmixer.tracking.metrics import flatten, metrics_of
from rllib_agentmixer.tracking.results import log_results
from rllib_agentmixer.tracking.run_log import RunLog
from rllib_agentmixer.tracking.sender import SEND_EVERY_S, Sender
from rllib_agentmixer.tracking.store import (
    check_answers,
    default_tracking_uri,
    open_store,
)
from rllib_agentmixer.tracking.tags import (
    command_line,
    config_hash,
    plain_settings,
    stamp_tags,
    version_tags,
)
from rllib_agentmixer.tracking.tracker import FLUSH_S
from rllib_agentmixer.tracking.trial_folders import experiment_folder, trial_folder

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

logger = logging.getLogger(__name__)

STEP_KEYS = ("num_env_steps_sampled_lifetime", "timesteps_total", "training_iteration")
"""Step counters of a result, in order of preference."""
PARENT_FOLDER = "mlflow_parent"
HYPERPARAMETER = "hyperparameter/"


@dataclass
class _TrialRun:
    """State of a trial's run."""

    log: RunLog
    status: str = "RUNNING"
    was_stopped: bool = False
    has_stamp: bool = False
    searched: dict[str, float] = field(default_factory=dict)


class MLflowCallback(Callback):
    """Callback that logs every trial of a search as a run, tagged ``sweep``.

    Args:
        sweep: name of the search; groups its runs.
        experiment: MLflow experiment.
        tracking_uri: MLflow tracking URI; None uses MLFLOW_TRACKING_URI, else a SQLite file
            beside the search's folder.
        nested: nest the runs under a parent run. MLflow's charts are then empty until runs
            are selected manually.
        tags: tags of every run.
        required: raise if the server is unavailable at the start.
        send_every: seconds between requests.
        flush_seconds: timeout for sending the rest at the end of the search.

    Raises:
        ConfigError: from ``setup``, if ``required`` and the server is unavailable.
    """

    def __init__(
        self,
        sweep: str,
        *,
        experiment: str = "rllib_agentmixer",
        tracking_uri: str | None = None,
        nested: bool = False,
        tags: dict[str, str] | None = None,
        required: bool = False,
        send_every: float = SEND_EVERY_S,
        flush_seconds: float = FLUSH_S,
    ) -> None:
        self.sweep = sweep
        self.experiment = experiment
        self.tracking_uri = tracking_uri
        self.nested = nested
        self.tags = dict(tags or {})
        self.required = required
        self.send_every = send_every
        self.flush_seconds = flush_seconds
        self._reset()

    def _reset(self) -> None:
        self._runs: dict[str, _TrialRun] = {}
        self._parent: RunLog | None = None
        self._sender: Sender | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Settings only: the state of trials is kept in their folders."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, settings: dict[str, Any]) -> None:
        vars(self).update(settings)
        self._reset()

    def setup(self, *args: Any, **info: Any) -> None:
        """Check that the server is available, if required."""
        if not self.required or self.tracking_uri is None:
            return
        check_answers(self.tracking_uri)

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Start or resume the trial's run."""
        run = self._run_of(trial)
        if run is not None and run.status != "RUNNING":
            run.status = "RUNNING"
            run.log.status("RUNNING")

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: Any
    ) -> None:
        """Log the metrics of an iteration."""
        run = self._run_of(trial)
        if run is None:
            return
        run.was_stopped = bool(result.get("done"))
        if not run.has_stamp and isinstance(result.get("environment"), dict):
            run.log.tags(stamp_tags(result["environment"]))
            run.has_stamp = True
        values = metrics_of(result) if "env_runners" in result else flatten(result)
        step = next((int(result[key]) for key in STEP_KEYS if key in result), 0)
        run.log.metrics(values | _changed_settings(run, trial), step)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Close the run and tag it with what stopped the trial."""
        run = self._run_of(trial)
        if run is not None:
            run.log.tags({"stopped_by": _stopped_by(run, trial)})
            self._close(run, trial, "FINISHED")

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Close the run as failed."""
        run = self._run_of(trial)
        if run is not None:
            self._close(run, trial, "FAILED")

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Close interrupted runs, then send the rest until the timeout."""
        for trial in trials:
            run = self._runs.get(trial.trial_id)
            if run is not None and run.status == "RUNNING":
                self._close(run, trial, "KILLED")
        if self._parent is not None:
            self._parent.status("FINISHED")
            self._parent.spool.close()
        sender = self._sender
        folder = experiment_folder(trials[0]) if trials else ""
        self._reset()
        if sender is not None and not sender.close(self.flush_seconds):
            logger.warning(
                "not all records reached MLflow; send the rest later with "
                "`rllib-agentmixer sync %s`",
                folder,
            )

    def _run_of(self, trial: Trial) -> _TrialRun | None:
        """Run of a trial; None, with a warning, if its folder is not writable."""
        run = self._runs.get(trial.trial_id)
        if run is None:
            try:
                run = self._runs[trial.trial_id] = self._begin(trial)
            except OSError:
                logger.warning("cannot log %s to MLflow", trial, exc_info=True)
        return run

    def _begin(self, trial: Trial) -> _TrialRun:
        folder = trial_folder(trial)
        parent = self._parent_folder(trial) if self.nested else None
        is_fresh = self._claim(folder, trial, folder.name, parent)
        run = _TrialRun(RunLog(folder), searched=flatten(trial.evaluated_params))
        if not is_fresh:
            run.log.status("RUNNING")
        settings = plain_settings(trial.config)
        run.log.parameters(settings)
        run.log.tags(self._tags_of(trial, settings))
        self._send(folder, trial)
        return run

    def _claim(self, folder: Path, trial: Trial, name: str, parent: Path | None = None) -> bool:
        """Assign a run to a folder; False if it had one before."""
        known = known_identity(folder, self.tracking_uri)
        uri = self._uri(trial)
        (known or RunIdentity.fresh(uri, self.experiment, name, parent)).write(folder)
        return known is None

    def _uri(self, trial: Trial) -> str:
        return self.tracking_uri or default_tracking_uri(experiment_folder(trial))

    def _send(self, folder: Path, trial: Trial) -> None:
        if self._sender is None:
            identity = RunIdentity.read(folder)
            uri = identity.tracking_uri if identity else self._uri(trial)
            self._sender = Sender(lambda: open_store(uri), self.send_every)
        self._sender.add(folder)

    def _parent_folder(self, trial: Trial) -> Path:
        folder = experiment_folder(trial) / PARENT_FOLDER
        if self._parent is None:
            folder.mkdir(parents=True, exist_ok=True)
            is_fresh = self._claim(folder, trial, self.sweep)
            self._parent = RunLog(folder)
            if not is_fresh:
                self._parent.status("RUNNING")
            self._parent.tags({"sweep": self.sweep, **self.tags})
            self._send(folder, trial)
        return folder

    def _tags_of(self, trial: Trial, settings: dict[str, Any]) -> dict[str, str]:
        return {
            **version_tags(),
            "sweep": self.sweep,
            "trial": trial.trial_id,
            "algorithm": trial.trainable_name,
            "seed": str(settings.get("seed")),
            "config.hash": config_hash(settings),
            "command": command_line(),
            **self.tags,
        }

    def _close(self, run: _TrialRun, trial: Trial, status: str) -> None:
        try:
            log_results(run.log, run.log.spool.folder)
        except Exception:  # whatever is in the folder, the search must continue
            logger.warning("could not log the results of %s", trial, exc_info=True)
        run.status = status
        run.log.status(status)
        run.log.spool.close()


def _changed_settings(run: _TrialRun, trial: Trial) -> dict[str, float]:
    """Changed hyperparameters as metrics: PBT changes them, MLflow parameters are immutable."""
    config = flatten(trial.config)
    known = run.searched
    names = {name: config[name] for name in known if name in config}
    is_first = run.log.last_step < 0
    changed = {name: value for name, value in names.items() if is_first or value != known[name]}
    known.update(changed)
    return {f"{HYPERPARAMETER}{name}": value for name, value in changed.items()}


def _stopped_by(run: _TrialRun, trial: Trial) -> str:
    """Cause: ``criterion``, ``scheduler`` (or a stopper), ``trainable`` (ended) or ``budget``."""
    last = trial.last_result or {}
    flat = flatten(last)
    reached = (flat.get(k, -float("inf")) >= v for k, v in trial.stopping_criterion.items())
    if any(reached):
        return "criterion"
    if run.was_stopped:
        return "scheduler"
    return "trainable" if last.get("done") else "budget"
