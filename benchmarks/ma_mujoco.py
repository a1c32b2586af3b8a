"""Learning curves of multi-agent MuJoCo from run folders of the command line.

python -m benchmarks.ma_mujoco runs/*        # collect the runs, then plot
python -m benchmarks.ma_mujoco               # plot the collected runs

``docs/results/ma_mujoco.md`` has the commands of the runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from rllib_agentmixer.utils.figures import new_figure

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "docs" / "results" / "ma_mujoco.jsonl"
PICTURE = ROOT / "docs" / "images" / "ma_mujoco_curves.png"
INDIVIDUAL = "evaluation/individual/episode_return_mean"
COLOUR = "#22577a"


def main(arguments: list[str] | None = None) -> None:
    """Collect run folders, if any are given, and plot."""
    parser = argparse.ArgumentParser(description="Learning curves of multi-agent MuJoCo.")
    parser.add_argument("runs", nargs="*", type=Path, help="folders that `train --out` wrote")
    chosen = parser.parse_args(arguments)
    if chosen.runs:
        rows = [read_run(run) for run in chosen.runs]
        rows.sort(key=lambda row: (row["env"], row["seed"]))
        ROWS.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    sys.stdout.write(table(rows))
    draw(rows, PICTURE)


def read_run(folder: Path) -> dict[str, Any]:
    """One line: the configuration, and every evaluation of the individual policies."""
    lines = (folder / "progress.jsonl").read_text().splitlines()
    progress = [json.loads(line) for line in lines]
    settings = json.loads((folder / "config.json").read_text())
    return {
        "env": settings["env"],
        "seed": settings["seed"],
        "env_steps": progress[-1]["env_steps"],
        "minutes": round(progress[-1]["seconds"] / 60, 2),
        "curve": [
            [row["env_steps"], round(row[INDIVIDUAL], 1)] for row in progress if INDIVIDUAL in row
        ],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown table with one row per task."""
    lines = []
    for env, runs in by_task(rows):
        # up to the steps that all reached
        *_, last = zip(*(run["curve"] for run in runs), strict=False)
        returns = [point[1] for point in last]
        lines.append(
            f"| {env} | {len(runs)} | {last[0][0]:,} | {_span(run['minutes'] for run in runs)} "
            f"| {sum(returns) / len(returns):,.0f} | {_span(returns)} |\n"
        )
    return "".join(lines)


def by_task(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Runs by environment."""
    return [(env, list(runs)) for env, runs in groupby(rows, key=lambda row: row["env"])]


def _span(values: Any) -> str:
    ordered = sorted(values)
    return f"{ordered[0]:,.0f} to {ordered[-1]:,.0f}"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Mean over seeds with a band from the worst to the best, up to steps that all reached."""
    from matplotlib.ticker import EngFormatter

    tasks = by_task(rows)
    figure = new_figure(4.6 * len(tasks), 3.4)
    for place, (env, runs) in enumerate(tasks):
        axes = figure.add_subplot(1, len(tasks), place + 1)
        for run in runs:
            axes.plot(*zip(*run["curve"], strict=True), color=COLOUR, alpha=0.3, linewidth=0.8)
        points = list(zip(*(run["curve"] for run in runs), strict=False))
        steps = [point[0][0] for point in points]
        returns = [[seed[1] for seed in point] for point in points]
        means = [sum(values) / len(values) for values in returns]
        low, high = [min(v) for v in returns], [max(v) for v in returns]
        axes.fill_between(steps, low, high, color=COLOUR, alpha=0.15, linewidth=0)
        axes.plot(steps, means, color=COLOUR, marker="o", markersize=3.5)
        axes.set_title(f"{env}, {len(runs)} seeds", fontsize=10)
        axes.set(xlabel="joint environment steps", ylabel="individual return, modes")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
