"""Figure of a comparison: learning curves with bands, and intervals of final values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rllib_agentmixer.tracking.comparison import Group, band_of
from rllib_agentmixer.utils.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#22577a", "#d1603d", "#4c956c", "#8e5572", "#e0a030", "#5fa8d3", "#7a7a7a", "#b0304f")
MARKERS = "osD^vPX*"


def save_comparison(groups: Sequence[Group], metric: str, path: Path, title: str) -> None:
    """Plot groups in the given order, the first as the topmost bar.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = new_figure(10, max(3.6, 1.6 + 0.45 * len(groups)))
    curves, bars = figure.subplots(1, 2, width_ratios=[1.6, 1])
    for place, group in enumerate(groups):
        colour = COLOURS[place % len(COLOURS)]
        _draw_curve(curves, group, colour, MARKERS[place % len(MARKERS)])
        _draw_bar(bars, group, colour, -place)
    _name_axes(curves, bars, groups, metric)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _draw_curve(axes: Axes, group: Group, colour: str, marker: str) -> None:
    band = band_of(group)
    label = f"{group.name} ({group.num_seeds} seeds)"
    often = max(1, len(band.steps) // 10)
    look = {"color": colour, "marker": marker, "markersize": 3.5, "markevery": often}
    axes.plot(band.steps, band.middle, label=label, **look)
    axes.fill_between(band.steps, band.low, band.high, color=colour, alpha=0.15, linewidth=0)


def _draw_bar(axes: Axes, group: Group, colour: str, height: float) -> None:
    interval = group.interval
    axes.barh(height, interval.high - interval.low, 0.5, interval.low, color=colour, alpha=0.35)
    axes.plot([group.iqm, group.iqm], [height - 0.25, height + 0.25], color=colour, linewidth=2.5)
    axes.plot(group.finals, [height] * len(group.finals), ".", color=colour, markersize=5)


def _name_axes(curves: Axes, bars: Axes, groups: Sequence[Group], metric: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    curves.xaxis.set_major_locator(MaxNLocator(6))
    curves.xaxis.set_major_formatter(EngFormatter(sep=""))
    curves.set(xlabel="joint environment steps", ylabel=metric)
    curves.legend(frameon=False, fontsize=9)
    bars.set_yticks([-place for place in range(len(groups))], [group.name for group in groups])
    bars.use_sticky_edges = False  # groups without spread would overlap the frame
    bars.margins(x=0.08)
    bars.set_xlabel("at the end: IQM, 95 % interval, runs")
    for axes in (curves, bars):
        axes.grid(alpha=0.3)
