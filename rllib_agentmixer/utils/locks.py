"""Locks on files, which the system releases when their process dies."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO


class FileLock:
    """Exclusive lock on a file, held by one process at a time on any machine that shares it.

    Args:
        path: of the file, which is created; its content stays the holder's to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Try to acquire the lock; False while another process holds it."""
        if self._file is not None:
            return True
        file = self.path.open("a+", encoding="utf-8")
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
        """Release the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None
