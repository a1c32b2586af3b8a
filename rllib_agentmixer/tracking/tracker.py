"""What training talks to: it writes records down and returns; a thread brings them to MLflow."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.tracking.identity import RunIdentity, known_identity
from rllib_agentmixer.tracking.remote_run import RemoteRun
from rllib_agentmixer.tracking.results import log_results
from rllib_agentmixer.tracking.run_log import RunLog
from rllib_agentmixer.tracking.sender import SEND_EVERY_S, Sender
from rllib_agentmixer.tracking.spool import SendingLock
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
"""How long the end of a run waits for MLflow."""


class MLflowTracker:
    """Logs one training run.

    A fresh run needs a store that answers, unless it is ``optional``. From then on nothing
    that happens to the store stops training: records wait in the run's folder, and arrive
    once and in order when the store answers again, in this process or in a later one.

    Args:
        run_folder: holds the run's identity, so that a resumed run goes on in the same run.
        experiment: MLflow experiment.
        tracking_uri: store or server; None takes the run's own, or the default.
        optional: begin even when the store does not answer.
        send_every: seconds between requests.
        flush_seconds: longest wait of :meth:`finish`.

    Raises:
        ConfigError: the address can never work, or a fresh run's store does not answer.
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
        """MLflow's id of the run; None as long as the store has not answered."""
        identity = RunIdentity.read(self.folder)
        return identity and identity.run_id

    def _begin(self, identity: RunIdentity, may_wait: bool) -> None:
        """Create the run now, where the store answers."""
        try:
            client = answering_store(identity.tracking_uri)
            identity.write(self.folder)
            RemoteRun(self.folder, client).check()
        except StoreUnavailableError as error:
            if not may_wait:
                raise ConfigError(cannot_open(identity.tracking_uri, str(error))) from error
            identity.write(self.folder)
            logger.warning(
                "MLflow at %s does not answer (%s); metrics wait in %s",
                without_password(identity.tracking_uri),
                error,
                self.folder,
            )

    def log_config(self, settings: dict[str, Any], tags: dict[str, str]) -> None:
        """Every setting as a parameter, the whole as an artefact, and tags."""
        self.log_of_run.parameters(settings)
        self.log_of_run.tags(version_tags() | tags)

    def log(self, metrics: dict[str, float], env_steps: int) -> None:
        """The metrics of an iteration; a step that was logged before is left out."""
        self.log_of_run.metrics(metrics, env_steps)

    def log_artifact(self, path: Path) -> None:
        """Copy a file or folder into the run's artefacts, as it is when the store answers."""
        self.log_of_run.artifact(path)

    def log_results(self) -> None:
        """What the run leaves in its folder, as artefacts: see ``results.log_results``."""
        try:
            log_results(self.log_of_run, self.folder)
        except Exception:  # a picture must not hide how the run ended
            logger.warning("could not log what %s holds", self.folder, exc_info=True)

    def flush(self) -> bool:
        """Wait for all to arrive; whether it has."""
        return self.sender.flush(self.flush_seconds)

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run: ``FINISHED``, ``FAILED`` or ``KILLED``. Never hides how it ended."""
        self.log_of_run.status(status)
        has_arrived = self.sender.close(self.flush_seconds)
        self.log_of_run.spool.close()
        if not has_arrived:
            logger.warning(
                "MLflow at %s has not taken everything; send the rest later with "
                "`rllib-agentmixer sync %s`",
                without_password(self.uri),
                self.folder,
            )


def sync_folder(folder: Path, tracking_uri: str | None = None) -> int:
    """Send what an earlier process could not.

    Args:
        folder: of a run.
        tracking_uri: where the store is now; None for where it was.

    Returns:
        Number of records that were sent.

    Raises:
        ConfigError: the store does not answer, or another process sends this run.
    """
    identity = known_identity(folder, tracking_uri)
    if identity is None:
        raise ConfigError(f"{folder} holds no run that was logged to MLflow; name a run's folder")
    lock = SendingLock(folder)
    if not lock.acquire():
        raise ConfigError(f"{folder} is being sent by a run that is going on; wait for its end")
    try:
        client = answering_store(identity.tracking_uri, MOST_SECONDS_TO_OPEN)
        identity.write(folder)
        run = RemoteRun(folder, client)
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
