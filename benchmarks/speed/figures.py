"""Figures of the suite: growth with agents, scaling with workers."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.speed.rows import Row
from rllib_agentmixer.utils.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"agentmixer": "#22577a", "mappo": "#d1603d"}
MARKERS = {"agentmixer": "o", "mappo": "s"}
BAR_COLOURS = {
    "sampling": "#9aa5b1",
    "gather": "#4c956c",
    "concatenate": "#e0a030",
    "learn": "#22577a",
    "broadcast": "#d1603d",
}
DPI = 110


def draw_agents(rows: Sequence[Row], path: Path) -> None:
    """Plot cost against the number of agents on logarithmic axes, with a linear reference."""
    panels: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.labels["agents"].isdigit():
            panels[row.labels["environment"], row.labels["what"]].append(row)
    environments = list(dict.fromkeys(environment for environment, _ in panels))
    figure = new_figure(8.4, 0.4 + 3.1 * len(environments))
    for place, (environment, what) in enumerate(
        sorted(panels, key=lambda p: (p[0], p[1] != "sample"))
    ):
        axes = figure.add_subplot(len(environments), 2, place + 1)
        _draw_growth(axes, panels[environment, what])
        axes.set_title(f"{environment}, {what}", fontsize=10)
    _save(figure, path)


def _draw_growth(axes: Axes, rows: Sequence[Row]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    linear_look = {"color": "black", "linestyle": ":", "linewidth": 1}
    for algorithm in dict.fromkeys(row.labels["algorithm"] for row in rows):
        mine = [row for row in rows if row.labels["algorithm"] == algorithm]
        sizes = [int(row.labels["agents"]) for row in mine]
        costs = [row.value or 0.0 for row in mine]
        look = {"color": COLOURS[algorithm], "marker": MARKERS[algorithm], "markersize": 4}
        axes.plot(sizes, [costs[0] * size / sizes[0] for size in sizes], **linear_look)
        axes.plot(sizes, costs, label=algorithm, **look)
    axes.plot([], [], label="linear in the number of agents", **linear_look)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    sizes = sorted({int(row.labels["agents"]) for row in rows})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set(xlabel="agents", ylabel=rows[0].unit)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7)


def draw_scaling(rows: Sequence[Row], path: Path) -> None:
    """Plot measured stages of an iteration, and the model's prediction for many workers."""
    figure = new_figure(9.4, 3.6)
    longest = _longest_fragments(rows)
    _draw_shares(figure.add_subplot(1, 2, 1), longest)
    _draw_prediction(figure.add_subplot(1, 2, 2), longest, rows)
    _save(figure, path)


def _longest_fragments(rows: Sequence[Row]) -> list[Row]:
    """Measured rows with the fragment length of the plan."""
    measured = [row for row in rows if row.labels["what"].startswith("measured")]
    longest = max(row.details["rows"] / row.details["workers"] for row in measured)
    return [row for row in measured if row.details["rows"] / row.details["workers"] == longest]


def _draw_shares(axes: Axes, rows: Sequence[Row]) -> None:
    names = [f"{row.details['workers']:g}" for row in rows]
    below = [0.0] * len(rows)
    for stage, colour in BAR_COLOURS.items():
        seconds = [row.details[f"{stage}, s"] for row in rows]
        axes.bar(names, seconds, bottom=below, color=colour, label=stage, width=0.6)
        below = [low + high for low, high in zip(below, seconds, strict=True)]
    totals = [row.value or 0.0 for row in rows]
    axes.plot(names, totals, "k_", markersize=18, label="whole training_step()")
    axes.set(xlabel="workers", ylabel="seconds of an iteration", title="measured")
    axes.set_ylim(top=1.6 * max(totals))  # room for the legend
    axes.legend(frameon=False, fontsize=7, loc="upper left", ncols=2)
    axes.grid(alpha=0.3, axis="y")


def _draw_prediction(axes: Axes, measured: Sequence[Row], rows: Sequence[Row]) -> None:
    driver = next(row for row in rows if row.labels["what"] == "model of driver").details
    planned = [row for row in rows if row.labels["what"].startswith("plan")]
    each_rows = measured[0].details["rows"] / measured[0].details["workers"]
    counts = [2 ** (k / 4) for k in range(41)]
    seconds = [
        driver["fixed, ms"] / 1e3
        + count * (driver["each worker, ms"] / 1e3 + each_rows * driver["each row, us"] / 1e6)
        for count in counts
    ]
    axes.plot(counts, seconds, color=BAR_COLOURS["learn"], label="driver, model")
    workers = [row.details["workers"] for row in measured]
    points = [row.details["driver, s"] for row in measured]
    axes.plot(workers, points, "o", color=BAR_COLOURS["learn"], markersize=4, label="measured")
    sampling = planned[0].details["sampling, s"]
    axes.axhline(sampling, color=BAR_COLOURS["sampling"], label="workers (sampling)")
    _draw_saturation(axes, rows)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlabel="workers", ylabel="seconds of an iteration", title="predicted")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7)


def _draw_saturation(axes: Axes, rows: Sequence[Row]) -> None:
    saturation = next(row for row in rows if row.unit == "workers").value
    if saturation:
        label = f"the driver saturates at {saturation:.0f}"
        axes.axvline(saturation, color="#d1603d", linestyle="--", linewidth=1, label=label)


def draw_nodes(rows: Sequence[Row], path: Path) -> None:
    """Plot stages of an iteration by workers and nodes, and the driver's share."""
    figure = new_figure(9.4, 3.6)
    _draw_stages(figure.add_subplot(1, 2, 1), rows)
    axes = figure.add_subplot(1, 2, 2)
    colours = ("#9aa5b1", "#22577a", "#d1603d")
    for colour, nodes in zip(colours, sorted({row.labels["nodes"] for row in rows}), strict=True):
        mine = [row for row in rows if row.labels["nodes"] == nodes]
        workers = [int(row.labels["workers"]) for row in mine]
        shares = [100 * row.details["driver's share"] for row in mine]
        axes.plot(workers, shares, marker="o", markersize=4, color=colour, label=f"nodes: {nodes}")
    axes.set_xticks(sorted({int(row.labels["workers"]) for row in rows}))
    axes.set(xlabel="workers", ylabel="per cent of an iteration", title="share of the driver")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7)
    _save(figure, path)


def _draw_stages(axes: Axes, rows: Sequence[Row]) -> None:
    rows = sorted(rows, key=lambda row: (int(row.labels["workers"]), row.labels["nodes"]))
    per_group = len({row.labels["nodes"] for row in rows})
    places = [place + 0.5 * (place // per_group) for place in range(len(rows))]
    below = [0.0] * len(rows)
    for stage, colour in BAR_COLOURS.items():
        seconds = [row.details[f"{stage}, s"] for row in rows]
        axes.bar(places, seconds, bottom=below, color=colour, label=stage, width=0.8)
        below = [low + high for low, high in zip(below, seconds, strict=True)]
    axes.set_xticks(places, [row.labels["nodes"] for row in rows])
    for first in range(0, len(rows), per_group):
        middle = statistics.mean(places[first : first + per_group])
        top = 1.02 * max(below[first : first + per_group])
        title = f"workers: {rows[first].labels['workers']}"
        axes.text(middle, top, title, ha="center", va="bottom", fontsize=8)
    axes.set(xlabel="nodes", ylabel="seconds of an iteration", title="stages")
    axes.set_ylim(top=1.5 * max(below))  # room for the legend
    axes.legend(frameon=False, fontsize=7, loc="upper left", ncols=3)
    axes.grid(alpha=0.3, axis="y")


def _save(figure: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)  # type: ignore[attr-defined]


DRAW: dict[str, Callable[[Sequence[Row], Path], None]] = {
    "draw_agents": draw_agents,
    "draw_nodes": draw_nodes,
    "draw_scaling": draw_scaling,
}
"""Name in a case -> function that draws it."""
