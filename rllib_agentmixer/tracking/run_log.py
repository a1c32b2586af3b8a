"""Log of a run: records that training appends to its spool."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from rllib_agentmixer.tracking.spool import Record, Spool

logger = logging.getLogger(__name__)


class RunLog:
    """Writer of a run's records to its folder; a :class:`~.sender.Sender` sends them.

    Steps that a resumed run repeats are not written again: training is reproducible, and the
    first records are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder)
        self.last_step = self.spool.last_step()
        self._waiting: list[Record] = []

    def parameters(self, settings: dict[str, Any]) -> None:
        """Log every setting as a parameter, and all of them as an artifact."""
        values = {name: str(value) for name, value in sorted(settings.items())}
        self._write("parameters", values=values)
        content = json.loads(json.dumps(settings, default=str))
        self._write("json", file="config.json", content=content)

    def tags(self, tags: dict[str, str]) -> None:
        """Set tags of the run; later values replace earlier ones."""
        self._write("tags", values={name: str(value) for name, value in tags.items()})

    def metrics(self, values: dict[str, float], env_steps: int) -> None:
        """Log the metrics of an iteration, unless its step was logged before."""
        if env_steps > self.last_step:
            self.last_step = env_steps
            self._write("metrics", step=env_steps, values=values)

    def artifact(self, path: Path) -> None:
        """Log a file or folder, read when it is sent."""
        self._write("artifact", path=str(path.absolute()))

    def json_file(self, name: str, content: Any) -> None:
        """Log JSON content as an artifact."""
        self._write("json", file=name, content=content)

    def status(self, status: str) -> None:
        """Set the status: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._write("status", status=status)

    def _write(self, kind: str, **content: Any) -> None:
        """Write a record and all buffered ones; they stay in memory while the disk is full."""
        self._waiting.append({"kind": kind, "time": int(time.time() * 1000), **content})
        num_waiting = len(self._waiting)
        try:
            while self._waiting:
                self.spool.append(self._waiting[0])
                del self._waiting[0]
        except OSError as error:
            if num_waiting == 1:
                logger.warning(
                    "%s cannot be written (%s); records are buffered", self.spool.path, error
                )
