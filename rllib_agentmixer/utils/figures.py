"""Figures of runs: learning curves as PNG, episodes as GIF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rllib_agentmixer.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXTRAS = {"imageio": "video", "matplotlib": "plot"}
"""Plotting package -> extra that installs it."""


def check_available() -> None:
    """Raise MissingExtraError early if a plotting package is not installed."""
    for package, extra in EXTRAS.items():
        if find_spec(package) is None:
            raise MissingExtraError(
                f"plotting needs {package}: pip install 'rllib_agentmixer[{extra}]'"
            )


def save_gif(frames: Sequence[np.ndarray], path: Path, fps: int = 6) -> None:
    """Write RGB frames [height, width, 3] as an animated GIF; the last one is held for a second.

    Raises:
        MissingExtraError: imageio is not installed.
        ValueError: there are no frames.
    """
    try:
        import imageio.v3 as iio
    except ImportError as error:
        raise MissingExtraError(
            "GIFs need imageio: pip install 'rllib_agentmixer[video]'"
        ) from error
    if not frames:
        raise ValueError("no frames to write; does the environment render?")
    shown = [*frames, *[frames[-1]] * fps]
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, np.stack(shown), extension=".gif", duration=1000 // fps, loop=0)


def new_figure(width: float, height: float) -> Figure:
    """Create an empty figure, sized in inches, that needs no display.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "figures need matplotlib: pip install 'rllib_agentmixer[plot]'"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_learning_curve(rows: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Plot joint and individual returns over environment steps.

    Args:
        rows: progress rows with ``env_steps``, ``env_runners/episode_return_mean`` and, at
            evaluations, ``evaluation/<policy>/episode_return_mean``.
        path: PNG to write.
        title: title of the plot.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = new_figure(7, 4.2)
    axes = figure.add_subplot()
    curves: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("env_runners/episode_return_mean", "joint policy, exploring", {"color": "#9aa5b1"}),
        ("evaluation/joint/episode_return_mean", "joint policy, modes", {"color": "#d1603d"}),
        (
            "evaluation/individual/episode_return_mean",
            "individual policies, modes (deployed)",
            {"color": "#22577a", "linestyle": "--", "marker": "o", "markersize": 3},
        ),
    )
    for key, label, style in curves:
        points = [(r["env_steps"], r[key]) for r in rows if math.isfinite(r.get(key, math.nan))]
        if points:
            steps, returns = zip(*points, strict=True)
            axes.plot(list(steps), list(returns), label=label, **style)
    axes.set(xlabel="joint environment steps", ylabel="team return per episode", title=title)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
