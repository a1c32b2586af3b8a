"""Progress file ``progress.jsonl``: one JSON line per training iteration."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from rllib_agentmixer.utils.files import write_atomically

logger = logging.getLogger(__name__)

PROGRESS = "progress.jsonl"


class ProgressFile:
    """Writer of ``<run folder>/progress.jsonl`` that loses no rows when the disk is full.

    Rows that cannot be written are buffered in memory and retried with every further row.

    Args:
        run_folder: folder of the run.
        rows: rows of the run so far, to which the file is truncated.

    Raises:
        OSError: the folder is not writable.
    """

    def __init__(self, run_folder: Path, rows: list[dict[str, Any]]) -> None:
        self.path = run_folder / PROGRESS
        write_atomically(self.path, "".join(_line(row) for row in rows))
        self._end = self.path.stat().st_size
        self._waiting: list[str] = []

    def append(self, row: dict[str, Any]) -> bool:
        """Write a row and all buffered ones; False if they could not be written."""
        self._waiting.append(_line(row))
        data = "".join(self._waiting).encode()
        try:
            with self.path.open("r+b") as file:
                file.truncate(self._end)  # partial line of a failed write
                file.seek(self._end)
                file.write(data)
        except OSError as error:
            if len(self._waiting) == 1:
                logger.warning(
                    "cannot write rows to %s (%s); they are buffered in memory", self.path, error
                )
            return False
        if len(self._waiting) > 1:
            logger.warning(
                "%s is writable again: %d rows were written", self.path, len(self._waiting)
            )
        self._end += len(data)
        self._waiting.clear()
        return True


def read_progress(run_folder: Path) -> list[dict[str, Any]]:
    """Rows of a run; a last line truncated by a crash is dropped."""
    path = run_folder / PROGRESS
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, default=str) + "\n"
