"""Report of the suite, generated from its rows alone."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.speed.case import Case
from benchmarks.speed.rows import Row

NO_VALUE = "-"
MET = {True: "yes", False: "**no**", None: NO_VALUE}


def markdown(cases: Mapping[str, Case], rows: Sequence[Row], command: str) -> str:
    """The whole page: provenance, all goals, then one table for each case that has rows.

    Args:
        cases: all of the suite, in the order of the page.
        rows: of the file; those of cases that no longer exist are omitted.
        command: that generates the page.
    """
    rows = [row for row in rows if row.case in cases]
    parts = ["# Speed", f"```\n{command}\n```", _provenance(rows), _goals(rows)]
    for case in cases.values():
        mine = [row for row in rows if row.case == case.name]
        if mine:
            parts.append(_section(case, mine))
    return "\n\n".join(part for part in parts if part) + "\n"


def write(cases: Mapping[str, Case], rows: Sequence[Row], json_file: Path, command: str) -> Path:
    """Write the page beside the file of rows, and figures to the folder ``images`` beside that."""
    from benchmarks.speed import figures

    page = json_file.with_suffix(".md")
    images = json_file.absolute().parent.parent / "images"
    for case in cases.values():
        mine = [row for row in rows if row.case == case.name]
        if mine and case.picture is not None:
            figures.DRAW[case.picture](mine, images / picture_name(case))
    page.write_text(markdown(cases, rows, command), encoding="utf-8")
    return page


def picture_name(case: Case) -> str:
    """File of a case's figure."""
    return f"speed_{case.name}.png"


def _provenance(rows: Iterable[Row]) -> str:
    """All versions used, and a warning about quick rows."""
    found: dict[str, set[str]] = defaultdict(set)
    rows = list(rows)
    for row in rows:
        for name, version in row.versions.items():
            found[name].add(version)
    listed = ", ".join(f"{name} {' / '.join(sorted(v))}" for name, v in sorted(found.items()))
    cores = sorted({str(row.settings["cores"]) for row in rows if "cores" in row.settings})
    lines = [f"Made with: {listed}; {' / '.join(cores)} cores, one torch thread."]
    lines.append(
        "CPU time of the measuring process, medians of rounds, unless a unit says *wall*. "
        "Absolute values depend on the machine; compare ratios."
    )
    if any(row.is_quick for row in rows):
        lines.append("**Some rows were measured with `--quick`: few rounds, noisy results.**")
    return "\n\n".join(lines)


def _goals(rows: Iterable[Row]) -> str:
    """Table of all rows with a goal."""
    with_goal = [row for row in rows if row.goal is not None]
    if not with_goal:
        return ""
    num_met = sum(row.is_met is True for row in with_goal)
    table = [["case", "what", "goal", "measured", "met"], [":--", ":--", "--:", "--:", ":--"]]
    for row in with_goal:
        goal = f"{row.goal} {row.unit}"
        table.append([row.case, row.name, goal, shown(row.value), MET[row.is_met]])
    return f"## Goals\n\n{num_met} of {len(with_goal)} goals are met.\n\n{_as_text(table)}"


def _section(case: Case, rows: Sequence[Row]) -> str:
    parts = [f"## {case.title}", case.explanation.strip(), _table(rows)]
    if case.picture is not None:
        parts.append(f"![{case.title}](../images/{picture_name(case)})")
    return "\n\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    labels = list(dict.fromkeys(label for row in rows for label in row.labels))
    columns = common_details(rows)
    has_goal = any(row.goal is not None for row in rows)
    has_more = any(_remarks(row, columns) for row in rows)
    titles = [*labels, "measured", "unit", *columns]
    sides = [":--"] * len(labels) + ["--:", ":--"] + ["--:"] * len(columns)
    titles += ["goal", "met"] * has_goal + ["more"] * has_more
    sides += ["--:", ":--"] * has_goal + [":--"] * has_more
    lines = [titles, sides]
    for row in rows:
        line = [row.labels.get(label, NO_VALUE) for label in labels]
        line += [shown(row.value), row.unit]
        line += [shown(row.details.get(column)) for column in columns]
        line += [str(row.goal or NO_VALUE), MET[row.is_met]] * has_goal
        line += [_remarks(row, columns) or NO_VALUE] * has_more
        lines.append(line)
    return _as_text(lines)


def common_details(rows: Sequence[Row]) -> list[str]:
    """Details with a column: those of at least every third row."""
    counts = Counter(name for row in rows for name in row.details)
    return [name for name, count in counts.items() if 3 * count >= len(rows)]


def _remarks(row: Row, columns: Sequence[str]) -> str:
    """Details without a column, and the note."""
    others = [f"{name} {shown(v)}" for name, v in row.details.items() if name not in columns]
    return "; ".join([*others, row.note] if row.note else others)


def _as_text(lines: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(value: float | None) -> str:
    """A number with three significant digits, thousands in full; counts unchanged."""
    if value is None:
        return NO_VALUE
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}" if decimals < 7 else f"{value:.2e}"
