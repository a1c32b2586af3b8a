"""Profile of one training iteration from the command line, by owner of the time.

    python -m benchmarks.speed.startup_probe FOLDER

The last line of output is JSON: seconds by owner, and ``total`` since the process was started.
See the docstring of ``startup`` for the rule.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

INTERVAL_S = 0.005
OURS = "ours"
OWNERS = (
    ("rllib_agentmixer", OURS),
    ("ray.rllib", "RLlib"),
    ("ray.tune", "RLlib"),
    ("ray", "Ray"),
    ("mlflow", "MLflow"),
    ("alembic", "MLflow"),
    ("sqlalchemy", "MLflow"),
)
"""Package -> owner of its time; the first match counts."""

IMPORTS = "imports"
UNATTRIBUTED = "the rest"
INTERPRETER = "starting Python"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def owner_of(frame: FrameType | None) -> str:
    """Owner of the current frame, searched from the innermost frame outwards.

    Module bodies of this package count as its own work; anything that the body of another
    module runs is part of that import.
    """
    found = None
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return IMPORTS
        owner = _owner_of_module(frame.f_globals.get("__name__", ""))
        if owner == OURS:
            return found or OURS
        found = found or owner
        frame = frame.f_back
    return found or UNATTRIBUTED


def _owner_of_module(module: str) -> str | None:
    for package, owner in OWNERS:
        if module == package or module.startswith(f"{package}."):
            return owner
    return None


class Watcher(threading.Thread):
    """Attributes the main thread's time to owners until a file has a first line.

    Args:
        file: whose first line ends the measurement.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(daemon=True)
        self.file = file
        self.seconds: dict[str, float] = defaultdict(float)
        self.seconds[OURS] = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        main, last = threading.main_thread().ident, time.perf_counter()
        while not self._is_over():
            time.sleep(INTERVAL_S)
            owner = owner_of(sys._current_frames().get(main or 0))
            now = time.perf_counter()
            self.seconds[owner] += now - last
            last = now
        self.ended.set()

    def _is_over(self) -> bool:
        try:
            return self.file.stat().st_size > 0
        except OSError:
            return False


def seconds_since_start() -> float:
    """Wall time since this process was started (Linux; resolution 10 ms)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    up_s = float(Path("/proc/uptime").read_text().split()[0])
    return up_s - float(fields[19]) / CLOCK_TICKS


def main(folder: Path) -> None:
    """Train and print the times."""
    before = seconds_since_start()
    watcher = Watcher(folder / "run" / "progress.jsonl")
    watcher.start()
    from rllib_agentmixer.cli import main as command_line

    store = f"sqlite:///{folder / 'mlflow.db'}"
    words = ["train", "predator_prey", "--algo", "agentmixer", "--steps", "1", "--json"]
    command_line([*words, "--out", str(folder / "run"), "--tracking-uri", store])
    watcher.ended.wait(timeout=1)
    seconds = {INTERPRETER: before, **watcher.seconds}
    print(json.dumps({"total": sum(seconds.values()), **seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
