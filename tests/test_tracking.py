"""Metrics reach one MLflow run by environment step, and training outlives the store."""

import json
import math
import time

import numpy as np
import pytest
from mlflow import MlflowClient

from rllib_agentmixer import tracking
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.tracking import (
    MLflowTracker,
    clean_key,
    default_tracking_uri,
    flatten,
    metrics_of,
    opening_store,
    version_tags,
)


def test_numbers_are_flattened_and_everything_else_dropped():
    nested = {
        "a": 1,
        "b": {"c": 2.5, "d": {"e": np.float32(0.5), "f": np.int64(3)}},
        "text": "x",
        "flag": True,
        "flags": np.bool_(True),
        "list": [1.0],
        "nothing": None,
        "nan": math.nan,
        "inf": np.float64(math.inf),
        "config": {"lr": 1.0},
        "inner": {"hist_stats": {"lengths": 3.0}, "timers": {"x": 1.0}},
    }
    assert flatten(nested) == {"a": 1.0, "b/c": 2.5, "b/d/e": 0.5, "b/d/f": 3.0}
    assert all(type(value) is float for value in flatten(nested).values())


def test_curves_have_short_names():
    result = {
        "training_iteration": 3,
        "env_runners": {"episode_return_mean": 1.5, "hist_stats": {"x": 1.0}},
        "evaluation": {"joint": {"episode_return_mean": 2.0}, "central_gap": 0.5, "other": 1.0},
        "info": {
            "learner": {
                "default_policy": {"learner_stats": {"kl": 0.1}, "custom_metrics": {"x": 1}}
            }
        },
        "num_env_steps_sampled": 10,
    }
    assert metrics_of(result) == {
        "env_runners/episode_return_mean": 1.5,
        "evaluation/joint/episode_return_mean": 2.0,
        "evaluation/central_gap": 0.5,
        "learner/kl": 0.1,
        "time/training_iteration": 3.0,
    }
    assert metrics_of({}) == {"time/training_iteration": 0.0}


def test_names_hold_only_what_mlflow_takes():
    assert clean_key("env_runners/return (mean) [a+b]") == "env_runners/return _mean_ _a_b_"


def test_the_store_is_named_by_the_environment_or_stands_beside_all_runs(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_tracking_uri(tmp_path / "run") == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")
    assert default_tracking_uri(tmp_path / "run") == "http://somewhere"


def test_versions_are_tagged_also_where_there_is_no_git(monkeypatch):
    assert version_tags().keys() >= {"version.rllib_agentmixer", "version.ray", "version.torch"}

    def missing(*args, **kwargs):
        raise FileNotFoundError("git")

    monkeypatch.setattr(tracking.subprocess, "run", missing)
    assert "git.commit" not in version_tags()


@pytest.fixture
def tracker(mlflow_store, tmp_path):
    folder = tmp_path / "runs" / "my run"
    folder.mkdir(parents=True)
    return MLflowTracker(folder, "tests", mlflow_store)


def run_of(tracker):
    return MlflowClient(tracking_uri=tracker.uri).get_run(tracker.run_id)


def test_a_run_holds_parameters_tags_metrics_by_step_and_artefacts(tracker, tmp_path):
    settings = {"lr": 1e-3, "long": "x" * 9999, "odd (name)": None}
    settings |= {f"setting_{index}": index for index in range(150)}  # more than one request
    tracker.log_config(settings, {"seed": "3"})
    for step in (64, 128):
        tracker.log({"env_runners/return (mean)": step / 2}, step)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.txt").write_text("inner")
    (tmp_path / "file.txt").write_text("file")
    tracker.log_artifact(tmp_path / "folder")
    tracker.log_artifact(tmp_path / "file.txt")
    tracker.finish()
    run = run_of(tracker)
    assert run.info.run_name == "my run"
    assert run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.001"
    assert run.data.params["odd _name_"] == "None"
    assert len(run.data.params["long"]) == tracking.MAX_PARAMETER_LENGTH
    assert len(run.data.params) == 153
    assert run.data.tags["seed"] == "3"
    assert run.data.tags.keys() >= {"version.ray", "version.torch"}
    client = MlflowClient(tracking_uri=tracker.uri)
    history = client.get_metric_history(tracker.run_id, "env_runners/return _mean_")
    assert [(point.step, point.value) for point in history] == [(64, 32.0), (128, 64.0)]
    artefacts = {entry.path for entry in client.list_artifacts(tracker.run_id)}
    assert artefacts == {"config.json", "folder", "file.txt"}
    inner = client.download_artifacts(tracker.run_id, "config.json", str(tmp_path))
    with open(inner) as file:
        assert json.load(file)["lr"] == 1e-3


def test_a_folder_keeps_its_run(tracker):
    tracker.log_config({"lr": 1e-3}, {})
    tracker.finish("KILLED")
    assert run_of(tracker).info.status == "KILLED"
    again = MLflowTracker(tracker.folder, "tests", tracker.uri)
    assert again.run_id == tracker.run_id
    assert run_of(again).info.status == "RUNNING"
    # MLflow refuses to change a parameter; a resumed run keeps the first value.
    again.log_config({"lr": 5.0, "new": 1}, {})
    assert run_of(again).data.params == {"lr": "0.001", "new": "1"}


def test_training_goes_on_when_the_store_does_not_answer(tracker, monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(tracker.client, "log_batch", refuse)
        tracker.log({"return": 1.0}, 64)
        patch.setattr(tracker.client, "set_terminated", refuse)
        tracker.finish("KILLED")
    assert "MLflow did not take the metrics of step 64" in caplog.text
    assert "MLflow did not take the status KILLED" in caplog.text
    tracker.log({"return": 2.0}, 128)
    assert run_of(tracker).data.metrics == {"return": 2.0}


def test_a_store_that_cannot_be_opened_is_named_with_ways_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot open the MLflow store") as raised:
        MLflowTracker(tmp_path, "tests", f"file://{tmp_path / 'file' / 'inner'}")
    assert "--no-mlflow" in str(raised.value)


def test_a_store_is_open_by_the_time_that_the_body_is_over(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(tracking, "open_store", lambda uri: (time.sleep(0.2), opened.append(uri)))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with opening_store(tmp_path / "runs" / "a"):
        assert opened == []
    assert opened == [f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"]


def test_what_hinders_opening_early_is_left_to_the_tracker(tmp_path, monkeypatch):
    def fail(uri):
        raise OSError("the disk is gone")

    monkeypatch.setattr(tracking, "open_store", fail)
    with opening_store(tmp_path):
        pass
    with pytest.raises(ConfigError, match="the disk is gone"):
        MLflowTracker(tmp_path, "experiment", "sqlite:///somewhere")


def test_a_store_opened_in_a_thread_serves_the_tracker(tmp_path, mlflow_store):
    with opening_store(tmp_path, mlflow_store):
        pass
    tracker = MLflowTracker(tmp_path, "early", mlflow_store)
    tracker.log({"a": 1.0}, 10)
    assert MlflowClient(mlflow_store).get_run(tracker.run_id).data.metrics == {"a": 1.0}
    tracker.finish()
