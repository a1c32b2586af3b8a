"""What it takes to repeat a failure: seed and joint actions of one episode, in a small file."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rllib_agentmixer.errors import ConfigError

FOLDER = "rllib_agentmixer_failures"


@dataclass(frozen=True)
class Recording:
    """One episode up to its failure.

    Attributes:
        environment: its name.
        seed: of the episode's reset.
        actions: joint actions as the team sent them, the last of which failed.
        error: what was raised.
    """

    environment: str
    seed: int | None
    actions: list[Any]
    error: str

    def save(self) -> Path | None:
        """Write to the system's temporary folder; None where that cannot be done.

        A failure must not hide behind a second one, so nothing is raised here.
        """
        name = re.sub(r"\W+", "_", self.environment)
        actions = [np.asarray(joint).tolist() for joint in self.actions]
        try:
            folder = Path(tempfile.gettempdir()) / FOLDER
            folder.mkdir(exist_ok=True)
            path = folder / f"{name}-seed-{self.seed}-step-{len(actions)}.json"
            path.write_text(json.dumps(vars(self) | {"actions": actions}), encoding="utf-8")
        except (OSError, TypeError, ValueError):
            return None
        return path

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read a recording.

        Raises:
            ConfigError: not there, or not one.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{path} is no recording of a failure: {error}") from error
