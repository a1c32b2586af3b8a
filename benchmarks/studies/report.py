"""Report of a study, generated from its lines alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.studies.cells import Cell, Study
from benchmarks.studies.results import CellResults, Result
from rllib_agentmixer.analysis.statistics import Summary

NO_VALUE = "-"


def gather(cells: Sequence[Cell], results: Iterable[Result]) -> list[CellResults]:
    """Cells with successful runs, in the order of the grid."""
    by_key: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.error is None:
            by_key[result.key].append(result)
    return [
        CellResults(cell, tuple(sorted(by_key[cell.key], key=lambda run: run.seed)))
        for cell in cells
        if by_key[cell.key]
    ]


def markdown(
    study: Study, cells: Sequence[Cell], results: Sequence[Result], *, picture: str, command: str
) -> str:
    """Markdown page of a study.

    Args:
        study: study to report.
        cells: all cells of its grid, including those without runs.
        results: results in its file; those of other cells are ignored.
        picture: path of the figure, relative to the page.
        command: command that generates the page.
    """
    known = {cell.key: cell for cell in cells}
    mine = [result for result in results if result.key in known]
    gathered = gather(cells, mine)
    parts = [
        f"# Study `{study.name}`",
        study.question,
        f"```\n{command}\n```",
        _provenance([run for entry in gathered for run in entry.runs]),
        _shared_settings(cells),
        _table([entry.cell for entry in gathered] or list(cells), gathered),
        "Returns are means over seeds of the final evaluation (32 episodes, modes), with 95 % "
        "bootstrap intervals of the mean. *Central gap*: joint minus individual return.",
        f"![{study.name}]({picture})" if gathered else "",
        _missing(cells, gathered),
        _failures(known, mine),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _provenance(runs: Sequence[Result]) -> str:
    """All versions used."""
    found: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for name, version in run.versions.items():
            found[name].add(version[:10])
    if not found:
        return ""
    listed = ", ".join(f"{name} {' / '.join(sorted(v))}" for name, v in sorted(found.items()))
    return f"Made with: {listed}."


def _shared_settings(cells: Sequence[Cell]) -> str:
    """Settings shared by all cells, as on the command line."""
    shared = [
        override
        for override in cells[0].overrides
        if all(override in cell.overrides for cell in cells)
    ]
    return f"In all cells: `{' '.join(shared)}`." if shared else ""


def _table(cells: Sequence[Cell], gathered: Sequence[CellResults]) -> str:
    labels = list(dict.fromkeys(label for cell in cells for label in cell.labels))
    has_target = any(cell.target is not None for cell in cells)
    titles = [*labels, "seeds", "env steps", "min/seed", "individual return", "joint return"]
    titles += ["central gap"] + ["reached"] * has_target
    sides = [":--"] * len(labels) + ["--:"] * (len(titles) - len(labels))
    rows = [_row(entry, labels, has_target) for entry in gathered]
    return "\n".join("| " + " | ".join(row) + " |" for row in [titles, sides, *rows])


def _row(entry: CellResults, labels: Sequence[str], has_target: bool) -> list[str]:
    runs, cell = entry.runs, entry.cell
    individual, joint = entry.individual, entry.joint
    minutes = sum(run.seconds for run in runs) / len(runs) / 60
    row = [cell.labels.get(label, NO_VALUE) for label in labels]
    row += [
        str(len(runs)),
        f"{max(run.env_steps for run in runs):,}",
        f"{minutes:.2f}",
        with_interval(individual),
        with_interval(joint),
        f"{joint.mean - individual.mean:.2f}",
    ]
    if has_target:
        reached = f"{entry.num_reached} of {len(runs)}"
        row.append(NO_VALUE if cell.target is None else reached)
    return row


def with_interval(summary: Summary) -> str:
    """Mean and interval; only the mean for a single value."""
    if summary.n == 1:
        return f"{summary.mean:.2f}"
    return f"{summary.mean:.2f} [{summary.low:.2f}, {summary.high:.2f}]"


def _missing(cells: Sequence[Cell], gathered: Sequence[CellResults]) -> str:
    num_missing = len(cells) - len(gathered)
    return f"{num_missing} of {len(cells)} cells have no finished run." if num_missing else ""


def _failures(known: dict[str, Cell], results: Sequence[Result]) -> str:
    failed = [result for result in results if result.error is not None]
    if not failed:
        return ""
    lines = [f"* {known[run.key]}, seed {run.seed}: {run.error}" for run in failed]
    return "\n".join(["Failed runs:", "", *lines])


def write(
    study: Study, cells: Sequence[Cell], results: Sequence[Result], out: Path, command: str
) -> Path:
    """Write the page to a folder and the figure to the folder ``images`` beside it."""
    from benchmarks.studies.figures import save_figure

    picture = out.absolute().parent / "images" / f"study_{study.name}.png"
    gathered = gather(cells, results)
    if gathered:
        save_figure(study, gathered, picture)
    page = out / f"{study.name}.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    address = f"../images/{picture.name}"
    text = markdown(study, cells, results, picture=address, command=command)
    page.write_text(text, encoding="utf-8")
    return page
