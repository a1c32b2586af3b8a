"""Processes of this machine, known by pid and start or by their environment; never by name."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import psutil

HOST = "127.0.0.1"


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def is_running(pid: int, started: float) -> bool:
    """Whether a process is alive and still the one that started then."""
    try:
        process = psutil.Process(pid)
        return process.create_time() == started and process.status() != "zombie"
    except psutil.NoSuchProcess:
        return False


def with_environment(wanted: dict[str, str]) -> Iterator[psutil.Process]:
    """Processes of this user whose environment holds these values."""
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):  # of another user, or gone
            continue
        if wanted.items() <= environment.items():
            yield process


def send(process: psutil.Process, method: str) -> None:
    """``terminate`` or ``kill`` a process, unless it has just ended."""
    with suppress(psutil.NoSuchProcess):
        getattr(process, method)()


def of_session(leader: int, started: float) -> Iterator[psutil.Process]:
    """Processes without a readable environment in the session of a leader that started then.

    A process that writes its title over its environment, as Ray's workers and agents do, is
    known by its session alone. A leader that has ended is no longer asked for its start: no
    other process gets its pid as long as one of its session is left.
    """
    if psutil.pid_exists(leader) and psutil.Process(leader).create_time() != started:
        return
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == leader and "PATH" not in process.environ():
                yield process
