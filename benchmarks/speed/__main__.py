"""Command line: python -m benchmarks.speed [CASE ...]."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from benchmarks.speed import report, rows
from benchmarks.speed.case import Case
from benchmarks.speed.measure import Effort, busy_cores, load_average, machine, versions
from benchmarks.speed.registry import CASES
from benchmarks.speed.rows import Row
from rllib_agentmixer.errors import AgentMixerError, ConfigError
from rllib_agentmixer.runs.local_ray import keep_ray_private
from rllib_agentmixer.utils.suggest import unknown_name

FULL_RESULTS = Path("docs/results/speed.json")
QUICK_RESULTS = Path("runs/speed/results/speed.json")
PLACES = [(case.name, part) for case in CASES.values() for part in case.parts]
"""All cases, in the order of the report."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and store rows, and write the report."""
    chosen = _parser().parse_args(arguments)
    if chosen.list:
        list_cases()
        return 0
    try:
        return measure_and_report(chosen)
    except KeyboardInterrupt:
        print("interrupted; finished parts are kept", file=sys.stderr)
        return 130
    except AgentMixerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def measure_and_report(chosen: argparse.Namespace) -> int:
    """Run the selected cases and write the page; returns 1 if one failed."""
    cases = chosen_cases(chosen.cases)
    file = chosen.json or (QUICK_RESULTS if chosen.quick else FULL_RESULTS)
    num_failed = 0
    if not chosen.report_only:
        num_failed = run_parts(chosen_parts(cases, chosen.only), Effort(chosen.quick), file)
    known = rows.read(file)
    if not known:
        raise ConfigError(f"{file} contains no rows; measure some before the report")
    command = "python -m benchmarks.speed" + (" --quick" if chosen.quick else "")
    print(f"wrote {report.write(CASES, known, file, command)}")
    return 1 if num_failed else 0


def chosen_cases(names: Sequence[str]) -> list[Case]:
    """Cases by name; all of them if no name is given.

    Raises:
        ConfigError: unknown case.
    """
    for name in names:
        if name not in CASES:
            raise ConfigError(unknown_name("case", name, CASES))
    return [CASES[name] for name in names or CASES]


def chosen_parts(cases: Sequence[Case], only: Sequence[str]) -> list[tuple[Case, str]]:
    """Parts of the cases; all of them if no name is given.

    Raises:
        ConfigError: unknown part.
    """
    known = list(dict.fromkeys(part for case in cases for part in case.parts))
    for name in only:
        if name not in known:
            raise ConfigError(unknown_name("part", name, known))
    return [(case, part) for case in cases for part in case.parts if not only or part in only]


def run_parts(parts: Sequence[tuple[Case, str]], effort: Effort, file: Path) -> int:
    """Measure the parts, each stored as soon as it is done; returns the number of failures."""
    num_failed, started = 0, time.monotonic()
    known = rows.read(file)
    print(f"load average {load_average():.1f}, cores used by others: {busy_cores():.1f}")
    for case, part in parts:
        print(f"\n{case.name} {part}", flush=True)
        try:
            known = rows.merged(known, list(measured(case, part, effort)), PLACES)
        except Exception:
            traceback.print_exc()
            num_failed += 1
            continue
        rows.write(file, known)
    print(f"\n{time.monotonic() - started:.0f} s, {num_failed} of {len(parts)} parts failed")
    return num_failed


def measured(case: Case, part: str, effort: Effort) -> Iterator[Row]:
    """Rows of one part, printed as soon as they are measured."""
    for found in case.parts[part](effort):
        row = replace(
            found,
            case=case.name,
            part=part,
            settings={**found.settings, **machine()},
            versions=versions(),
            is_quick=effort.is_quick,
        )
        print(line_of(row), flush=True)
        yield row


def line_of(row: Row) -> str:
    """Row as one line of text."""
    line = f"  {row.name:<64} {report.shown(row.value):>9} {row.unit:<18}"
    if row.goal is not None:
        line += f" goal {row.goal}: {'met' if row.is_met else 'NOT MET'}"
    details = ", ".join(f"{name} {report.shown(value)}" for name, value in row.details.items())
    return " ".join([line, f"({details})" if details else "", row.note]).rstrip()


def list_cases() -> None:
    """Print names, titles and parts."""
    for case in CASES.values():
        print(f"{case.name}: {case.title}\n    {' '.join(case.parts)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description="Measure the speed of the package."
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="see --list; default: all")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="only these parts")
    parser.add_argument("--quick", action="store_true", help="few rounds, noisier results")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file of rows; the page is written beside it"
    )
    parser.add_argument("--list", action="store_true", help="list all cases and their parts")
    parser.add_argument("--report-only", action="store_true", help="only write the report")
    return parser


if __name__ == "__main__":
    keep_ray_private()
    sys.exit(main())
