"""A search that is killed goes on: no trial is lost, none is run twice."""

import csv
import json
import os
import signal
import time

import psutil
import pytest

from .conftest import TINY

pytestmark = pytest.mark.faults

SAMPLES = 4
ITERATIONS = 30


def search(command, out, *more):
    options = ["--samples", SAMPLES, "--steps", 64 * ITERATIONS, "--scheduler", "none"]
    space = ["--space", "lr=loguniform(1e-4, 1e-2)", "--space", "clip_param=uniform(0.1, 0.3)"]
    settings = [*TINY, "min_time_s_per_iteration=0.05"]
    return command(
        "tune", "predator_prey", *space, *options, "--no-mlflow", "--out", out, *more, *settings
    )


def results_of(trial):
    return [json.loads(line) for line in (trial / "result.json").read_text().splitlines()]


def iterations(out):
    """Trial -> iterations in the order of their results."""
    found = {}
    for trial in sorted(out.glob("trial_*")):
        path = trial / "result.json"
        lines = path.read_text().splitlines() if path.is_file() else []
        found[trial.name] = [
            json.loads(line)["training_iteration"] for line in lines if line.endswith("}")
        ]
    return found


def check_finished(out):
    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == SAMPLES
    assert {row["status"] for row in rows} == {"finished"}
    assert {int(row["steps"]) for row in rows} == {64 * ITERATIONS}
    assert len({row["lr"] for row in rows}) == SAMPLES
    for trial, numbers in iterations(out).items():
        # What was trained after the last checkpoint of a killed trial is trained again.
        assert sorted(set(numbers)) == list(range(1, ITERATIONS + 1)), trial
        lr = {result["config"]["lr"] for result in results_of(out / trial)}
        assert len(lr) == 1, trial


def test_a_killed_search_goes_on_with_the_same_trials(command, tmp_path):
    out = tmp_path / "search"
    running = search(command, out)
    # Some are done, some are under way, some have not begun.
    assert running.wait_until(
        lambda: sum(map(len, iterations(out).values())) >= ITERATIONS * 5 // 2, seconds=180.0
    )
    running.kill()
    running.survivors(seconds=20.0)
    done_before = {
        name: (out / name / "result.json").read_text()
        for name, numbers in iterations(out).items()
        if numbers and numbers[-1] == ITERATIONS
    }
    again = search(command, out, "--resume")
    status, printed, err = again.end()
    assert status == 0, err
    check_finished(out)
    for name, text in done_before.items():
        assert (out / name / "result.json").read_text() == text, f"{name} was run twice"
    assert done_before
    assert "finished" in printed


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_search_in_good_order(command, tmp_path, number, status):
    out = tmp_path / "search"
    running = search(command, out)
    assert running.wait_until(lambda: sum(map(len, iterations(out).values())) >= ITERATIONS)
    found, _, err = running.send(number)
    assert found == status, err
    assert running.survivors() == []
    assert (out / "trials.csv").is_file()
    status, _, err = search(command, out, "--resume-if-possible").end()
    assert status == 0, err
    check_finished(out)


def test_a_trial_that_is_killed_is_taken_up_from_its_checkpoint(command, tmp_path):
    out = tmp_path / "search"
    running = search(command, out)
    assert running.wait_until(lambda: sum(map(len, iterations(out).values())) >= 8)
    trials = [p for p in running.family if "AgentMixer" in _name(p)]
    assert trials
    killed = time.monotonic()
    os.kill(trials[0].pid, signal.SIGKILL)
    status, _, err = running.end()
    assert status == 0, err
    check_finished(out)
    print(f"search of {SAMPLES} trials ended {time.monotonic() - killed:.0f} s after the kill")


def _name(process):
    try:
        return process.name() + " ".join(process.cmdline())
    except psutil.Error:
        return ""
