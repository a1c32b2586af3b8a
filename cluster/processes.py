"""Processes on this machine, identified by pid and start time or environment, not by name."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import psutil

HOST = "127.0.0.1"


def free_port() -> int:
    """Free port on the loopback address."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def is_running(pid: int, started: float) -> bool:
    """True if a process is alive and has the given start time."""
    try:
        process = psutil.Process(pid)
        return process.create_time() == started and process.status() != "zombie"
    except psutil.NoSuchProcess:
        return False


def with_environment(wanted: dict[str, str]) -> Iterator[psutil.Process]:
    """Processes of this user whose environment contains these values."""
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):  # of another user, or terminated
            continue
        if wanted.items() <= environment.items():
            yield process


def send(process: psutil.Process, method: str) -> None:
    """Call ``terminate`` or ``kill`` on a process, unless it has just ended."""
    with suppress(psutil.NoSuchProcess):
        getattr(process, method)()


def of_session(leader: int, started: float) -> Iterator[psutil.Process]:
    """Processes without a readable environment in the session of a leader.

    Processes that overwrite their environment with a title, as Ray's workers and agents do, are
    identified by their session. The start time of a leader that has ended is not checked: its
    pid is not reused while a process of its session is left.
    """
    if psutil.pid_exists(leader) and psutil.Process(leader).create_time() != started:
        return
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == leader and "PATH" not in process.environ():
                yield process
