"""Spool of a run's MLflow records on disk, in order, with the position sent so far.

``mlflow_spool.jsonl`` contains one record per line. Training only appends to it. The sender
reads from the saved position, so that memory does not grow while the server is unavailable.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from rllib_agentmixer.utils.locks import FileLock

logger = logging.getLogger(__name__)

SPOOL_FILE = "mlflow_spool.jsonl"
SENT_FILE = "mlflow_sent.json"
LOCK_FILE = ".mlflow_sending"

Record = dict[str, Any]
"""``kind`` (``metrics``, ``parameters``, ``tags``, ``json``, ``artifact``, ``status``), ``time``
in milliseconds, and the fields of the kind."""


@dataclass(frozen=True)
class Entry:
    """Record with the byte offset of the next one."""

    record: Record
    end: int


class Spool:
    """Spool of the run in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / SPOOL_FILE
        self._file: FileIO | None = None

    def append(self, record: Record) -> None:
        """Append a record; it survives a kill of the process once this returns.

        Raises:
            OSError: the disk is full or gone; no part of the record was written.
        """
        if self._file is None:
            self._truncate_partial_line()
            self._file = self.path.open("ab", buffering=0)
        line = json.dumps(record, default=str).encode() + b"\n"
        before = self.size
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, "no space left for a complete line", str(self.path))
        except OSError:
            # Otherwise the next record would continue a partial line.
            with suppress(OSError):
                os.truncate(self._file.fileno(), before)
            raise

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """Complete records from a byte offset; a truncated last line is ignored."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(start)
            while (line := file.readline()).endswith(b"\n"):
                try:
                    record = json.loads(line)
                except ValueError:
                    if line.strip():
                        logger.warning("%s has a damaged line, which is skipped", self.path)
                    continue
                yield Entry(record, file.tell())

    def last_step(self) -> int:
        """Highest environment step in the spool; -1 if there is none."""
        steps = (e.record["step"] for e in self.entries() if e.record["kind"] == "metrics")
        return max(steps, default=-1)

    @property
    def sent(self) -> int:
        """Number of bytes sent; 0 if unknown."""
        try:
            return min(int(json.loads((self.folder / SENT_FILE).read_text())["bytes"]), self.size)
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def remember_sent(self, offset: int) -> None:
        """Save that everything before a byte offset was sent."""
        temporary = self.folder / f"{SENT_FILE}.new"
        temporary.write_text(json.dumps({"bytes": offset}))
        os.replace(temporary, self.folder / SENT_FILE)

    @property
    def size(self) -> int:
        """Size of the spool in bytes."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def has_unsent(self) -> bool:
        """True if a complete record has not been sent yet."""
        return next(self.entries(self.sent), None) is not None

    def close(self) -> None:
        """Close the file; a later append reopens it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _complete_bytes(self) -> int:
        """Number of bytes up to the end of the last complete line."""
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

    def _truncate_partial_line(self) -> None:
        """Remove a partial last line, so that the next record does not continue it."""
        if self.path.is_file():
            complete = self._complete_bytes()
            if complete < self.size:
                os.truncate(self.path, complete)


def sending_lock(folder: Path) -> FileLock:
    """Lock of the process that sends a folder's records."""
    return FileLock(folder / LOCK_FILE)
