"""Queries of an MLflow experiment's runs for comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.tracking.tags import STAMP_TAGS
from rllib_agentmixer.utils.suggest import unknown_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

INDIVIDUAL = "evaluation/individual/episode_return_mean"
JOINT = "env_runners/episode_return_mean"
DEFAULT_METRICS = (INDIVIDUAL, JOINT)
"""Default metrics of comparisons, in order of preference."""
MOST_NAMES = 12


@dataclass(frozen=True)
class TrackedRun:
    """Run with the history of one metric.

    Attributes:
        name: name in the MLflow UI.
        run_id: MLflow id.
        status: ``FINISHED``, ``RUNNING``, ``FAILED`` or ``KILLED``.
        tags: tags and parameters for grouping; a tag shadows a parameter of the same name.
        curve: (environment step, value), sorted by step.
    """

    name: str
    run_id: str
    status: str
    tags: dict[str, str]
    curve: tuple[tuple[int, float], ...]

    @property
    def stamp(self) -> dict[str, str]:
        """Tags that must be equal for two returns to be comparable."""
        return {name: self.tags.get(name, "?") for name in STAMP_TAGS}


def find_runs(client: MlflowClient, experiment: str, sweep: str | None = None) -> list[Any]:
    """MLflow runs of an experiment, oldest first, without parents of nested runs.

    Raises:
        ConfigError: unknown experiment or sweep, or no runs.
    """
    known = client.get_experiment_by_name(experiment)
    if known is None:
        names = [found.name for found in client.search_experiments()]
        raise ConfigError(unknown_name("experiment", experiment, names))
    runs = _all_pages(client, known.experiment_id)
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs}
    runs = [run for run in runs if run.info.run_id not in parents and run.data.metrics]
    if not runs:
        raise ConfigError(f"experiment {experiment!r} has no runs with metrics; train some first")
    if sweep is None:
        return runs
    chosen = [run for run in runs if run.data.tags.get("sweep") == sweep]
    if not chosen:
        names = {run.data.tags["sweep"] for run in runs if "sweep" in run.data.tags}
        raise ConfigError(unknown_name("sweep", sweep, sorted(names)))
    return chosen


def _all_pages(client: MlflowClient, experiment_id: str) -> list[Any]:
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id], order_by=["attributes.start_time ASC"], page_token=token
        )
        runs += page
        token = page.token
        if not token:
            return runs


def choose_metric(runs: Sequence[Any], name: str | None = None) -> str:
    """Metric to compare.

    Raises:
        ConfigError: no run has it; the message lists the available metrics.
    """
    available = {metric for run in runs for metric in run.data.metrics}
    if name is None:
        found = [default for default in DEFAULT_METRICS if default in available]
        if not found:
            wanted = " or ".join(DEFAULT_METRICS)
            raise ConfigError(f"no run has {wanted}; choose a --metric of {_listed(available)}")
        return found[0]
    if name not in available:
        raise ConfigError(f"no run has the metric {name!r}; there are {_listed(available)}")
    return name


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:MOST_NAMES]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def read_run(client: MlflowClient, run: Any, metric: str) -> TrackedRun:
    """Fetch a run with its curve; of duplicate steps the last value is used."""
    points: dict[int, float] = {}
    if metric in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, metric)
        points = {point.step: point.value for point in history}
    return TrackedRun(
        name=run.info.run_name or run.info.run_id,
        run_id=run.info.run_id,
        status=run.info.status,
        tags={**run.data.params, **run.data.tags},
        curve=tuple(sorted(points.items())),
    )
