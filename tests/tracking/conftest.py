"""Folders of runs, and what MLflow holds of them."""

import pytest
from mlflow import MlflowClient

from rllib_agentmixer.tracking import MLflowTracker, RunIdentity


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "runs" / "my run"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def make_tracker(folder, mlflow_store):
    """Trackers that send soon; those that a test leaves open are closed."""
    made = []

    def make(**settings):
        settings = {"send_every": 0.02, "flush_seconds": 20.0, **settings}
        made.append(MLflowTracker(folder, "tests", mlflow_store, **settings))
        return made[-1]

    yield make
    for tracker in made:
        tracker.sender.close(0)


class Held:
    """What the store holds of the run in a folder."""

    def __init__(self, folder):
        self.identity = RunIdentity.read(folder)
        self.client = MlflowClient(tracking_uri=self.identity.tracking_uri)
        self.run = self.client.get_run(self.identity.run_id)

    def points(self, key="a"):
        """(step, value) of a metric, in the order in which it came."""
        history = self.client.get_metric_history(self.run.info.run_id, key)
        return [(point.step, point.value) for point in history]

    def artifacts(self):
        return {entry.path for entry in self.client.list_artifacts(self.run.info.run_id)}


@pytest.fixture
def held():
    return Held
