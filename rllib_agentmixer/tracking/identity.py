"""Identity of a folder's MLflow run."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rllib_agentmixer.tracking.store import default_tracking_uri
from rllib_agentmixer.utils.files import write_atomically
from rllib_agentmixer.utils.untrusted import read_json

RUN_FILE = "mlflow_run.json"
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class RunIdentity:
    """Identity of a folder's MLflow run, saved in ``mlflow_run.json``.

    Attributes:
        tracking_uri: MLflow tracking URI.
        experiment: MLflow experiment.
        name: name in the MLflow UI.
        key: random key, tagged on the run, to find a run whose id was lost.
        start_time: milliseconds since 1970.
        run_id: MLflow id; None before the run is created.
        parent: folder of the parent run; None for a flat run.
    """

    tracking_uri: str
    experiment: str
    name: str
    key: str
    start_time: int
    run_id: str | None = None
    parent: str | None = None

    @classmethod
    def fresh(
        cls, tracking_uri: str, experiment: str, name: str, parent: Path | None = None
    ) -> RunIdentity:
        """Identity of a new run."""
        above = None if parent is None else str(parent)
        now = int(time.time() * 1000)
        return cls(
            absolute_uri(tracking_uri), experiment, name, secrets.token_hex(16), now, parent=above
        )

    @classmethod
    def read(cls, folder: Path) -> RunIdentity | None:
        """Identity of the run in a folder; None if there is none."""
        try:
            known = read_json(folder / RUN_FILE)
            blank = {"experiment": "", "name": folder.name, "key": "", "start_time": 0}
            return cls(**blank | known)
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Save it in the folder, atomically."""
        write_atomically(folder / RUN_FILE, json.dumps(asdict(self)))


def absolute_uri(uri: str) -> str:
    """The tracking URI, a SQLite file's with an absolute path.

    The next process may start in another folder.
    """
    path = uri.removeprefix(SQLITE)
    if path == uri or not path or path.startswith(("/", ":memory:")):
        return uri
    return f"{SQLITE}{Path(path).absolute()}"


def known_identity(folder: Path, tracking_uri: str | None) -> RunIdentity | None:
    """Identity of a folder's run, at the given tracking URI or else its own."""
    identity = RunIdentity.read(folder)
    if identity is None:
        return None
    uri = absolute_uri(tracking_uri) if tracking_uri else identity.tracking_uri
    place = uri.removeprefix(SQLITE)
    if tracking_uri is None and place != uri and not Path(place).exists():
        uri = default_tracking_uri(folder)  # the folder was moved together with its store
    return replace(identity, tracking_uri=uri)
