"""One run as MLflow holds it: created once, and told every record once and in order.

What makes "once" true when a process dies between MLflow's answer and the note on disk that
it came: a run carries a key that was on disk before it was created, and before metrics whose
fate is unknown are sent again, the run's own history is asked whether it holds them. All other
records can be sent twice without a trace.
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
"""MLflow takes no more in one request."""
MOST_PARAMETERS = 100
MOST_TAG_LENGTH = 5000
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")
"""Answers that will not change when the same is sent again."""
MOST_TRIES = 3


class RemoteRun:
    """Brings the records of a folder to its MLflow run.

    Args:
        folder: holds the spool and the run's identity.
        client: MLflow's client of the run's store.
    """

    def __init__(self, folder: Path, client: MlflowClient) -> None:
        identity = RunIdentity.read(folder)
        if identity is None:
            raise ValueError(f"{folder} holds no {RUN_FILE}")
        self.folder = folder
        self.client = client
        self.identity: RunIdentity = identity
        self.spool = Spool(folder)
        self._sent = self.spool.sent
        # A process before this one may have died while MLflow answered.
        self._is_in_doubt = True
        self._num_tries = 0
        self.num_sent = 0

    @property
    def run_id(self) -> str:
        """MLflow's id of the run, which is created at the first call.

        Raises:
            Exception: MLflow's own, when it is not there or refuses.
        """
        if self.identity.run_id is None:
            found = self._find_by_key() or self._create()
            self.identity = replace(self.identity, run_id=found)
            self.identity.write(self.folder)
        return str(self.identity.run_id)

    def check(self) -> None:
        """Create the run, or make sure that its store knows it.

        Raises:
            ConfigError: the store has no such run, or refuses to create one.
            StoreUnavailableError: the store stopped to answer.
        """
        try:
            self.client.get_run(self.run_id)
        except Exception as error:
            if is_outage(error):
                raise StoreUnavailableError(reason_of(error)) from error
            what = cannot_open(self.identity.tracking_uri, reason_of(error))
            raise ConfigError(what) from error

    def send(self) -> bool:
        """Send the next records, in one request where they are metrics.

        Returns:
            Whether there was anything to send.

        Raises:
            Exception: MLflow's own, when it is not there; the same records come next time.
        """
        entries = self._next_entries()
        if not entries:
            return False
        try:
            self._deliver(entries)
        except Exception as error:
            self._is_in_doubt = True
            if not self._is_refused(entries[0].record, error):
                raise
            what = entries[0].record["kind"]
            logger.warning("MLflow refused %s, left out: %s", what, reason_of(error))
        self._remember(entries[-1].end)
        self.num_sent += len(entries)
        return True

    def _next_entries(self) -> list[Entry]:
        """One record, or as many of metrics as fit into a request."""
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
            records = records[self._num_held(run_id, records) :]
        metrics = [metric for record in records for metric in metrics_in(record)]
        for start in range(0, len(metrics), MOST_METRICS):
            self.client.log_batch(run_id, metrics=metrics[start : start + MOST_METRICS])
        # Where all was held, what follows may be held as well.
        self._is_in_doubt = self._is_in_doubt and not metrics

    def _num_held(self, run_id: str, records: list[Record]) -> int:
        """How many of the records arrived before: those up to the last that the run holds."""
        points: dict[str, set[tuple[int, int]]] = {}
        for place in reversed(range(len(records))):
            if not records[place]["values"]:
                continue
            # A request is stored as a whole, so its last metric speaks for all of them.
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
        """MLflow refuses to change a parameter: a resumed run keeps the first value."""
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
            logger.warning("%s is gone; the MLflow run goes without it", path)

    def _is_refused(self, record: Record, error: Exception) -> bool:
        """Whether sending the same again is in vain, so that it must not block what follows."""
        if getattr(error, "error_code", "") in REFUSALS:
            return True
        if record["kind"] == "metrics" or is_outage(error):
            return False
        # Artefacts have a store of their own, which may fail while MLflow answers.
        self._num_tries += 1
        return self._num_tries >= MOST_TRIES

    def _remember(self, place: int) -> None:
        self._sent = place
        self._num_tries = 0
        self.spool.remember_sent(place)

    def _find_by_key(self) -> str | None:
        """The run that an earlier attempt created without living to note its id."""
        known = self.client.get_experiment_by_name(self.identity.experiment)
        if known is None or known.lifecycle_stage != "active":
            return None
        query = f"tags.`{KEY_TAG}` = '{self.identity.key}'"
        runs = self.client.search_runs([known.experiment_id], query, max_results=1)
        return runs[0].info.run_id if runs else None

    def _create(self) -> str:
        tags: dict[str, Any] = {KEY_TAG: self.identity.key}
        if self.identity.parent is not None:
            parent = RunIdentity.read(Path(self.identity.parent))
            if parent is None or parent.run_id is None:
                raise StoreUnavailableError("the parent run is not there yet")
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
        """Beside the database, where that is a file; a server has its own place."""
        uri = self.identity.tracking_uri
        if not uri.startswith("sqlite:///"):
            return None
        database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
        return (database.absolute().parent / "mlartifacts").as_uri()


def metrics_in(record: Record) -> list[Any]:
    """A record of metrics in MLflow's form."""
    from mlflow.entities import Metric

    return [
        Metric(clean_key(name), value, record["time"], record["step"])
        for name, value in record["values"].items()
    ]
