"""Storage that is full, read-only, or both for a while."""

import json
import os
import subprocess
from contextlib import suppress

import pytest
from mlflow import MlflowClient

from rllib_agentmixer.runs.checkpoints import RunCheckpoints
from rllib_agentmixer.runs.progress_file import read_progress
from rllib_agentmixer.utils.manifests import verify

from .conftest import TINY

pytestmark = pytest.mark.faults

LONG = 600
"""Iterations of a run that lasts long enough to be disturbed."""


@pytest.fixture
def disk(tmp_path):
    """A file system of 24 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True
    )
    if made.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(disk, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def fill(disk):
    """A file that takes all the space there is; called again, what has become free since."""
    path = disk / "filler"
    with path.open("ab") as file:
        for size in (2**16, 2**12, 1):
            with suppress(OSError):
                while True:
                    os.write(file.fileno(), b"x" * size)
    return path


def train(command, out, steps, *more, tracking=("--no-mlflow",)):
    options = ["--steps", steps, "--checkpoint-every", 3, *tracking]
    return command("train", "predator_prey", "--out", out, *options, *more, *TINY)


def test_training_rides_out_a_full_disk_and_loses_no_row(command, disk):
    out = disk / "run"
    running = train(command, out, 64 * LONG)
    assert running.wait_until(lambda: len(read_progress(out)) >= 3)
    filler = fill(disk)
    good = [path.name for path in RunCheckpoints(out).all]
    assert good
    for name in good:
        verify(out / "checkpoints" / name)
    stuck_at = len(read_progress(out))
    # Training continues in the meantime; how far can only be seen afterwards.
    running.wait_until(lambda: False, seconds=1.5)
    assert stuck_at <= len(read_progress(out)) < LONG
    filler.unlink()
    status, _, err = running.end()
    assert status == 0, err
    assert "No space left on device" in err
    assert "Training continues" in err
    assert [row["env_steps"] for row in read_progress(out)] == [64 * n for n in range(1, LONG + 1)]
    verify(RunCheckpoints(out).newest)
    assert RunCheckpoints(out).newest.name == f"iteration_{LONG:06d}"


def test_no_metric_on_its_way_to_mlflow_is_lost_to_a_full_disk(command, disk, tmp_path):
    out, uri = disk / "run", f"sqlite:///{tmp_path / 'mlflow.db'}"
    running = train(command, out, 64 * LONG, tracking=("--tracking-uri", uri))
    assert running.wait_until(lambda: len(read_progress(out)) >= 3)
    filler = fill(disk)
    # A checkpoint that was being written gives its space back.
    running.wait_until(lambda: not fill(disk), seconds=1.5)
    filler.unlink()
    status, _, err = running.end()
    assert status == 0, err
    assert "mlflow_spool.jsonl cannot be written" in err
    run_id = json.loads((out / "mlflow_run.json").read_text())["run_id"]
    history = MlflowClient(uri).get_metric_history(run_id, "env_runners/episode_len_mean")
    assert sorted(point.step for point in history) == [64 * n for n in range(1, LONG + 1)]


def test_a_disk_that_stays_full_ends_with_an_error_and_earlier_checkpoints(command, disk):
    out = disk / "run"
    running = train(command, out, 64 * LONG)
    assert running.wait_until(lambda: len(read_progress(out)) >= 3)
    filler = fill(disk)
    status, _, err = running.end()
    assert status == 2, err
    assert "error: could not save a checkpoint" in err
    assert "Earlier checkpoints are untouched" in err
    kept = RunCheckpoints(out).all
    assert kept
    for path in kept:
        verify(path)
    filler.unlink()
    status, _, err = train(command, out, 64 * (LONG + 5), "--resume").end()
    assert status == 0, err
    assert [row["env_steps"] for row in read_progress(out)] == [64 * n for n in range(1, LONG + 6)]


def test_a_read_only_place_is_an_error_before_training(command, disk):
    remount(disk, "ro")
    status, _, err = train(command, disk / "run", 64).end()
    assert status == 2
    assert "choose another --out" in err
    assert "Read-only file system" in err


def test_a_place_that_becomes_read_only_and_back_costs_nothing_but_checkpoints(command, disk):
    out = disk / "run"
    running = train(command, out, 64 * LONG)
    assert running.wait_until(lambda: len(read_progress(out)) >= 3)
    with suppress(subprocess.CalledProcessError):  # busy while a file is being written
        for _ in range(50):
            done = subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True)
            if done.returncode == 0:
                break
    running.wait_until(lambda: False, seconds=1.0)
    remount(disk, "rw")
    status, _, err = running.end()
    assert status == 0, err
    assert [row["env_steps"] for row in read_progress(out)] == [64 * n for n in range(1, LONG + 1)]
    assert json.loads((out / "checkpoints" / "best.json").read_text())["value"] is not None
    verify(RunCheckpoints(out).newest)
