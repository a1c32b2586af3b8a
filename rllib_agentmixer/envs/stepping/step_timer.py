"""Time limit for code that may hang: raises TimeoutError in that code."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)


class StepTimer:
    """Limits each part of a ``with`` block; :meth:`restart` starts the next part.

    Uses the operating system's alarm, which costs a microsecond and works in a process's main
    thread alone; elsewhere nothing is limited. Code that never returns to Python, such as an
    infinite loop in C, is not interrupted: there RLlib's ``sample_timeout_s`` for remote
    workers is the limit.

    Args:
        seconds: of each part; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._previous: Any = None
        self._is_armed = False

    def __enter__(self) -> StepTimer:
        is_main = threading.current_thread() is threading.main_thread()
        self._is_armed = self.seconds is not None and is_main
        if self._is_armed:
            self._previous = signal.signal(signal.SIGALRM, self._expired)
            self.restart()
        return self

    def restart(self) -> None:
        """Start the next part."""
        if self._is_armed and self.seconds is not None:
            # It repeats, in case the first alarm is caught by the code that it should interrupt.
            signal.setitimer(signal.ITIMER_REAL, self.seconds, self.seconds)

    def __exit__(self, *_: object) -> None:
        if self._is_armed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._previous)
            self._is_armed = False

    def _expired(self, _number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"no response within {self.seconds:g} s (step_time_limit_s)")
