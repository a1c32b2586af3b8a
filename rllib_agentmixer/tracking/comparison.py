"""Comparison of groups of tracked runs, with bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rllib_agentmixer.analysis.statistics import (
    Interval,
    bootstrap_interval,
    interquartile_mean,
    stratified_interval,
)
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.tracking.tracked_runs import TrackedRun
from rllib_agentmixer.utils.suggest import unknown_name

FEWEST_SEEDS = 3
"""Number of seeds below which a warning is given."""
CURVE_POINTS = 50


@dataclass(frozen=True)
class Group:
    """Runs with the same value of the grouping tag or parameter.

    Attributes:
        name: value of the tag or parameter.
        runs: runs of the group, at least one.
        finals: per run, the mean of its last values.
        iqm: interquartile mean of the finals.
        interval: 95 % interval of the IQM, by bootstrap over the runs of each environment.
    """

    name: str
    runs: tuple[TrackedRun, ...]
    finals: tuple[float, ...]
    iqm: float
    interval: Interval

    @property
    def env_steps(self) -> int:
        """Environment steps that every run reached."""
        return min(run.curve[-1][0] for run in self.runs)

    @property
    def num_seeds(self) -> int:
        """Number of distinct seeds; runs without a seed count individually."""
        return len({run.tags.get("seed", run.run_id) for run in self.runs})

    def row(self) -> dict[str, Any]:
        """Row of a table."""
        return {
            "group": self.name,
            "runs": len(self.runs),
            "seeds": self.num_seeds,
            "env_steps": self.env_steps,
            "iqm": self.iqm,
            **asdict(self.interval),
            "finals": list(self.finals),
        }


@dataclass(frozen=True)
class Band:
    """Learning curve over seeds.

    Attributes:
        steps: environment steps.
        middle: interquartile mean.
        low: lower end of its interval.
        high: upper end of its interval.
    """

    steps: list[float]
    middle: list[float]
    low: list[float]
    high: list[float]


def group_runs(runs: Sequence[TrackedRun], group_by: str, last: int, seed: int = 0) -> list[Group]:
    """Groups of runs, best first.

    Args:
        runs: runs; those without a curve are skipped.
        group_by: tag or parameter.
        last: number of final values of each curve to average.
        seed: seed of the bootstrap.

    Raises:
        ConfigError: no run has that tag or parameter.
    """
    curves = [run for run in runs if run.curve]
    if not any(group_by in run.tags for run in curves):
        known = {name for run in runs for name in run.tags if not name.startswith("mlflow.")}
        raise ConfigError(unknown_name("tag or parameter", group_by, sorted(known)))
    names = dict.fromkeys(run.tags.get(group_by, "?") for run in curves)
    groups = []
    for name in names:
        mine = tuple(run for run in curves if run.tags.get(group_by, "?") == name)
        finals = tuple(final_value(run, last) for run in mine)
        interval = stratified_interval(_by_environment(mine, finals), seed=seed)
        groups.append(Group(name, mine, finals, interquartile_mean(finals), interval))
    return sorted(groups, key=lambda group: -group.iqm)


def _by_environment(runs: Sequence[TrackedRun], finals: Sequence[float]) -> list[list[float]]:
    strata: dict[str, list[float]] = {}
    for run, final in zip(runs, finals, strict=True):
        strata.setdefault(str(run.stamp), []).append(final)
    return list(strata.values())


def final_value(run: TrackedRun, last: int) -> float:
    """Mean of the last values of a curve."""
    return float(np.mean([value for _, value in run.curve[-last:]]))


def band_of(group: Group, seed: int = 0) -> Band:
    """Learning curve over the steps that every run reached, interpolated linearly."""
    first = max(run.curve[0][0] for run in group.runs)
    logged = {step for run in group.runs for step, _ in run.curve}
    inside = sorted(step for step in logged if first <= step <= group.env_steps)
    grid = np.array(inside if inside else [group.env_steps], float)
    if len(grid) > CURVE_POINTS:
        grid = np.linspace(grid[0], grid[-1], CURVE_POINTS)
    values = np.stack([np.interp(grid, *np.array(run.curve, float).T) for run in group.runs])
    middle = np.atleast_1d(interquartile_mean(values, axis=0))
    intervals = [
        bootstrap_interval(column, interquartile_mean, num_resamples=2000, seed=seed)
        for column in values.T
    ]
    return Band(
        grid.tolist(),
        middle.tolist(),
        [interval.low for interval in intervals],
        [interval.high for interval in intervals],
    )


def check_same_environment(runs: Sequence[TrackedRun]) -> None:
    """Reject runs of different environments.

    Raises:
        ConfigError: the environments differ; the message lists the differences.
    """
    differing = {}
    for name in runs[0].stamp:
        values = sorted({run.stamp[name] for run in runs})
        if len(values) > 1:
            differing[name] = values
    if differing:
        details = "; ".join(f"{name}: {' / '.join(found)}" for name, found in differing.items())
        raise ConfigError(
            f"runs of different environments cannot be compared ({details}); choose a --sweep, or "
            "compare anyway with --any-environment"
        )


def warnings_about(runs: Sequence[TrackedRun], groups: Sequence[Group]) -> list[str]:
    """Warnings about unfinished runs, missing metrics, few seeds and unequal lengths."""
    found = [
        f"{run.name} is {run.status}, its last values are not those of a finished run"
        for run in runs
        if run.status != "FINISHED" and run.curve
    ]
    found += [
        f"{run.name} does not have the metric and is skipped" for run in runs if not run.curve
    ]
    found += [
        f"{group.name} has {group.num_seeds} seed(s): fewer than {FEWEST_SEEDS} are inconclusive"
        for group in groups
        if group.num_seeds < FEWEST_SEEDS
    ]
    steps = {group.name: group.env_steps for group in groups}
    if len(groups) > 1 and max(steps.values()) > 1.05 * min(steps.values()):
        counts = ", ".join(f"{name} {count:,}" for name, count in steps.items())
        found.append(f"groups reached different numbers of steps: {counts}")
    return found
