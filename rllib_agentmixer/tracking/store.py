"""Stores of MLflow: their addresses, opening them, and telling outages from errors."""

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
"""How long the first contact with a store may take."""

CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's own retries block a call for minutes; the sender tries again by itself. What is
printed belongs to the command, which may be asked for JSON."""

Result = TypeVar("Result")


class StoreUnavailableError(Exception):
    """The store did not answer; it may answer later."""


def default_tracking_uri(run_folder: Path) -> str:
    """MLFLOW_TRACKING_URI, else a sqlite file beside all runs: ``<parent>/mlflow.db``."""
    found = os.environ.get("MLFLOW_TRACKING_URI")
    return found or f"sqlite:///{run_folder.absolute().parent / 'mlflow.db'}"


def open_store(uri: str) -> MlflowClient:
    """The store's client; the first use of a store creates its tables, which takes a second."""
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # Each table that is created would be a line on the terminal.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def answering_store(uri: str, seconds: float = MOST_SECONDS_TO_OPEN) -> MlflowClient:
    """The client of a store that has answered a first question.

    Raises:
        ConfigError: the address can never work: malformed, of an unknown kind, not allowed.
        StoreUnavailableError: nothing answered in that time.
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
    """Refuse to begin with a store that does not answer.

    Raises:
        ConfigError: names the address and what to do.
    """
    try:
        answering_store(uri)
    except StoreUnavailableError as error:
        raise ConfigError(cannot_open(uri, str(error))) from error


def cannot_open(uri: str, reason: str) -> str:
    """The message for a store that a run cannot start with."""
    return (
        f"cannot open the MLflow store {without_password(uri)}: {reason}; set "
        "MLFLOW_TRACKING_URI or --tracking-uri, train with --tracking-optional to send later, "
        "or with --no-mlflow"
    )


def is_outage(error: BaseException) -> bool:
    """Whether the store may answer later: no connection, no time left, overloaded, locked."""
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
        words = str(error)
        return "OperationalError" in words or (
            "API request to" in words and _status_of(words) not in range(400, 500)
        )
    return type(error).__name__ == "OperationalError"


def _status_of(words: str) -> int:
    found = re.search(r"error code (\d{3})", words)
    # MLflow wraps a host name that cannot be one like a host that is away.
    is_malformed = re.search(r"InvalidURL|InvalidSchema|MissingSchema|LocationParseError", words)
    return 400 if is_malformed else int(found.group(1)) if found else 0


def reason_of(error: BaseException) -> str:
    """An error's first line, short enough for a terminal."""
    words = without_password(str(error).strip() or repr(error)).splitlines()[0]
    if "(Caused by " in words:  # of urllib3's nest of errors, the innermost
        words = words.rpartition("(Caused by ")[2].rpartition(": ")[2].strip("\"')")
    return words if len(words) <= 300 else words[:297] + "..."


def without_password(text: str) -> str:
    """A text whose addresses do not show names and passwords."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def _check_sqlite(uri: str) -> None:
    """SQLAlchemy tries for minutes to open a file that cannot be opened; sqlite knows at once."""
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
        raise ConfigError(cannot_open(uri, "the file cannot be written"))


def _within(seconds: float, work: Callable[[], Result]) -> Result:
    """What the work returns or raises; StoreUnavailableError when it takes longer."""
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
        raise StoreUnavailableError(f"no answer within {seconds:.0f} s")
    result, error = found[0]
    if error is not None:
        raise error
    return result


@contextmanager
def opening_store(run_folder: Path, tracking_uri: str | None = None) -> Iterator[None]:
    """Import MLflow and open the store in a thread while the body waits for something else.

    Errors are left to the tracker, which meets them again.
    """

    def work() -> None:
        with suppress(Exception):
            uri = tracking_uri or default_tracking_uri(run_folder)
            _check_sqlite(uri)
            open_store(uri)

    # MLflow tries for an hour to open what cannot be opened; nobody waits for that here.
    thread = Thread(target=work, name="mlflow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(timeout=MOST_SECONDS_TO_OPEN)
