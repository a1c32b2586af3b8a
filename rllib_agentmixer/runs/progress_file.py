"""``progress.jsonl``: one line of numbers per training iteration, whole lines only."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from rllib_agentmixer.utils.files import write_atomically

logger = logging.getLogger(__name__)

PROGRESS = "progress.jsonl"


class ProgressFile:
    """Appends rows to ``<run folder>/progress.jsonl``; a full disk loses none of them.

    Rows that cannot be written wait in memory, and every further row tries again.

    Args:
        run_folder: folder of the run.
        rows: of the run's earlier part, which the file is cut back to.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, run_folder: Path, rows: list[dict[str, Any]]) -> None:
        self.path = run_folder / PROGRESS
        write_atomically(self.path, "".join(_line(row) for row in rows))
        self._end = self.path.stat().st_size
        self._waiting: list[str] = []

    def append(self, row: dict[str, Any]) -> bool:
        """Write a row and those that wait; False while the disk does not take them."""
        self._waiting.append(_line(row))
        data = "".join(self._waiting).encode()
        try:
            with self.path.open("r+b") as file:
                file.truncate(self._end)  # what an earlier attempt left half-written
                file.seek(self._end)
                file.write(data)
        except OSError as error:
            if len(self._waiting) == 1:
                logger.warning("%s takes no rows (%s); they wait in memory", self.path, error)
            return False
        if len(self._waiting) > 1:
            logger.warning("%s takes rows again: %d were written", self.path, len(self._waiting))
        self._end += len(data)
        self._waiting.clear()
        return True


def read_progress(run_folder: Path) -> list[dict[str, Any]]:
    """Rows of a run; a last line cut short by a crash is dropped."""
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
