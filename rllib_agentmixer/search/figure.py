"""Parallel coordinates plot of a search: one line per trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_agentmixer.search.domains import LISTED
from rllib_agentmixer.search.results import TrialRecord
from rllib_agentmixer.search.spaces import Space
from rllib_agentmixer.utils.figures import new_figure

FIGURE = "search.png"
INCHES_PER_AXIS = 1.5
SPREAD = 0.03
"""Spread of the lines through one categorical value, as a fraction of the height."""


def save_parallel_coordinates(
    records: Sequence[TrialRecord], space: Space, path: Path, metric: str
) -> None:
    """Plot scores against settings; the better a trial, the darker its line.

    Args:
        records: trials; those without a score are skipped.
        space: search space; sets the order and scale of the axes.
        path: PNG to write.
        metric: name of the last axis.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    scored = [r for r in records if r.score is not None]
    figure = new_figure(max(6.0, INCHES_PER_AXIS * (len(space) + 1)), 4.6)
    from matplotlib import colormaps  # after new_figure, which reports a missing matplotlib

    axes = figure.add_subplot()
    columns = [_Column(name, space[name], scored) for name in space]
    scores = np.array([r.score for r in scored], float)
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
    relative = (scores - low) / (high - low) if high > low else np.full(len(scores), 0.5)
    positions = range(len(columns) + 1)
    colours = colormaps["viridis_r"]
    for i in np.argsort(scores):
        heights = [*(column.heights[i] for column in columns), relative[i]]
        axes.plot(positions, heights, color=colours(0.1 + 0.9 * relative[i]), linewidth=1.6)
    for x, column in enumerate(columns):
        column.label(axes, x)
    for height, value in ((0.0, low), (1.0, high)):
        axes.annotate(f"{value:.3g}", (len(columns), height), xytext=(5, 0), **_TEXT)
    for x in positions:
        axes.axvline(x, color="#9aa5b1", linewidth=0.8, zorder=0)
    axes.set_xticks(list(positions), [*space, metric.replace("/", "/\n")], fontsize=8)
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(columns) + 0.45)
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(f"{len(scored)} trials, the darkest is the best", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


_TEXT: dict[str, Any] = {
    "textcoords": "offset points",
    "fontsize": 7,
    "color": "#3d4852",
    "va": "center",
    "bbox": {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
}


class _Column:
    """Axis of one setting: positions of its values in [0, 1] and its tick labels."""

    def __init__(self, name: str, found: Any, records: Sequence[TrialRecord]) -> None:
        values = [r.settings[name] for r in records]
        if found.kind in LISTED:
            options = list(dict.fromkeys(map(_text, found.arguments)))
            step = 1.0 / max(1, len(options) - 1)
            self.ticks = [(step * k, option) for k, option in enumerate(options)]
            # Spread out: lines through one value would overlap.
            offsets = np.linspace(-SPREAD, SPREAD, len(values)) if len(values) != 1 else [0.0]
            pairs = zip(values, offsets, strict=True)
            self.heights = [step * options.index(_text(v)) + float(offset) for v, offset in pairs]
            return
        scale = math.log if found.is_logarithmic else float
        low, high = map(scale, found.arguments[:2])
        self.ticks = [(0.0, _text(found.arguments[0])), (1.0, _text(found.arguments[1]))]
        self.heights = [(scale(v) - low) / (high - low) for v in values]

    def label(self, axes: Any, x: float) -> None:
        for height, text in self.ticks:
            axes.annotate(text, (x, height), xytext=(5, 0), **_TEXT)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
