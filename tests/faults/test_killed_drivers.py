"""A training that is killed at any moment goes on as if nothing had been."""

import random
import signal
import time

import pytest

from rllib_agentmixer.runs.checkpoints import RunCheckpoints, find_checkpoint
from rllib_agentmixer.runs.progress_file import read_progress
from rllib_agentmixer.utils.manifests import verify

from .conftest import TINY

pytestmark = pytest.mark.faults

STEPS = 64 * 60
KILLS = 30
NOT_COMPARED = ("seconds", "environment")


def train(command, out, *more):
    options = ["--steps", STEPS, "--checkpoint-every", 1, "--keep-checkpoints", 2, "--no-mlflow"]
    return command("train", "predator_prey", "--out", out, *options, *more, *TINY)


def lines_of(out):
    return len(read_progress(out))


def comparable(row):
    return {name: value for name, value in row.items() if name not in NOT_COMPARED}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Rows and weights of a run that nobody disturbs."""
    from .conftest import Command

    out = tmp_path_factory.mktemp("undisturbed") / "run"
    status, _, err = train(Command, out).end()
    assert status == 0, err
    return out


def test_a_run_that_is_killed_thirty_times_ends_as_one_that_is_not(command, undisturbed, tmp_path):
    out = tmp_path / "run"
    draw = random.Random(3)
    kills = in_saves = 0
    while kills < KILLS:
        running = train(command, out, "--resume-if-possible")
        before = lines_of(out)
        assert running.wait_until(lambda before=before: lines_of(out) > before), running.end()
        first_row_after = time.monotonic() - running.started
        # From the end of an iteration through its checkpoint into the next one.
        time.sleep(draw.uniform(0.0, 0.06))
        in_saves += any((out / "checkpoints").glob(".iteration*"))
        running.kill()
        kills += 1
        checkpoints = RunCheckpoints(out)
        for path in checkpoints.all:
            verify(path)
    status, _, err = train(command, out, "--resume").end()
    assert status == 0, err
    expected, found = read_progress(undisturbed), read_progress(out)
    assert [comparable(row) for row in found] == [comparable(row) for row in expected]
    assert not list((out / "checkpoints").glob(".iteration*"))
    print(
        f"{kills} kills, {in_saves} in the middle of a checkpoint; resumed training had its "
        f"first row after {first_row_after:.1f} s"
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_checkpoint_and_no_process(
    command, undisturbed, tmp_path, number, status
):
    out = tmp_path / "run"
    running = train(command, out, "--workers", 2)
    assert running.wait_until(lambda: lines_of(out) >= 3)
    assert running.family
    found, _, err = running.send(number)
    assert found == status, err
    assert running.survivors() == []
    rows = read_progress(out)
    assert find_checkpoint(out).name == f"iteration_{len(rows):06d}"


def test_nothing_is_left_running_behind_a_killed_driver(command, tmp_path):
    out = tmp_path / "run"
    running = train(command, out, "--workers", 2)
    assert running.wait_until(lambda: lines_of(out) >= 2)
    running.kill()
    assert len(running.family) > 4
    # Workers end at once; two of Ray's agents wait a minute for their head to come back.
    assert running.survivors(seconds=90.0) == []
