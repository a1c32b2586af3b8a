"""What training writes down for MLflow."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from rllib_agentmixer.tracking.spool import Record, Spool

logger = logging.getLogger(__name__)


class RunLog:
    """Writes a run's records into its folder; whoever sends them is somebody else.

    Steps that a resumed run trains again are not written again: training is repeatable, and
    what was written first stays.
    """

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder)
        self.last_step = self.spool.last_step()
        self._waiting: list[Record] = []

    def parameters(self, settings: dict[str, Any]) -> None:
        """Every setting as a parameter, and the whole as an artefact."""
        values = {name: str(value) for name, value in sorted(settings.items())}
        self._write("parameters", values=values)
        content = json.loads(json.dumps(settings, default=str))
        self._write("json", file="config.json", content=content)

    def tags(self, tags: dict[str, str]) -> None:
        """Words about the run; a later value replaces an earlier one."""
        self._write("tags", values={name: str(value) for name, value in tags.items()})

    def metrics(self, values: dict[str, float], env_steps: int) -> None:
        """The numbers of one iteration, if its step is a new one."""
        if env_steps > self.last_step:
            self.last_step = env_steps
            self._write("metrics", step=env_steps, values=values)

    def artifact(self, path: Path) -> None:
        """A file or folder, read when it is sent."""
        self._write("artifact", path=str(path.absolute()))

    def json_file(self, name: str, content: Any) -> None:
        """Some content as an artefact."""
        self._write("json", file=name, content=content)

    def status(self, status: str) -> None:
        """``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._write("status", status=status)

    def _write(self, kind: str, **content: Any) -> None:
        """Write a record and those that wait; while the disk takes none they stay in memory."""
        self._waiting.append({"kind": kind, "time": int(time.time() * 1000), **content})
        num_waiting = len(self._waiting)
        try:
            while self._waiting:
                self.spool.append(self._waiting[0])
                del self._waiting[0]
        except OSError as error:
            if num_waiting == 1:
                logger.warning("%s cannot be written (%s); records wait", self.spool.path, error)
