"""Signals that ask a run to end: Ctrl-C, a scheduler's SIGTERM, a closed terminal's SIGHUP."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handled(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Let a function handle the signals that ask a run to end; only for the main thread.

    A signal that the process ignores, as SIGHUP under ``nohup``, stays ignored.
    """
    numbers = [n for n in END_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect signals instead of dying, so that a run ends with a checkpoint."""
    received: list[int] = []
    with handled(lambda number, _: received.append(number)):
        yield received


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Exit with status 128 + number on a signal, cleaning up; the default kills at once.

    Used while Ray starts, whose processes are stopped on exit only. Ray replaces the handler of
    SIGTERM by one that exits with the signal's bare number.
    """

    def leave(number: int, _: Any) -> None:
        sys.exit(128 + number)

    with handled(leave):
        try:
            yield
        except SystemExit as exiting:
            if isinstance(exiting.code, int) and exiting.code in END_SIGNALS:
                sys.exit(128 + exiting.code)
            raise
