"""What a run has to say to MLflow, on disk and in order, and how much of it has arrived.

``mlflow_spool.jsonl`` holds one record per line. Training only appends to it. Whoever sends
reads from the remembered place on, so that memory does not grow while nobody answers.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any

logger = logging.getLogger(__name__)

SPOOL_FILE = "mlflow_spool.jsonl"
SENT_FILE = "mlflow_sent.json"
LOCK_FILE = ".mlflow_sending"

Record = dict[str, Any]
"""``kind`` (``metrics``, ``parameters``, ``tags``, ``json``, ``artifact``, ``status``), ``time``
in milliseconds, and what belongs to the kind."""


@dataclass(frozen=True)
class Entry:
    """A record and where the next one begins, in bytes."""

    record: Record
    end: int


class Spool:
    """The records of the run in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / SPOOL_FILE
        self._file: FileIO | None = None

    def append(self, record: Record) -> None:
        """Write a record down. What survives a kill of the process is what returned from here.

        Raises:
            OSError: the disk is full, or gone; nothing of the record was written.
        """
        if self._file is None:
            self._cut_torn_end()
            self._file = self.path.open("ab", buffering=0)
        line = json.dumps(record, default=str).encode() + b"\n"
        before = self.size
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, "no space left for a whole line", str(self.path))
        except OSError:
            # Otherwise the next record would continue a torn line.
            with suppress(OSError):
                os.truncate(self._file.fileno(), before)
            raise

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """Whole records from a place on; a last line that was cut short is not one yet."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(start)
            while (line := file.readline()).endswith(b"\n"):
                try:
                    record = json.loads(line)
                except ValueError:
                    if line.strip():
                        logger.warning("%s has a damaged line, which is left out", self.path)
                    continue
                yield Entry(record, file.tell())

    def last_step(self) -> int:
        """The highest environment step that was ever written down; -1 for none."""
        steps = (e.record["step"] for e in self.entries() if e.record["kind"] == "metrics")
        return max(steps, default=-1)

    @property
    def sent(self) -> int:
        """Bytes that have arrived; 0 where nobody knows."""
        try:
            return min(int(json.loads((self.folder / SENT_FILE).read_text())["bytes"]), self.size)
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def remember_sent(self, place: int) -> None:
        """Note that everything before a place has arrived."""
        temporary = self.folder / f"{SENT_FILE}.new"
        temporary.write_text(json.dumps({"bytes": place}))
        os.replace(temporary, self.folder / SENT_FILE)

    @property
    def size(self) -> int:
        """Bytes that were written."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def has_unsent(self) -> bool:
        """Whether a whole record has not arrived yet."""
        return next(self.entries(self.sent), None) is not None

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _whole_bytes(self) -> int:
        """Bytes up to the end of the last whole line."""
        place = self.size
        with self.path.open("rb") as file:
            while place > 0:
                start = max(0, place - 65536)
                file.seek(start)
                found = file.read(place - start).rfind(b"\n")
                if found >= 0:
                    return start + found + 1
                place = start
        return 0

    def _cut_torn_end(self) -> None:
        """Remove a line that a kill cut short, so that the next one does not continue it."""
        if self.path.is_file():
            whole = self._whole_bytes()
            if whole < self.size:
                os.truncate(self.path, whole)


class SendingLock:
    """Held by the one process that sends a folder's records; a kill of it lets go."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Whether this process sends now; False while another does."""
        if self._file is not None:
            return True
        file = self.path.open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError:  # a file system without locks
            pass
        self._file = file
        return True

    def release(self) -> None:
        """Let others send."""
        if self._file is not None:
            self._file.close()
            self._file = None
