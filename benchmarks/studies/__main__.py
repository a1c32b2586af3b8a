"""Command line: python -m benchmarks.studies NAME."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.studies import report, results
from benchmarks.studies.cells import Cell, choose
from benchmarks.studies.registry import STUDIES
from benchmarks.studies.results import Result
from rllib_agentmixer.errors import AgentMixerError, ConfigError
from rllib_agentmixer.runs.local_ray import keep_ray_private
from rllib_agentmixer.utils.suggest import unknown_name

OUT = Path("docs/results")


def main(arguments: list[str] | None = None) -> int:
    """Run missing cells and seeds, then write the report."""
    chosen = _parser().parse_args(arguments)
    if chosen.list or chosen.name is None:
        list_studies()
        return 0
    try:
        return run_study(chosen)
    except KeyboardInterrupt:
        print("interrupted; run the same command to continue", file=sys.stderr)
        return 130
    except AgentMixerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_study(chosen: argparse.Namespace) -> int:
    """Run and report the study; exit code 1 if a run failed."""
    if chosen.name not in STUDIES:
        raise ConfigError(unknown_name("study", chosen.name, STUDIES))
    study = STUDIES[chosen.name]
    cells = study.make_cells()
    if chosen.steps is not None:
        cells = [replace(cell, steps=chosen.steps) for cell in cells]
    num_seeds = chosen.seeds or study.num_seeds
    lines = chosen.out / f"{study.name}.jsonl"
    num_failed = 0
    if not chosen.report_only:
        num_failed = run_missing(choose(cells, chosen.only), num_seeds, chosen.jobs, lines)
    command = f"python -m benchmarks.studies {study.name} --seeds {num_seeds}"
    command += f" --steps {chosen.steps}" if chosen.steps else ""
    page = report.write(study, cells, results.read(lines), chosen.out, command)
    print(f"wrote {page}")
    return 1 if num_failed else 0


def run_missing(cells: Sequence[Cell], num_seeds: int, num_jobs: int, lines: Path) -> int:
    """Run the cells and seeds without a successful line; returns the number of failures."""
    from benchmarks.studies.runner import run_tasks
    from benchmarks.studies.task import Task

    done = results.finished(results.read(lines))
    # Seed by seed, so that an interrupted study covers all cells on fewer seeds.
    tasks = [
        Task(cell, seed)
        for seed in range(num_seeds)
        for cell in cells
        if (cell.key, seed) not in done
    ]
    print(f"{len(tasks)} runs to do, {len(cells) * num_seeds - len(tasks)} done before", flush=True)
    progress = Progress(len(tasks), lines)
    run_tasks(tasks, num_jobs, progress.record)
    return progress.num_failed


class Progress:
    """Appends results to a file and prints the progress.

    Args:
        total: runs to do.
        lines: file to which results are appended.
    """

    def __init__(self, total: int, lines: Path) -> None:
        self.total, self.lines = total, lines
        self.num_done = self.num_failed = 0
        self.started = time.monotonic()

    def record(self, result: Result) -> None:
        """Append the result and print a line."""
        results.append(self.lines, result)
        self.num_done += 1
        self.num_failed += result.error is not None
        left = (time.monotonic() - self.started) * (self.total / self.num_done - 1) / 60
        name = " ".join(result.cell["labels"].values())
        print(
            f"[{self.num_done}/{self.total}] {name}, seed {result.seed}: {outcome(result)} "
            f"in {result.seconds:.1f} s; {left:.0f} min left",
            flush=True,
        )


def outcome(result: Result) -> str:
    """Short description of a result."""
    if result.returns is None:
        return f"FAILED ({result.error})"
    return f"individual {result.returns.individual:.2f}, joint {result.returns.joint:.2f}"


def list_studies() -> None:
    """Print names, sizes and questions."""
    for study in STUDIES.values():
        size = f"{len(study.make_cells())} cells, {study.num_seeds} seeds"
        print(f"{study.name} ({size})\n    {study.question}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies", description="Run a learning study and report it."
    )
    parser.add_argument("name", nargs="?", help="name of the study; see --list")
    parser.add_argument("--seeds", type=_positive, help="runs per cell; default: the study's")
    parser.add_argument(
        "--jobs", type=_positive, default=1, help="number of processes, each with its own Ray"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        default=[],
        metavar="LABEL=VALUE",
        help="run only these cells; values of one label are alternatives",
    )
    parser.add_argument("--steps", type=_positive, help="environment steps per run")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of results; default {OUT}")
    parser.add_argument("--list", action="store_true", help="list all studies")
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    keep_ray_private()
    sys.exit(main())
