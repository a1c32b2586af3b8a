"""Background thread that sends records to MLflow during training."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Condition, Thread
from typing import TYPE_CHECKING

from rllib_agentmixer.tracking.remote_run import RemoteRun
from rllib_agentmixer.tracking.spool import Spool, sending_lock
from rllib_agentmixer.tracking.store import reason_of
from rllib_agentmixer.utils.locks import FileLock

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

SEND_EVERY_S = 5.0
"""Interval between requests; batching several iterations reduces their cost."""
LONGEST_PAUSE_S = 30.0


class Sender:
    """Sender of the spools of one or more runs, in a single thread.

    Args:
        connect: returns the client; raises while the server is unavailable.
        send_every: polling interval of the spools, in seconds.
    """

    def __init__(
        self, connect: Callable[[], MlflowClient], send_every: float = SEND_EVERY_S
    ) -> None:
        self._connect = connect
        self._send_every = send_every
        self._client: MlflowClient | None = None
        self._folders: dict[Path, RemoteRun | None] = {}
        self._locks: dict[Path, FileLock] = {}
        self._changed = Condition()
        self._is_closing = False
        self._is_hurried = False
        self._num_failures = 0
        self._thread: Thread | None = None
        self.thread_seconds = 0.0

    def add(self, folder: Path) -> None:
        """Send the present and future records of a folder's spool."""
        with self._changed:
            self._folders.setdefault(folder, None)
            self._locks.setdefault(folder, sending_lock(folder))
            if self._thread is None:
                self._thread = Thread(target=self._run, name="mlflow-sender", daemon=True)
                self._thread.start()

    def flush(self, seconds: float) -> bool:
        """Wait until all records are sent, with a timeout.

        Returns:
            False after a timeout.
        """
        end = time.monotonic() + seconds
        while self._has_unsent():
            if time.monotonic() >= end:
                return False
            with self._changed:
                self._is_hurried = True
                self._changed.notify_all()
                self._changed.wait(0.05)
        return True

    def close(self, seconds: float) -> bool:
        """Flush, then stop the thread; unsent records stay in the spools.

        Returns:
            True if all records were sent.
        """
        has_arrived = self.flush(seconds)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            # A thread that is blocked in a request ends with the process.
            self._thread.join(timeout=1.0)
        return has_arrived

    def _has_unsent(self) -> bool:
        with self._changed:
            folders = list(self._folders)
        return any(Spool(folder).has_unsent for folder in folders)

    def _run(self) -> None:
        try:
            while not self._is_closing:
                self._send_all()
                self.thread_seconds = time.thread_time()
                self._pause()
        finally:
            for lock in self._locks.values():
                lock.release()

    def _send_all(self) -> None:
        """Send all spooled records; stop at the first failure."""
        try:
            with self._changed:
                folders = list(self._folders)
            for folder in folders:
                if self._locks[folder].acquire():
                    run = self._run_of(folder)
                    while not self._is_closing and run.send():
                        pass
            if self._num_failures:
                logger.warning("MLflow is available again; all records were sent")
            self._num_failures = 0
        except Exception as error:  # whatever the server does, training must continue
            if self._num_failures == 0:
                logger.warning(
                    "MLflow is unavailable (%s); metrics wait in the run's folder",
                    reason_of(error),
                )
            self._num_failures += 1

    def _run_of(self, folder: Path) -> RemoteRun:
        if self._client is None:
            self._client = self._connect()
        run = self._folders[folder]
        if run is None:
            run = self._folders[folder] = RemoteRun(folder, self._client)
        return run

    def _pause(self) -> None:
        pause = self._send_every
        if self._num_failures:
            pause = min(pause * 2.0 ** (self._num_failures - 1), LONGEST_PAUSE_S)
        with self._changed:
            if self._is_hurried:
                # A caller is waiting: poll soon, but not in a busy loop.
                pause = min(pause, 0.5) if self._num_failures else 0.01
            self._is_hurried = False
            if not self._is_closing:
                self._changed.wait(pause)
