"""MLflow: one flat run per training, metrics by environment step, the same run after a resume.

Ray's own logger callback sends one request per metric and dies with its server; this one
sends one batch per iteration and keeps its run id beside the checkpoints.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from rllib_agentmixer.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

RUN_FILE = "mlflow_run.json"
MAX_PARAMETER_LENGTH = 500
MOST_SECONDS_TO_OPEN = 30.0
_FORBIDDEN = re.compile(r"[^\w\-. /:]")

NOT_METRICS = ("config", "hist_stats", "episode_media", "connector_metrics", "timers", "counters")
"""Branches of RLlib's result that hold no curves."""


def flatten(result: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Finite numbers of a nested result, keys joined by ``/``."""
    flat: dict[str, float] = {}
    for key, value in result.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            if key not in NOT_METRICS:
                flat |= flatten(value, f"{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if math.isfinite(value):
                flat[name] = float(value)
        elif isinstance(value, np.generic):
            flat |= flatten({key: value.item()}, prefix)
    return flat


def metrics_of(result: dict[str, Any]) -> dict[str, float]:
    """The curves of one training iteration, with RLlib's nesting of learner statistics removed."""
    stats = result.get("info", {}).get("learner", {}).get("default_policy", {})
    chosen = {
        "env_runners": result.get("env_runners", {}),
        "evaluation": {
            key: value
            for key, value in result.get("evaluation", {}).items()
            if key in ("individual", "joint", "individual_sampled", "joint_sampled", "central_gap")
        },
        "learner": stats.get("learner_stats", {}),
        "time": {"training_iteration": result.get("training_iteration", 0)},
    }
    return flatten(chosen)


def default_tracking_uri(run_folder: Path) -> str:
    """MLFLOW_TRACKING_URI, else a sqlite file beside all runs: ``<parent>/mlflow.db``."""
    found = os.environ.get("MLFLOW_TRACKING_URI")
    return found or f"sqlite:///{run_folder.absolute().parent / 'mlflow.db'}"


def open_store(uri: str) -> MlflowClient:
    """The store's client; the first use of a store creates its tables, which takes a second."""
    from mlflow import MlflowClient

    # Each table that is created would be a line on the terminal.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


@contextmanager
def opening_store(run_folder: Path, tracking_uri: str | None = None) -> Iterator[None]:
    """Import MLflow and open the store in a thread while the body waits for something else.

    Errors are left to :class:`MLflowTracker`, which meets them again.
    """

    def work() -> None:
        with suppress(Exception):
            open_store(tracking_uri or default_tracking_uri(run_folder))

    # MLflow tries for an hour to open what cannot be opened; nobody waits for that here.
    thread = Thread(target=work, name="mlflow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(timeout=MOST_SECONDS_TO_OPEN)


class MLflowTracker:
    """Logs one training run.

    Args:
        run_folder: folder of the run; holds the run id, so that a resumed run goes on in it.
        experiment: MLflow experiment.
        tracking_uri: store or server; None takes :func:`default_tracking_uri`.

    Raises:
        ConfigError: the store cannot be opened.
    """

    def __init__(self, run_folder: Path, experiment: str, tracking_uri: str | None = None) -> None:
        from mlflow.exceptions import MlflowException

        self.folder = run_folder
        self.uri = tracking_uri or default_tracking_uri(run_folder)
        try:
            self.client = open_store(self.uri)
            self.run_id = self._open(experiment)
        except (MlflowException, OSError) as error:
            raise ConfigError(
                f"cannot open the MLflow store {self.uri}: {error}; set MLFLOW_TRACKING_URI or "
                "--tracking-uri, or train with --no-mlflow"
            ) from error

    def _open(self, experiment: str) -> str:
        path = self.folder / RUN_FILE
        if path.is_file():
            run_id = json.loads(path.read_text())["run_id"]
            self.client.update_run(run_id, status="RUNNING")
            return run_id
        known = self.client.get_experiment_by_name(experiment)
        artifacts = None
        if self.uri.startswith("sqlite"):
            artifacts = (self.folder.absolute().parent / "mlartifacts").as_uri()
        experiment_id = (
            known.experiment_id
            if known
            else self.client.create_experiment(experiment, artifact_location=artifacts)
        )
        run = self.client.create_run(experiment_id, run_name=self.folder.name)
        path.write_text(json.dumps({"run_id": run.info.run_id, "tracking_uri": self.uri}))
        return run.info.run_id

    def log_config(self, settings: dict[str, Any], tags: dict[str, str]) -> None:
        """Every setting as a parameter, the whole as an artefact, and tags."""
        from mlflow.entities import Param, RunTag

        known = self.client.get_run(self.run_id).data.params
        parameters = [
            Param(clean_key(name), str(value)[:MAX_PARAMETER_LENGTH])
            for name, value in sorted(settings.items())
            if clean_key(name) not in known
        ]
        all_tags = [RunTag(name, value) for name, value in (version_tags() | tags).items()]
        for start in range(0, len(parameters), 100):
            self.client.log_batch(self.run_id, params=parameters[start : start + 100])
        self.client.log_batch(self.run_id, tags=all_tags)
        self.client.log_dict(
            self.run_id, json.loads(json.dumps(settings, default=str)), "config.json"
        )

    def log(self, metrics: dict[str, float], env_steps: int) -> None:
        """All metrics of an iteration in one request. Training goes on if it fails."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch = [Metric(clean_key(k), v, now, env_steps) for k, v in metrics.items()]
        try:
            self.client.log_batch(self.run_id, metrics=batch)
        except Exception:  # whatever the store does, the run must go on
            logger.warning("MLflow did not take the metrics of step %d", env_steps, exc_info=True)

    def log_artifact(self, path: Path) -> None:
        """Copy a file or folder into the run's artefacts."""
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), path.name)
        else:
            self.client.log_artifact(self.run_id, str(path))

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run: ``FINISHED``, ``FAILED`` or ``KILLED``. Never hides how it ended."""
        try:
            self.client.set_terminated(self.run_id, status)
        except Exception:  # as in log()
            logger.warning("MLflow did not take the status %s", status, exc_info=True)


def clean_key(name: str) -> str:
    """A name that MLflow takes: letters, digits and ``_ - . / space :``."""
    return _FORBIDDEN.sub("_", name)


def version_tags() -> dict[str, str]:
    """Versions of what computes, and the git commit where there is one."""
    tags = {
        f"version.{name}": metadata.version(name) for name in ("rllib_agentmixer", "ray", "torch")
    }
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - whatever git the user has
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return tags
    return tags | {"git.commit": commit}
