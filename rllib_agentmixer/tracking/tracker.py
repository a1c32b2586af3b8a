"""Tracker of a training run: spools records, which a thread sends to MLflow."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.tracking.identity import RunIdentity, known_identity
from rllib_agentmixer.tracking.remote_run import begin
from rllib_agentmixer.tracking.results import log_results
from rllib_agentmixer.tracking.run_log import RunLog
from rllib_agentmixer.tracking.sender import SEND_EVERY_S, Sender
from rllib_agentmixer.tracking.spool import sending_lock
from rllib_agentmixer.tracking.store import (
    MOST_SECONDS_TO_OPEN,
    StoreUnavailableError,
    answering_store,
    cannot_open,
    default_tracking_uri,
    is_outage,
    open_store,
    reason_of,
    without_password,
)
from rllib_agentmixer.tracking.tags import version_tags

logger = logging.getLogger(__name__)

FLUSH_S = 30.0
"""Timeout for sending the rest at the end of a run."""


class MLflowTracker:
    """MLflow tracker of one training run.

    A new run requires an available server, unless tracking is ``optional``. Later outages never
    stop training: records are spooled in the run's folder and arrive exactly once and in order
    when the server is available again, from this process or a later one.

    Args:
        run_folder: folder of the run; contains its identity, so that training can resume it.
        experiment: MLflow experiment.
        tracking_uri: MLflow tracking URI; None uses the run's own, or the default.
        optional: start even if the server is unavailable.
        send_every: seconds between requests.
        flush_seconds: timeout of :meth:`finish`.

    Raises:
        ConfigError: invalid tracking URI, or the server is unavailable for a new run.
    """

    def __init__(
        self,
        run_folder: Path,
        experiment: str,
        tracking_uri: str | None = None,
        *,
        optional: bool = False,
        send_every: float = SEND_EVERY_S,
        flush_seconds: float = FLUSH_S,
    ) -> None:
        self.folder = run_folder
        self.flush_seconds = flush_seconds
        identity = known_identity(run_folder, tracking_uri)
        is_fresh = identity is None
        if identity is None:
            uri = tracking_uri or default_tracking_uri(run_folder)
            identity = RunIdentity.fresh(uri, experiment, run_folder.name)
        self.uri = identity.tracking_uri
        self._begin(identity, may_wait=optional or not is_fresh)
        self.log_of_run = RunLog(run_folder)
        if not is_fresh:
            self.log_of_run.status("RUNNING")
        self.sender = Sender(lambda: open_store(self.uri), send_every)
        self.sender.add(run_folder)

    @property
    def run_id(self) -> str | None:
        """MLflow id of the run; None until it is created."""
        identity = RunIdentity.read(self.folder)
        return identity and identity.run_id

    def _begin(self, identity: RunIdentity, may_wait: bool) -> None:
        """Create the run if the server is available."""
        try:
            client = answering_store(identity.tracking_uri)
            begin(self.folder, client, identity)
        except StoreUnavailableError as error:
            if not may_wait:
                raise ConfigError(cannot_open(identity.tracking_uri, str(error))) from error
            identity.write(self.folder)
            logger.warning(
                "MLflow at %s is unavailable (%s); metrics wait in %s",
                without_password(identity.tracking_uri),
                error,
                self.folder,
            )

    def log_config(self, settings: dict[str, Any], tags: dict[str, str]) -> None:
        """Log every setting as a parameter, all of them as an artifact, and tags."""
        self.log_of_run.parameters(settings)
        self.log_of_run.tags(version_tags() | tags)

    def log(self, metrics: dict[str, float], env_steps: int) -> None:
        """Log the metrics of an iteration, unless its step was logged before."""
        self.log_of_run.metrics(metrics, env_steps)

    def log_artifact(self, path: Path) -> None:
        """Log a file or folder as an artifact, with its contents at the time of sending."""
        self.log_of_run.artifact(path)

    def log_results(self) -> None:
        """Log the results in the run's folder as artifacts: see ``results.log_results``."""
        try:
            log_results(self.log_of_run, self.folder)
        except Exception:  # a figure must not hide how the run ended
            logger.warning("could not log the results in %s", self.folder, exc_info=True)

    def flush(self) -> bool:
        """Send all records; False after a timeout."""
        return self.sender.flush(self.flush_seconds)

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run as ``FINISHED``, ``FAILED`` or ``KILLED``; never raises."""
        self.log_of_run.status(status)
        has_arrived = self.sender.close(self.flush_seconds)
        self.log_of_run.spool.close()
        if not has_arrived:
            logger.warning(
                "not all records reached MLflow at %s; send the rest later with "
                "`rllib-agentmixer sync %s`",
                without_password(self.uri),
                self.folder,
            )


def sync_folder(folder: Path, tracking_uri: str | None = None) -> int:
    """Send the records that an earlier process could not send.

    Args:
        folder: folder of a run.
        tracking_uri: current MLflow tracking URI; None for that of the run.

    Returns:
        Number of records that were sent.

    Raises:
        ConfigError: the server is unavailable, or another process is sending this run.
    """
    identity = known_identity(folder, tracking_uri)
    if identity is None:
        raise ConfigError(f"{folder} holds no run that was logged to MLflow; give a run's folder")
    lock = sending_lock(folder)
    if not lock.acquire():
        raise ConfigError(f"{folder} is being sent by a running process; wait until it ends")
    try:
        client = answering_store(identity.tracking_uri, MOST_SECONDS_TO_OPEN)
        run = begin(folder, client, identity)
        while run.send():
            pass
        return run.num_sent
    except Exception as error:
        if isinstance(error, StoreUnavailableError) or is_outage(error):
            uri = without_password(identity.tracking_uri)
            raise ConfigError(
                f"the MLflow server {uri} is unavailable: {reason_of(error)}; start it, or give "
                "its address with --tracking-uri"
            ) from error
        raise
    finally:
        lock.release()
