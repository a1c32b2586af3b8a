"""Runs of an MLflow experiment, as far as a comparison needs them."""

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
"""What is compared unless another metric is asked for: the first that a run has."""
MOST_NAMES = 12


@dataclass(frozen=True)
class TrackedRun:
    """One run, with the curve of one metric.

    Attributes:
        name: shown on MLflow's page.
        run_id: MLflow's id.
        status: ``FINISHED``, ``RUNNING``, ``FAILED`` or ``KILLED``.
        tags: and parameters, by which runs are grouped; a tag hides a parameter of its name.
        curve: (environment step, value), by rising step.
    """

    name: str
    run_id: str
    status: str
    tags: dict[str, str]
    curve: tuple[tuple[int, float], ...]

    @property
    def stamp(self) -> dict[str, str]:
        """What must be equal for two returns to be comparable."""
        return {name: self.tags.get(name, "?") for name in STAMP_TAGS}


def find_runs(client: MlflowClient, experiment: str, sweep: str | None = None) -> list[Any]:
    """MLflow's own records of an experiment's runs, oldest first, parents of nested ones left out.

    Raises:
        ConfigError: no such experiment or sweep, or no runs; says which there are.
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


def choose_metric(runs: Sequence[Any], asked: str | None = None) -> str:
    """The metric that is compared.

    Raises:
        ConfigError: no run has it; says which metrics there are.
    """
    held = [set(run.data.metrics) for run in runs]
    if asked is None:
        found = [name for name in DEFAULT_METRICS if any(name in names for names in held)]
        if not found:
            wanted = " or ".join(DEFAULT_METRICS)
            raise ConfigError(
                f"no run has {wanted}; choose a --metric of {_listed(set.union(*held))}"
            )
        return found[0]
    if not any(asked in names for names in held):
        raise ConfigError(f"no run has the metric {asked!r}; there are {_listed(set.union(*held))}")
    return asked


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:MOST_NAMES]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def read_run(client: MlflowClient, run: Any, metric: str) -> TrackedRun:
    """A run with its curve; a step that was logged more than once counts with its last value."""
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
