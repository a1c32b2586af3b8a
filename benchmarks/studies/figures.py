"""Figures of studies: learning curves, or final returns against a dial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.studies.cells import DIAL, NOT_APPLICABLE, Cell, Study
from benchmarks.studies.results import CellResults
from rllib_agentmixer.analysis.statistics import Summary, summarize
from rllib_agentmixer.utils.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    "#22577a",
    "#d1603d",
    "#4c956c",
    "#8e5572",
    "#e0a030",
    "#5fa8d3",
    "#7a7a7a",
    "#b0304f",
    "#6a994e",
    "#3d348b",
)
MARKERS = "osD^vPX<>*"
WIDEST, NARROWEST = 4.0, 1.2
"""Line widths of the first and the last line, so that coinciding curves stay visible."""
MOST_COLUMNS = 3
PANEL_INCHES = (4.2, 3.1)
OFFSET = "offset points"
LEGEND_INCHES = 2.6

Panel = tuple[str, ...]
Look = dict[str, Any]
"""Keyword arguments of matplotlib for a line."""


def save_figure(study: Study, entries: Sequence[CellResults], path: Path) -> None:
    """Plot all cells that have runs.

    Args:
        study: study with its panels; cells with the label ``dial`` are plotted against it.
        entries: cells with their runs, at least one.
        path: PNG to write.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    panels = list(dict.fromkeys(_panel(study, entry.cell) for entry in entries))
    columns = min(len(panels), MOST_COLUMNS)
    rows = -(-len(panels) // columns)
    width, height = columns * PANEL_INCHES[0] + LEGEND_INCHES, rows * PANEL_INCHES[1]
    figure = new_figure(width, height)
    lines = list(dict.fromkeys(_line(study, entry.cell) for entry in entries))
    looks = {line: _look(place, len(lines)) for place, line in enumerate(lines)}
    has_dial = any(DIAL in entry.cell.labels for entry in entries)
    draw: Callable[..., None] = _draw_dial if has_dial else _draw_curves
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, place + 1)
        draw(axes, [e for e in entries if _panel(study, e.cell) == panel], study, looks)
        axes.set_title(", ".join(panel), fontsize=10)
        axes.grid(alpha=0.3)
    figure.legend(handles=_legend(looks, has_dial), loc="outside right upper", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _draw_curves(
    axes: Axes, entries: Sequence[CellResults], study: Study, looks: dict[str, Look]
) -> None:
    """Plot individual returns over environment steps."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    for entry in entries:
        curves = [run.curve for run in entry.runs]
        points = list(zip(*curves, strict=False))  # up to the steps that every seed reached
        steps = [point[0][0] for point in points]
        summaries = [summarize([seed[1] for seed in point]) for point in points]
        _draw_line(axes, steps, summaries, looks[_line(study, entry.cell)])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("joint environment steps")
    axes.set_ylabel("individual return, modes")


def _draw_dial(
    axes: Axes, entries: Sequence[CellResults], study: Study, looks: dict[str, Look]
) -> None:
    """Plot final individual and joint returns against the dial."""
    for line, look in looks.items():
        mine = [entry for entry in entries if _line(study, entry.cell) == line]
        mine.sort(key=lambda entry: float(entry.cell.labels[DIAL]))
        dial = [float(entry.cell.labels[DIAL]) for entry in mine]
        _draw_line(axes, dial, [entry.individual for entry in mine], look)
        _draw_line(axes, dial, [entry.joint for entry in mine], look | {"linestyle": "--"})
    _draw_references(axes, entries, study)
    axes.set_xlabel(study.dial_names.get(entries[0].cell.env, DIAL))
    axes.set_ylabel("final return, modes")


def _draw_references(axes: Axes, entries: Sequence[CellResults], study: Study) -> None:
    """Known returns as dotted lines, named at their right end."""
    known = {float(e.cell.labels[DIAL]): study.references(e.cell) for e in entries}
    dial = sorted(known)
    for name in known[dial[0]]:
        heights = [known[x][name] for x in dial]
        axes.plot(dial, heights, color="black", linestyle=":", linewidth=1)
        axes.annotate(name, (dial[0], heights[0]), fontsize=7, xytext=(2, 3), textcoords=OFFSET)


def _draw_line(axes: Axes, x: Sequence[float], summaries: Sequence[Summary], look: Look) -> None:
    axes.plot(x, [s.mean for s in summaries], **look)
    low, high = [s.low for s in summaries], [s.high for s in summaries]
    axes.fill_between(x, low, high, color=look["color"], alpha=0.12, linewidth=0)


def _look(place: int, num_lines: int) -> Look:
    """Colour, marker and width of a line, by its index."""
    share = place / max(1, num_lines - 1)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "markersize": 3.5,
        "linewidth": WIDEST + share * (NARROWEST - WIDEST),
    }


def _legend(looks: dict[str, Look], has_dial: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=line, **look) for line, look in looks.items()]
    if has_dial:
        handles.append(Line2D([], [], color="black", label="individual policies"))
        handles.append(Line2D([], [], color="black", linestyle="--", label="joint policy"))
    return handles


def _panel(study: Study, cell: Cell) -> Panel:
    return tuple(cell.labels[label] for label in study.panels)


def _line(study: Study, cell: Cell) -> str:
    """Name of a cell's line: its labels besides those of panels and axis."""
    apart = (*study.panels, DIAL)
    values = [value for label, value in cell.labels.items() if label not in apart]
    return " ".join(value for value in values if value != NOT_APPLICABLE)
