"""Folders of a Ray Tune search that contain the state of its MLflow runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rllib_agentmixer.tracking.identity import RUN_FILE
from rllib_agentmixer.tracking.spool import SENT_FILE, SPOOL_FILE

Trial = Any
"""``ray.tune.experiment.Trial``; only its storage is read."""

logger = logging.getLogger(__name__)


def experiment_folder(trial: Trial) -> Path:
    """Folder of the search: in a local storage, else the staging folder that Tune uploads."""
    storage: Any = trial.storage
    if _is_local(storage):
        return Path(storage.experiment_fs_path)
    return Path(storage.experiment_driver_staging_path)


def trial_folder(trial: Trial) -> Path:
    """Folder of the trial, with the files of earlier sessions."""
    storage: Any = trial.storage
    is_local = _is_local(storage)
    folder = Path(storage.trial_fs_path if is_local else storage.trial_driver_staging_path)
    folder.mkdir(parents=True, exist_ok=True)
    if not is_local and not (folder / RUN_FILE).exists():
        _fetch(storage, folder)
    return folder


def _is_local(storage: Any) -> bool:
    return getattr(storage.storage_filesystem, "type_name", "") == "local"


def _fetch(storage: Any, folder: Path) -> None:
    """Download the files of an earlier session: a restored search starts in an empty folder."""
    for name in (SPOOL_FILE, SENT_FILE, RUN_FILE):
        place = f"{storage.trial_fs_path}/{name}"
        try:
            with storage.storage_filesystem.open_input_stream(place) as file:
                (folder / name).write_bytes(file.read())
        except OSError:
            logger.debug("%s does not exist yet", place)
