"""Timing, medians, and the conditions of a measurement: versions, threads, other load."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

Choice = TypeVar("Choice")

Work = Callable[[], int]
"""A timed workload; returns its number of steps."""

PACKAGES = ("rllib_agentmixer", "ray", "torch", "numpy", "pettingzoo")
MICROSECONDS = 1e6


@dataclass(frozen=True)
class Effort:
    """Extent of a measurement.

    Attributes:
        is_quick: few and short rounds: noisier numbers in a fraction of the time.
    """

    is_quick: bool

    def pick(self, quick: Choice, full: Choice) -> Choice:
        """The value for this effort."""
        return quick if self.is_quick else full

    @property
    def rounds(self) -> int:
        """Rounds of which the median is reported."""
        return self.pick(2, 5)


def interleaved(
    works: Mapping[str, Work], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Median microseconds per step of several workloads, after one warm-up of each.

    Rounds of the workloads are interleaved, so that a temporary slowdown of the machine affects
    all of them, and their ratios are preserved.

    Args:
        works: by name.
        rounds: rounds of each workload, of which the median is reported.
        clock: seconds; CPU time of this process by default.
    """
    for work in works.values():
        work()
    costs: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = clock()
            steps = work()
            costs[name].append((clock() - started) / steps * MICROSECONDS)
    return {name: statistics.median(found) for name, found in costs.items()}


def cpu_us_per_step(work: Work, rounds: int) -> float:
    """Median over rounds of CPU microseconds per step, after a warm-up."""
    return interleaved({"work": work}, rounds)["work"]


def power_of_growth(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Exponent e of the best fit cost ~ size^e: slope of log cost against log size."""
    logs = [[math.log(value) for value in values] for values in (sizes, costs)]
    return statistics.linear_regression(*logs).slope


def wall_seconds(arguments: Sequence[str], rounds: int) -> float:
    """Median wall seconds of a fresh Python with these arguments, after a warm-up.

    Raises:
        subprocess.CalledProcessError: the process failed.
    """
    taken = []
    for _ in range(1 + rounds):
        started = time.perf_counter()
        run_python(arguments)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def run_python(arguments: Sequence[str], timeout_s: float = 600.0) -> str:
    """Standard output of a fresh Python with these arguments.

    Raises:
        subprocess.CalledProcessError: the process failed.
    """
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout_s,
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        done.check_returncode()
    return done.stdout


def versions() -> dict[str, str]:
    """Versions of the packages involved."""
    return {package: metadata.version(package) for package in PACKAGES}


def machine() -> dict[str, Any]:
    """Conditions common to all numbers of a run."""
    return {"cores": os.cpu_count(), "torch_threads": 1}


def load_average() -> float:
    """Load average of the last minute."""
    return os.getloadavg()[0]


def busy_cores(seconds: float = 1.0) -> float:
    """Cores used by other processes, measured while this one sleeps (Linux)."""
    before = _cpu_ticks()
    time.sleep(seconds)
    after = _cpu_ticks()
    total = after.total - before.total
    busy = 1 - (after.idle - before.idle) / total if total else 0.0
    return busy * (os.cpu_count() or 1)


@dataclass(frozen=True)
class _Ticks:
    """CPU ticks of all cores since boot."""

    idle: float
    total: float


def _cpu_ticks() -> _Ticks:
    line = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
    ticks = [float(word) for word in line.split()[1:]]
    return _Ticks(idle=ticks[3] + ticks[4], total=sum(ticks[:8]))


def free_gigabytes() -> float:
    """Memory available to new processes, in GB (Linux)."""
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable") / 1e6


def resident_megabytes() -> float:
    """Current resident memory of this process, in MB (Linux)."""
    return _kilobytes(Path("/proc/self/status"), "VmRSS") / 1e3


def peak_resident_megabytes() -> float:
    """Largest resident memory of this process so far, in MB (Linux).

    Not ``ru_maxrss``: it starts at the value of the parent at the fork.
    """
    return _kilobytes(Path("/proc/self/status"), "VmHWM") / 1e3


def _kilobytes(path: Path, name: str) -> float:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return float(line.split()[1]) * 1.024  # the kernel's kB are KiB
    raise OSError(f"{path} has no {name}; memory is measured on Linux only")
