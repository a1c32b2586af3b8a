"""Start-up time and the driver's memory, in fresh processes; wall time.

* ``imports``: ``import rllib_agentmixer`` and ``rllib-agentmixer --help``; neither may load
  Ray or PyTorch, which is checked.
* ``first_iteration``: from the start of ``rllib-agentmixer train predator_prey`` to the end of
  the first training iteration, with the command's own defaults and a fresh MLflow store. The
  time is attributed by a thread that samples the main thread's stack every 5 milliseconds and
  assigns the time since its last sample to one owner: the innermost frame of this package,
  Ray, RLlib or MLflow; during other imports, to ``imports``. Their calls of PyTorch, NumPy or
  the standard library thus count as their own, and the training iteration counts as this
  package's.
* ``memory``: peak resident memory of the driver in ``rllib-agentmixer demo``, and of imports
  alone, each in a separate process. Resident memory counts pages of
  libraries and of Ray's object store that are shared with other processes.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.speed.case import Case
from benchmarks.speed.measure import Effort, run_python, wall_seconds
from benchmarks.speed.rows import Goal, Row

MOST_IMPORT_S = 0.2
MOST_HELP_S = 0.5
MOST_FIRST_ITERATION_S = 15.0
MOST_OURS_S = 3.0
MOST_DRIVER_MB = 900.0

ONLY_LIGHT = "assert not {'ray', 'torch'} & set(sys.modules), 'loads ray or torch'"
HELP_PROGRAM = f"""
import sys
from rllib_agentmixer.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
{ONLY_LIGHT}
"""
LIGHT_IMPORT = f"import sys, rllib_agentmixer; {ONLY_LIGHT}"

IMPORTS = {
    "nothing": "",
    "numpy": "import numpy",
    "torch": "import torch",
    "ray": "import ray",
    "RLlib's PPO": "import ray.rllib.algorithms.ppo",
    "mlflow": "import mlflow",
    "this package with all of them": (
        "import rllib_agentmixer.cli, rllib_agentmixer.runs.training, mlflow; "
        "rllib_agentmixer.AgentMixerConfig"
    ),
}
"""Imported packages -> program."""

MEASURE_PEAK = (
    "\nfrom benchmarks.speed.measure import peak_resident_megabytes"
    "\nprint(peak_resident_megabytes())"
)


def import_rows(effort: Effort) -> Iterator[Row]:
    """Rows of the seconds until the package is imported, and until the help is printed."""
    rounds = effort.pick(3, 9)
    programs = {
        "python alone": (["-c", "pass"], None),
        "import rllib_agentmixer": (["-c", "import rllib_agentmixer"], MOST_IMPORT_S),
        "rllib-agentmixer --help": (["-m", "rllib_agentmixer", "--help"], MOST_HELP_S),
    }
    run_python(["-c", LIGHT_IMPORT])
    run_python(["-c", HELP_PROGRAM])
    for what, (arguments, most) in programs.items():
        yield Row(
            labels={"what": what},
            value=wall_seconds(arguments, rounds),
            unit="s, wall",
            goal=None if most is None else Goal(most=most),
            note="" if most is None else "loads neither ray nor torch",
        )


def first_iteration_rows(effort: Effort) -> Iterator[Row]:
    """Seconds until the first iteration has ended, by owner."""
    runs = []
    # The first run warms the disk cache.
    for _ in range(effort.pick(1, 4)):
        with tempfile.TemporaryDirectory() as folder:
            output = run_python(["-m", "benchmarks.speed.startup_probe", folder])
        runs.append(json.loads(output.splitlines()[-1]))
    counted = runs[1:] or runs
    medians = {name: statistics.median(run[name] for run in counted) for name in counted[0]}
    yield _first_iteration_row(
        "to the end of the first iteration", medians.pop("total"), MOST_FIRST_ITERATION_S
    )
    yield _first_iteration_row("of which this package", medians.pop("ours"), MOST_OURS_S)
    for owner, seconds in medians.items():
        yield _first_iteration_row(f"of which {owner}", seconds, None)


def _first_iteration_row(what: str, seconds: float, most: float | None) -> Row:
    return Row(
        labels={"what": f"rllib-agentmixer train predator_prey: {what}"},
        value=seconds,
        unit="s, wall",
        goal=None if most is None else Goal(most=most),
        settings={"algo": "agentmixer", "num_workers": 0, "batch": 6400, "epochs": 15},
    )


def memory_rows(effort: Effort) -> Iterator[Row]:
    """Rows of the driver's memory in the demonstration, then of imports alone."""
    with tempfile.TemporaryDirectory() as folder:
        minutes = str(effort.pick(0.05, 0.3))
        arguments = ["-m", "benchmarks.speed.memory_probe", str(Path(folder) / "demo"), minutes]
        found: dict[str, Any] = json.loads(run_python(arguments).splitlines()[-1])
    yield Row(
        labels={"what": "driver of the demonstration, peak"},
        value=found["peak"],
        unit="MB resident",
        goal=Goal(most=MOST_DRIVER_MB),
        details={f"at the end of {name}": value for name, value in found["stages"].items()},
        settings={"num_workers": 2, "num_envs": 32, "batch": 6400, "minutes": float(minutes)},
    )
    for what, program in IMPORTS.items():
        output = run_python(["-c", program + MEASURE_PEAK])
        yield Row(
            labels={"what": f"after importing {what}"},
            value=float(output.splitlines()[-1]),
            unit="MB resident",
        )


CASE = Case(
    name="startup",
    title="Start-up and memory",
    explanation=__doc__ or "",
    parts={
        "imports": import_rows,
        "first_iteration": first_iteration_rows,
        "memory": memory_rows,
    },
)
