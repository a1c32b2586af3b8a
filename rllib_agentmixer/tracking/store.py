"""MLflow stores: tracking URIs, clients, and the distinction of outages from errors."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from rllib_agentmixer.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOST_SECONDS_TO_OPEN = 30.0
"""Timeout of the first request to a store."""

CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's retries block a call for minutes; the sender retries by itself. Standard output is
reserved for the command, which may print JSON."""

Result = TypeVar("Result")


class StoreUnavailableError(Exception):
    """The store is unavailable, possibly temporarily."""


def default_tracking_uri(run_folder: Path) -> str:
    """MLFLOW_TRACKING_URI, else a SQLite file beside all runs: ``<parent>/mlflow.db``."""
    found = os.environ.get("MLFLOW_TRACKING_URI")
    return found or f"sqlite:///{run_folder.absolute().parent / 'mlflow.db'}"


def open_store(uri: str) -> MlflowClient:
    """Client of a store; first use creates the tables of a database, which takes a second."""
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # Otherwise MLflow logs a line for each table that it creates.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def answering_store(uri: str, seconds: float = MOST_SECONDS_TO_OPEN) -> MlflowClient:
    """Client of a store that answered a first request.

    Raises:
        ConfigError: invalid tracking URI: malformed, unknown scheme, or no permission.
        StoreUnavailableError: no response within the timeout.
    """
    _check_sqlite(uri)

    def ask() -> MlflowClient:
        client = open_store(uri)
        client.search_experiments(max_results=1)
        return client

    try:
        return _within(seconds, ask)
    except Exception as error:
        if is_outage(error):
            raise StoreUnavailableError(reason_of(error)) from error
        raise ConfigError(cannot_open(uri, reason_of(error))) from error


def check_answers(uri: str) -> None:
    """Check that a store is available.

    Raises:
        ConfigError: the store is unavailable or its URI is invalid.
    """
    try:
        answering_store(uri)
    except StoreUnavailableError as error:
        raise ConfigError(cannot_open(uri, str(error))) from error


def cannot_open(uri: str, reason: str) -> str:
    """Error message for a store that cannot be opened."""
    return (
        f"cannot open the MLflow store {without_password(uri)}: {reason}; set "
        "MLFLOW_TRACKING_URI or --tracking-uri, train with --tracking-optional to send later, "
        "or with --no-mlflow"
    )


def is_outage(error: BaseException) -> bool:
    """True for errors that may be temporary: no connection, timeout, overload, locked."""
    from mlflow.exceptions import MlflowException, RestException
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import Timeout

    if isinstance(
        error, (StoreUnavailableError, NoConnection, Timeout, TimeoutError, ConnectionError)
    ):
        return True
    if isinstance(error, RestException):
        return error.get_http_status_code() >= 500
    if isinstance(error, MlflowException):
        message = str(error)
        return "OperationalError" in message or (
            "API request to" in message and _status_of(message) not in range(400, 500)
        )
    return type(error).__name__ == "OperationalError"


def _status_of(message: str) -> int:
    found = re.search(r"error code (\d{3})", message)
    # MLflow reports a malformed host name like an unavailable host.
    is_malformed = re.search(r"InvalidURL|InvalidSchema|MissingSchema|LocationParseError", message)
    return 400 if is_malformed else int(found.group(1)) if found else 0


def reason_of(error: BaseException) -> str:
    """First line of an error, shortened."""
    line = without_password(str(error).strip() or repr(error)).splitlines()[0]
    if "(Caused by " in line:  # the innermost of urllib3's nested errors
        line = line.rpartition("(Caused by ")[2].rpartition(": ")[2].strip("\"')")
    return line if len(line) <= 300 else line[:297] + "..."


def without_password(text: str) -> str:
    """Text with user names and passwords in URLs masked."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def _check_sqlite(uri: str) -> None:
    """Check that a SQLite file can be opened, which SQLAlchemy would retry for minutes."""
    if not uri.startswith("sqlite:///"):
        return
    path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=5)) as database:
            database.execute("PRAGMA schema_version")
            is_writable = os.access(path, os.W_OK)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(cannot_open(uri, reason_of(error))) from error
    if not is_writable:
        raise ConfigError(cannot_open(uri, "the file is not writable"))


def _within(seconds: float, work: Callable[[], Result]) -> Result:
    """Run a function in a thread, with StoreUnavailableError after a timeout."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append((work(), None))
        except BaseException as error:  # handed to the caller
            found.append((None, error))

    thread = Thread(target=run, name="mlflow-open", daemon=True)
    thread.start()
    thread.join(seconds)
    if not found:
        raise StoreUnavailableError(f"no response within {seconds:.0f} s")
    result, error = found[0]
    if error is not None:
        raise error
    return result


@contextmanager
def opening_store(run_folder: Path, tracking_uri: str | None = None) -> Iterator[None]:
    """Import MLflow and open the store in a thread while the body waits for something else.

    Errors are ignored here and reported by the tracker.
    """

    def work() -> None:
        with suppress(Exception):
            uri = tracking_uri or default_tracking_uri(run_folder)
            _check_sqlite(uri)
            open_store(uri)

    # MLflow retries for an hour; the thread is not waited for that long.
    thread = Thread(target=work, name="mlflow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(timeout=MOST_SECONDS_TO_OPEN)
