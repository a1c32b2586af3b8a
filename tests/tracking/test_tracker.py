"""A run's settings, numbers and files reach one MLflow run, which a resume continues."""

import getpass
import json
import sys
import time
from pathlib import Path

import pytest

from rllib_agentmixer import tracking
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.tracking import (
    MLflowTracker,
    RunIdentity,
    clean_key,
    default_tracking_uri,
    opening_store,
    store,
    sync_folder,
)
from rllib_agentmixer.tracking.remote_run import MAX_PARAMETER_LENGTH

AWAY = "http://127.0.0.1:9"
"""Nobody listens on the port for discarding."""


def test_the_store_is_named_by_the_environment_or_stands_beside_all_runs(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_tracking_uri(tmp_path / "run") == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")
    assert default_tracking_uri(tmp_path / "run") == "http://somewhere"


def test_a_run_holds_parameters_tags_metrics_by_step_and_artefacts(
    make_tracker, folder, held, tmp_path
):
    tracker = make_tracker()
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
    now = held(folder)
    assert now.run.info.run_name == "my run"
    assert now.run.info.status == "FINISHED"
    params = now.run.data.params
    assert params["lr"] == "0.001"
    assert params[clean_key("odd (name)")] == "None"
    assert len(params["long"]) == MAX_PARAMETER_LENGTH
    assert len(params) == 153
    assert now.run.data.tags["seed"] == "3"
    assert now.run.data.tags.keys() >= {"version.ray", "version.torch", "version.python"}
    assert now.points(clean_key("env_runners/return (mean)")) == [(64, 32.0), (128, 64.0)]
    assert now.artifacts() == {"config.json", "folder", "file.txt"}
    inner = now.client.download_artifacts(tracker.run_id, "config.json", str(tmp_path))
    with open(inner) as file:
        assert json.load(file) == settings


def test_a_resumed_run_goes_on_in_its_run_and_repeats_nothing(make_tracker, folder, held):
    first = make_tracker()
    first.log_config({"lr": 1e-3}, {})
    for step in (10, 20, 30):
        first.log({"a": float(step)}, step)
    first.finish("KILLED")
    assert held(folder).run.info.status == "KILLED"
    again = make_tracker()
    assert again.run_id == first.run_id
    # MLflow refuses to change a parameter; a resumed run keeps the first value.
    again.log_config({"lr": 5.0, "new": 1}, {})
    # From the checkpoint of step 10: two steps are trained again.
    for step in (20, 30, 40):
        again.log({"a": float(step)}, step)
    assert again.flush()
    assert held(folder).run.info.status == "RUNNING"
    again.finish()
    now = held(folder)
    assert now.points() == [(10, 10.0), (20, 20.0), (30, 30.0), (40, 40.0)]
    assert now.run.data.params == {"lr": "0.001", "new": "1"}
    assert now.run.info.status == "FINISHED"


def test_many_iterations_share_requests_of_at_most_1000_metrics(make_tracker, folder, held):
    tracker = make_tracker(send_every=60.0)
    time.sleep(0.1)  # the thread looks once, then rests
    sizes = []
    run = tracker.sender._run_of(folder)
    honest = run.client.log_batch

    def counting(run_id, metrics=(), **other):
        sizes.append(len(metrics))
        honest(run_id, metrics=metrics, **other)

    run.client.log_batch = counting
    for step in range(1, 8):
        tracker.log({f"m{index}": float(step) for index in range(300)}, step)
    tracker.log({f"m{index}": 8.0 for index in range(1300)}, 8)
    tracker.finish()
    assert sizes == [900, 900, 300, 1000, 300]
    assert held(folder).points("m299") == [(step, float(step)) for step in range(1, 9)]


def test_a_record_that_mlflow_refuses_does_not_block_what_follows(
    make_tracker, folder, held, tmp_path, caplog
):
    tracker = make_tracker()
    tracker.log_artifact(tmp_path / "gone.png")
    tracker.log_of_run.status("NO SUCH STATUS")
    tracker.log({"a": 1.0}, 1)
    tracker.finish()
    assert held(folder).points() == [(1, 1.0)]
    assert "gone.png no longer exists" in caplog.text
    assert "MLflow rejected status, skipped" in caplog.text


def test_every_artefact_has_its_own_tries(make_tracker, folder, held, monkeypatch, tmp_path):
    tracker = make_tracker(send_every=60.0)
    time.sleep(0.1)
    run, calls = tracker.sender._run_of(folder), []

    def fail(run_id, path):
        calls.append(path)
        raise RuntimeError("the store of artefacts is full")

    monkeypatch.setattr(run.client, "log_artifact", fail)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
        tracker.log_artifact(tmp_path / name)
    tracker.log({"a": 1.0}, 1)
    tracker.finish()
    assert [Path(call).name for call in calls] == ["a.txt"] * 3 + ["b.txt"] * 3
    assert held(folder).points() == [(1, 1.0)]


def test_a_full_disk_does_not_stop_training(make_tracker, monkeypatch, caplog):
    def fail(record):
        raise OSError("no space left")

    tracker = make_tracker()
    monkeypatch.setattr(tracker.log_of_run.spool, "append", fail)
    tracker.log({"a": 1.0}, 1)
    tracker.log({"a": 1.0}, 2)
    assert caplog.text.count("no space left") == 1


# Stores that do not answer.


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (AWAY, "Connection refused"),
        ("nothing://here", "unsupported URI"),
        ("http//half", "maintenance mode"),
        ("http://", "http://"),
        ("sqlite:////proc/nowhere/mlflow.db", "No such file"),
    ],
)
def test_a_fresh_run_needs_a_store_that_answers(folder, uri, words):
    began = time.monotonic()
    with pytest.raises(ConfigError, match=words) as raised:
        MLflowTracker(folder, "tests", uri)
    assert "--no-mlflow" in str(raised.value)
    assert "--tracking-optional" in str(raised.value)
    assert time.monotonic() - began < 8
    assert list(folder.iterdir()) == []


def test_a_file_that_is_no_store_or_cannot_be_written_is_named(folder, tmp_path):
    (tmp_path / "text.db").write_text("this is not a database, and long enough to tell " * 9)
    with pytest.raises(ConfigError, match=r"text\.db.*not a database"):
        MLflowTracker(folder, "tests", f"sqlite:///{tmp_path / 'text.db'}")


def test_passwords_in_addresses_are_not_shown(folder):
    with pytest.raises(ConfigError) as raised:
        MLflowTracker(folder, "tests", "http://me:secret@127.0.0.1:9")
    assert "secret" not in str(raised.value)
    assert "//***@127.0.0.1:9" in str(raised.value)


def test_an_optional_store_may_come_later_and_then_gets_everything(
    folder, mlflow_store, held, caplog
):
    tracker = MLflowTracker(
        folder, "tests", AWAY, optional=True, send_every=0.02, flush_seconds=0.2
    )
    tracker.log_config({"lr": 1.0}, {"seed": "1"})
    tracker.log({"a": 1.0}, 1)
    tracker.finish()
    assert tracker.run_id is None
    assert "metrics wait in" in caplog.text
    assert f"rllib-agentmixer sync {folder}" in caplog.text
    assert tracking.sync_folder(folder, mlflow_store) == 5
    now = held(folder)
    assert now.points() == [(1, 1.0)]
    assert now.run.data.params == {"lr": "1.0"}
    assert now.run.info.status == "FINISHED"
    assert tracking.sync_folder(folder) == 0


def test_an_optional_store_must_still_be_one_that_can_work(folder):
    with pytest.raises(ConfigError, match="unsupported URI"):
        MLflowTracker(folder, "tests", "nothing://here", optional=True)


def test_a_known_run_goes_on_without_its_store(make_tracker, folder, held, monkeypatch):
    make_tracker().finish()

    def refuse(uri, seconds=0):
        raise store.StoreUnavailableError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr("rllib_agentmixer.tracking.tracker.answering_store", refuse)
        tracker = make_tracker()
    tracker.log({"a": 1.0}, 1)
    tracker.finish()
    assert held(folder).points() == [(1, 1.0)]


def test_a_store_that_lost_the_run_is_an_error(make_tracker, folder, tmp_path):
    make_tracker().finish()
    with pytest.raises(ConfigError, match=r"other\.db.*not found"):
        MLflowTracker(folder, "tests", f"sqlite:///{tmp_path / 'other.db'}")


def test_a_relative_store_is_found_again_from_another_folder(tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    MLflowTracker(folder, "tests", "sqlite:///mlruns.db").finish()
    first = RunIdentity.read(folder)
    assert first.tracking_uri == f"sqlite:///{tmp_path / 'mlruns.db'}"
    monkeypatch.chdir(folder)
    again = MLflowTracker(folder, "tests")
    assert again.run_id == first.run_id
    again.finish()
    assert RunIdentity.read(folder) == first


def test_an_address_that_does_not_lead_to_the_run_is_not_noted(tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    MLflowTracker(folder, "tests", "sqlite:///mlruns.db").finish()
    known = RunIdentity.read(folder)
    for resume in (
        lambda: MLflowTracker(folder, "tests", "sqlite:///other.db"),
        lambda: sync_folder(folder, "sqlite:///other.db"),
    ):
        with pytest.raises(ConfigError, match=r"other\.db.*not found"):
            resume()
        assert RunIdentity.read(folder) == known
    MLflowTracker(folder, "tests").finish()


def test_runs_say_who_created_them_and_with_which_program(make_tracker, folder, held):
    make_tracker().finish()
    tags = held(folder).run.data.tags
    assert tags["mlflow.user"] == getpass.getuser()
    assert tags["mlflow.source.name"] == sys.argv[0]
    assert tags["mlflow.source.type"] == "LOCAL"


def test_a_folder_without_a_run_cannot_be_synced(folder):
    with pytest.raises(ConfigError, match="holds no run"):
        tracking.sync_folder(folder)


def test_a_folder_that_is_being_sent_cannot_be_synced(make_tracker, folder):
    tracker = make_tracker()
    assert tracker.flush()
    time.sleep(0.1)
    with pytest.raises(ConfigError, match="is being sent by a running process"):
        tracking.sync_folder(folder)
    tracker.finish()
    assert tracking.sync_folder(folder) == 0


def test_what_cannot_be_synced_says_why(folder):
    tracker = MLflowTracker(folder, "tests", AWAY, optional=True, flush_seconds=0.0)
    tracker.finish()
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9 is unavailable: .*refused"):
        tracking.sync_folder(folder)


# Opening early.


def test_a_store_is_open_by_the_time_that_the_body_is_over(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(store, "open_store", lambda uri: (time.sleep(0.2), opened.append(uri)))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with opening_store(tmp_path / "runs" / "a"):
        assert opened == []
    assert opened == [f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"]


def test_what_hinders_opening_early_is_left_to_the_tracker(tmp_path, monkeypatch):
    def fail(uri):
        raise OSError("the disk is gone")

    monkeypatch.setattr(store, "open_store", fail)
    with opening_store(tmp_path):
        pass
    with pytest.raises(ConfigError, match="the disk is gone"):
        MLflowTracker(tmp_path, "experiment", f"sqlite:///{tmp_path / 'somewhere'}")


def test_a_store_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(store, "open_store", lambda uri: time.sleep(5))
    with pytest.raises(store.StoreUnavailableError, match="no response within 0 s"):
        store.answering_store("http://slow", seconds=0.1)
