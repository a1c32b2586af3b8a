"""Folders of a Ray Tune search in which its MLflow runs keep what they know."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rllib_agentmixer.tracking.identity import RUN_FILE
from rllib_agentmixer.tracking.spool import SENT_FILE, SPOOL_FILE

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

logger = logging.getLogger(__name__)


def is_local(trial: Trial) -> bool:
    return getattr(trial.storage.storage_filesystem, "type_name", "") == "local"


def experiment_folder(trial: Trial) -> Path:
    storage = trial.storage
    if is_local(trial):
        return Path(storage.experiment_fs_path)
    return Path(storage.experiment_driver_staging_path)


def trial_folder(trial: Trial) -> Path:
    """The trial's own folder: in the storage where that is a disk, else what Tune uploads."""
    storage = trial.storage
    folder = Path(storage.trial_fs_path if is_local(trial) else storage.trial_driver_staging_path)
    folder.mkdir(parents=True, exist_ok=True)
    if not is_local(trial) and not (folder / RUN_FILE).exists():
        _fetch(trial, folder)
    return folder


def _fetch(trial: Trial, folder: Path) -> None:
    """Bring what an earlier session uploaded: a restored search starts in an empty folder."""
    storage = trial.storage
    for name in (SPOOL_FILE, SENT_FILE, RUN_FILE):
        try:
            with storage.storage_filesystem.open_input_stream(
                f"{storage.trial_fs_path}/{name}"
            ) as file:
                (folder / name).write_bytes(file.read())
        except OSError:
            logger.debug("%s has no %s yet", trial, name)
