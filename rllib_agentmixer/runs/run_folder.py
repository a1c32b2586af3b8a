"""Folder of a run: it belongs to one training at a time, and holds nobody else's files."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rllib_agentmixer.errors import CheckpointError, ConfigError
from rllib_agentmixer.runs.checkpoints import FOLDER, RunCheckpoints
from rllib_agentmixer.runs.progress_file import PROGRESS
from rllib_agentmixer.utils.locks import FileLock

logger = logging.getLogger(__name__)

LOCK = "run.lock"
"""File that marks a run's folder; it names the process that trains there, if any."""

CONFIG = "config.json"
WRITTEN = (CONFIG, PROGRESS, FOLDER)
"""Names in a run's folder that training writes or tidies."""


@contextmanager
def claimed(folder: Path, *, resume: bool) -> Iterator[None]:
    """Hold a run's folder against other trainings, on this and on other machines.

    The lock is the system's and ends with the process; what is left of the owner's note is that
    of a process that was killed.

    Args:
        folder: of the run; created if it does not exist.
        resume: the run in it goes on.

    Raises:
        ConfigError: another training is under way in it, it holds files of something else that
            would be overwritten, or it cannot be written.
        CheckpointError: it holds a run, and ``resume`` is not given.
    """
    lock = FileLock(folder / LOCK)
    try:
        is_ours, existed = lock.path.exists(), folder.exists()
        if not resume:
            _check_is_free(folder, is_ours)
        folder.mkdir(parents=True, exist_ok=True)
        if not lock.acquire():
            raise ConfigError(
                f"another training is under way in {folder} ({_owner(lock.path)}); name another "
                "--out, or wait until it ends"
            )
        owner = _owner(lock.path)
        if owner:
            logger.warning("%s is taken over from a process that was killed (%s)", folder, owner)
        _note(lock.path, {"pid": os.getpid(), "host": platform.node(), "since": time.ctime()})
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error}; choose another --out") from error
    try:
        yield
    finally:
        with suppress(FileNotFoundError):  # the folder may have been removed meanwhile
            if any((folder / name).exists() for name in WRITTEN):
                _note(lock.path, None)
            else:  # nothing was written, so the folder is not marked as a run's
                lock.path.unlink()
        lock.release()
        if not existed:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _check_is_free(folder: Path, is_ours: bool) -> None:
    if RunCheckpoints(folder).all:
        raise CheckpointError(
            f"{folder} holds a finished or interrupted run; add --resume to continue it, or "
            "name another --out"
        )
    found = [name for name in WRITTEN if (folder / name).exists()]
    if found and not is_ours:
        raise ConfigError(
            f"{folder} holds {', '.join(found)} of something else, which training would "
            "overwrite; name another --out, or move them away"
        )


def _note(path: Path, owner: dict[str, object] | None) -> None:
    path.write_text(json.dumps(owner) if owner else "", encoding="utf-8")


def _owner(path: Path) -> str:
    """Process named in a lock file; empty if there is none."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""
