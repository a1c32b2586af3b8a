"""A real server is killed and comes back: every metric arrives once, in order, in one run."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.tracking import MLflowTracker, RunIdentity, sync_folder
from tests.tracking.servers import Server

pytestmark = pytest.mark.cluster


@pytest.fixture
def server(tmp_path, mlflow_store):
    made = Server(tmp_path, mlflow_store)
    yield made
    made.kill()


def tracker_of(folder, server, **settings):
    settings = {"send_every": 0.05, "flush_seconds": 30.0, **settings}
    return MLflowTracker(folder, "outages", server.uri, **settings)


def points(folder, key="a"):
    """(step, value) in the order in which the server stored them."""
    identity = RunIdentity.read(folder)
    client = MlflowClient(tracking_uri=identity.tracking_uri)
    history = client.get_metric_history(identity.run_id, key)
    return [(point.step, point.value) for point in history]


def status(folder):
    identity = RunIdentity.read(folder)
    client = MlflowClient(tracking_uri=identity.tracking_uri)
    return client.get_run(identity.run_id).info.status


def line(*steps):
    return [(step, float(step)) for step in steps]


def test_a_server_that_is_away_at_the_start_gets_the_whole_run_later(folder, server):
    with pytest.raises(ConfigError, match="Connection refused"):
        tracker_of(folder, server)
    tracker = tracker_of(folder, server, optional=True)
    tracker.log_config({"lr": 1.0}, {"seed": "1"})
    for step in range(1, 21):
        tracker.log({"a": float(step)}, step)
    assert tracker.run_id is None
    server.start()
    for step in range(21, 31):
        tracker.log({"a": float(step)}, step)
    tracker.finish()
    assert points(folder) == line(*range(1, 31))
    assert status(folder) == "FINISHED"


def test_a_server_that_dies_in_the_middle_does_not_hold_training_up(folder, server):
    server.start()
    tracker = tracker_of(folder, server)
    run_id = tracker.run_id
    for step in range(1, 11):
        tracker.log({"a": float(step)}, step)
        time.sleep(0.02)
    server.kill()
    began = time.monotonic()
    for step in range(11, 1011):
        tracker.log({"a": float(step)}, step)
    assert time.monotonic() - began < 2.0
    server.start()
    for step in range(1011, 1021):
        tracker.log({"a": float(step)}, step)
    tracker.finish()
    assert tracker.run_id == run_id
    assert points(folder) == line(*range(1, 1021))


def test_a_server_that_is_away_at_the_end_gets_the_rest_by_sync_or_by_a_resume(
    folder, server, caplog
):
    server.start()
    tracker = tracker_of(folder, server, flush_seconds=2.0)
    run_id = tracker.run_id
    tracker.log({"a": 1.0}, 1)
    assert tracker.flush()
    server.kill()
    tracker.log({"a": 2.0}, 2)
    began = time.monotonic()
    tracker.finish("KILLED")
    assert time.monotonic() - began < 10.0
    assert f"rllib-agentmixer sync {folder}" in caplog.text
    # A resume while the server is still away, from the checkpoint of step 1.
    resumed = tracker_of(folder, server, flush_seconds=2.0)
    for step in (2, 3):
        resumed.log({"a": float(step)}, step)
    resumed.finish("FINISHED")
    with pytest.raises(ConfigError, match="is unavailable"):
        sync_folder(folder)
    server.start()
    assert sync_folder(folder) > 0
    assert points(folder) == line(1, 2, 3)
    assert status(folder) == "FINISHED"
    assert RunIdentity.read(folder).run_id == run_id


LIFE = """
import json, sys, time
from pathlib import Path
from rllib_agentmixer.utils.files import write_atomically
from rllib_agentmixer.tracking import MLflowTracker
folder, uri, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
progress = folder / "step.json"
first = json.loads(progress.read_text()) if progress.exists() else 0
tracker = MLflowTracker(folder, "outages", uri, send_every=0.01, flush_seconds=60.0)
tracker.log_config({"lr": 1.0}, {})
for step in range(first + 1, last + 1):
    time.sleep(0.005)
    tracker.log({"a": float(step), "b": -float(step)}, step)
    if step % 20 == 0:
        write_atomically(progress, json.dumps(step))  # a checkpoint
tracker.finish()
"""


def lives(command, folder, dice):
    """Start processes one after the other and kill each at a random moment, seven times.

    Yields after each kill; ends when the eighth has come to its end.
    """
    spool = folder / "mlflow_spool.jsonl"
    for number in range(7):
        before = spool.stat().st_size if spool.exists() else 0
        process = subprocess.Popen(command)
        if number in (1, 4):  # while it starts
            time.sleep(dice.uniform(0.5, 3.0))
        else:  # while it trains
            while not spool.exists() or spool.stat().st_size <= before + 3000:
                time.sleep(0.01)
            time.sleep(dice.uniform(0.0, 0.5))
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        yield number
    subprocess.run(command, timeout=120, check=True)


def test_processes_that_are_killed_at_random_lose_and_repeat_nothing(folder, server):
    server.start()
    last = 1500
    command = [sys.executable, "-c", LIFE, str(folder), server.uri, str(last)]
    for number in lives(command, folder, random.Random(0)):
        if number == 2:
            server.kill()
        if number == 4:
            server.start()
    assert points(folder, "a") == line(*range(1, last + 1))
    assert points(folder, "b") == [(step, -value) for step, value in points(folder, "a")]
    identity = RunIdentity.read(folder)
    client = MlflowClient(tracking_uri=identity.tracking_uri)
    experiment = client.get_experiment_by_name("outages").experiment_id
    same = f"tags.`agentmixer.run_key` = '{identity.key}'"
    assert len(client.search_runs([experiment], same)) == 1
    assert json.loads((folder / "step.json").read_text()) == last
