"""Delivery of a run's records to MLflow, exactly once and in order.

A process may die between MLflow's response and saving the position on disk. Therefore a run is
tagged with a key that was saved before the run was created, and before metrics are resent
whose delivery is unknown, the run's history is queried for them. All other records are
idempotent.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.tracking.identity import RUN_FILE, RunIdentity
from rllib_agentmixer.tracking.metrics import clean_key
from rllib_agentmixer.tracking.spool import Entry, Record, Spool
from rllib_agentmixer.tracking.store import StoreUnavailableError, cannot_open, is_outage, reason_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

KEY_TAG = "agentmixer.run_key"
PARENT_TAG = "mlflow.parentRunId"
MAX_PARAMETER_LENGTH = 500
MOST_METRICS = 1000
"""MLflow's limit per request."""
MOST_PARAMETERS = 100
MOST_TAG_LENGTH = 5000
PERMANENT_ERRORS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")
"""Error codes of permanent failures, which are not retried."""
MOST_TRIES = 3


class RemoteRun:
    """MLflow run that the records of a folder are sent to.

    Args:
        folder: folder with the spool and the run's identity.
        client: MLflow client of the run's tracking URI.
        identity: of the run; None for the one in the folder.
    """

    def __init__(
        self, folder: Path, client: MlflowClient, identity: RunIdentity | None = None
    ) -> None:
        identity = identity or RunIdentity.read(folder)
        if identity is None:
            raise ValueError(f"{folder} has no {RUN_FILE}")
        self.folder = folder
        self.client = client
        self.identity: RunIdentity = identity
        self.spool = Spool(folder)
        self._sent = self.spool.sent
        # An earlier process may have died before it saved its position.
        self._is_in_doubt = True
        self._num_tries = 0
        self.num_sent = 0

    @property
    def run_id(self) -> str:
        """MLflow id of the run, which is created on first access.

        Raises:
            Exception: MLflow's exception if it is unavailable or rejects the run.
        """
        if self.identity.run_id is None:
            found = self._find_by_key() or self._create()
            self.identity = replace(self.identity, run_id=found)
            self.identity.write(self.folder)
        return str(self.identity.run_id)

    def check(self) -> None:
        """Create the run, or check that it exists.

        Raises:
            ConfigError: the run does not exist or cannot be created.
            StoreUnavailableError: the server became unavailable.
        """
        try:
            self.client.get_run(self.run_id)
        except Exception as error:
            if is_outage(error):
                raise StoreUnavailableError(reason_of(error)) from error
            message = cannot_open(self.identity.tracking_uri, reason_of(error))
            raise ConfigError(message) from error

    def send(self) -> bool:
        """Send the next record, or a batch of metrics in one request.

        Returns:
            False if there was nothing to send.

        Raises:
            Exception: MLflow's exception if it is unavailable; the records are sent again.
        """
        entries = self._next_entries()
        if not entries:
            return False
        try:
            self._deliver(entries)
        except Exception as error:
            self._is_in_doubt = True
            if not self._is_permanent(entries[0].record, error):
                raise
            kind = entries[0].record["kind"]
            logger.warning("MLflow rejected %s, skipped: %s", kind, reason_of(error))
        self._save_position(entries[-1].end)
        self.num_sent += len(entries)
        return True

    def _next_entries(self) -> list[Entry]:
        """Next record, or as many metrics records as fit into a request."""
        chosen: list[Entry] = []
        room = MOST_METRICS
        for entry in self.spool.entries(self._sent):
            if entry.record["kind"] != "metrics":
                return chosen or [entry]
            room -= len(entry.record["values"])
            if chosen and room < 0:
                break
            chosen.append(entry)
        return chosen

    def _deliver(self, entries: list[Entry]) -> None:
        run_id = self.run_id
        if entries[0].record["kind"] != "metrics":
            self._deliver_other(run_id, entries[0].record)
            return
        records = [entry.record for entry in entries]
        if self._is_in_doubt:
            records = records[self._num_delivered(run_id, records) :]
        metrics = [metric for record in records for metric in metrics_in(record)]
        for start in range(0, len(metrics), MOST_METRICS):
            self.client.log_batch(run_id, metrics=metrics[start : start + MOST_METRICS])
        # If all were delivered before, later ones may be as well.
        self._is_in_doubt = self._is_in_doubt and not metrics

    def _num_delivered(self, run_id: str, records: list[Record]) -> int:
        """Number of leading records that were delivered before, by the run's metric history."""
        points: dict[str, set[tuple[int, int]]] = {}
        for place in reversed(range(len(records))):
            if not records[place]["values"]:
                continue
            # Requests are atomic: if the last metric was stored, all were.
            last = metrics_in(records[place])[-1]
            if last.key not in points:
                history = self.client.get_metric_history(run_id, last.key)
                points[last.key] = {(point.step, point.timestamp) for point in history}
            if (last.step, last.timestamp) in points[last.key]:
                return place + 1
        return 0

    def _deliver_other(self, run_id: str, record: Record) -> None:
        from mlflow.entities import RunTag

        kind = record["kind"]
        if kind == "parameters":
            self._log_parameters(run_id, record["values"])
        elif kind == "tags":
            tags = [RunTag(clean_key(k), v[:MOST_TAG_LENGTH]) for k, v in record["values"].items()]
            for start in range(0, len(tags), MOST_PARAMETERS):
                self.client.log_batch(run_id, tags=tags[start : start + MOST_PARAMETERS])
        elif kind == "json":
            self.client.log_dict(run_id, record["content"], record["file"])
        elif kind == "artifact":
            self._log_artifact(run_id, Path(record["path"]))
        elif record["status"] == "RUNNING":
            self.client.update_run(run_id, status="RUNNING")
        else:
            self.client.set_terminated(run_id, record["status"], end_time=record["time"])

    def _log_parameters(self, run_id: str, values: dict[str, str]) -> None:
        """Log new parameters; MLflow parameters are immutable, so a resumed run keeps the first."""
        from mlflow.entities import Param

        known = self.client.get_run(run_id).data.params
        parameters = [
            Param(clean_key(name), value[:MAX_PARAMETER_LENGTH])
            for name, value in values.items()
            if clean_key(name) not in known
        ]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self.client.log_batch(run_id, params=parameters[start : start + MOST_PARAMETERS])

    def _log_artifact(self, run_id: str, path: Path) -> None:
        if path.is_dir():
            self.client.log_artifacts(run_id, str(path), path.name)
        elif path.is_file():
            self.client.log_artifact(run_id, str(path))
        else:
            logger.warning("%s no longer exists; it is not logged to MLflow", path)

    def _is_permanent(self, record: Record, error: Exception) -> bool:
        """True if a retry is futile, so that the record must not block later ones."""
        if getattr(error, "error_code", "") in PERMANENT_ERRORS:
            return True
        if record["kind"] == "metrics" or is_outage(error):
            return False
        # The artifact store may fail while the tracking server is available.
        self._num_tries += 1
        return self._num_tries >= MOST_TRIES

    def _save_position(self, place: int) -> None:
        self._sent = place
        self._num_tries = 0
        self.spool.remember_sent(place)

    def _find_by_key(self) -> str | None:
        """Id of the run if an earlier process created it but died before saving the id."""
        known = self.client.get_experiment_by_name(self.identity.experiment)
        if known is None or known.lifecycle_stage != "active":
            return None
        query = f"tags.`{KEY_TAG}` = '{self.identity.key}'"
        runs = self.client.search_runs([known.experiment_id], query, max_results=1)
        return runs[0].info.run_id if runs else None

    def _create(self) -> str:
        tags: dict[str, Any] = {**origin_tags(), KEY_TAG: self.identity.key}
        if self.identity.parent is not None:
            parent = RunIdentity.read(Path(self.identity.parent))
            if parent is None or parent.run_id is None:
                raise StoreUnavailableError("the parent run does not exist yet")
            tags[PARENT_TAG] = parent.run_id
        run = self.client.create_run(
            self._experiment_id(), self.identity.start_time, tags, self.identity.name
        )
        return run.info.run_id

    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        name = self.identity.experiment
        known = self.client.get_experiment_by_name(name)
        if known is not None:
            return known.experiment_id
        try:
            return self.client.create_experiment(name, artifact_location=self._artifact_location())
        except MlflowException:  # another process was faster
            known = self.client.get_experiment_by_name(name)
            if known is None:
                raise
            return known.experiment_id

    def _artifact_location(self) -> str | None:
        """Folder beside a SQLite database; None for a server, which has its own location."""
        uri = self.identity.tracking_uri
        if not uri.startswith("sqlite:///"):
            return None
        database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
        return (database.absolute().parent / "mlartifacts").as_uri()


def begin(folder: Path, client: MlflowClient, identity: RunIdentity) -> RemoteRun:
    """The folder's run, which exists afterwards; its identity is written once it is known.

    An identity without an id is written first: its key finds a run whose id was lost. One
    with an id was found before, and an address that does not lead there is not noted.

    Raises:
        ConfigError: the run does not exist or cannot be created.
        StoreUnavailableError: the server became unavailable.
    """
    if identity.run_id is None:
        identity.write(folder)
    run = RemoteRun(folder, client, identity)
    run.check()
    run.identity.write(folder)
    return run


def origin_tags() -> dict[str, str]:
    """User and program, as MLflow's own API tags them ("Created by" and "Source")."""
    from mlflow.tracking.context.registry import resolve_tags

    return {name: str(value) for name, value in resolve_tags().items() if value}


def metrics_in(record: Record) -> list[Any]:
    """Metrics of a record as MLflow entities."""
    from mlflow.entities import Metric

    return [
        Metric(clean_key(name), value, record["time"], record["step"])
        for name, value in record["values"].items()
    ]
