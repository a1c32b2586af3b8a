"""Rows of a search from what Ray Tune knows of its trials, without running any."""

import csv
from pathlib import Path

import pytest
from ray import tune

from rllib_agentmixer.search.domains import Domain
from rllib_agentmixer.search.plan import STEPS, SearchPlan
from rllib_agentmixer.search.results import records_of, write_summary

PLAN = SearchPlan(
    env="climbing",
    algorithm="ippo",
    space={"lr": Domain("uniform", (0, 1))},
    metric="a/b",
    steps=100,
)


def trial(name, scores=(), steps=100, error=None, done=True):
    metrics = {STEPS: steps, "done": done, "time_total_s": 12.34, "config": {"lr": 0.5}}
    return tune.Result(
        metrics=metrics,
        checkpoint=None,
        error=error,
        path=f"search/{name}",
        best_checkpoints=[
            (tune.Checkpoint(str(Path(f"search/{name}/{i}").absolute())), {"a": {"b": score}})
            for i, score in enumerate(scores)
        ],
    )


def only(*arguments, **settings):
    (record,) = records_of([trial(*arguments, **settings)], PLAN)
    return record


def test_the_best_trial_comes_first_and_those_without_a_score_last():
    results = [trial("none"), trial("low", [-3.0]), trial("high", [2.0]), trial("zero", [0.0])]
    found = records_of(results, PLAN)
    assert [record.name for record in found] == ["high", "zero", "low", "none"]


def test_of_a_trials_checkpoints_the_best_counts_and_of_equal_ones_the_last():
    record = only("t", [1.0, 3.0, 3.0, 2.0])
    assert (record.score, record.checkpoint) == (3.0, Path("search/t/2").absolute())
    assert only("t", [float("nan"), 1.0]).checkpoint == Path("search/t/1").absolute()
    assert only("t", [float("nan")]).checkpoint is None
    assert record.settings == {"lr": 0.5}
    assert (record.steps, record.seconds) == (100, 12.34)


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"steps": 100}, "finished"),
        ({"steps": 164}, "finished"),
        ({"steps": 64}, "stopped"),
        ({"steps": 64, "done": False}, "unfinished"),
        ({"steps": 64, "done": False, "error": ValueError("x")}, "failed"),
        ({"steps": 100, "error": ValueError("x")}, "failed"),
    ],
)
def test_how_a_trial_ended(settings, status):
    assert only("t", **settings).status == status


@pytest.mark.parametrize(
    ("text", "told"),
    [("Traceback\n  File x\nValueError: why\n", "ValueError: why"), ("", "RuntimeError('')")],
)
def test_of_an_error_its_last_line_is_told(text, told):
    assert only("t", error=RuntimeError(text)).error == told


def test_a_trial_that_was_killed_before_its_first_result_is_a_row(tmp_path):
    result = tune.Result(
        metrics=None, checkpoint=None, error=None, path="search/t", best_checkpoints=[]
    )
    records = records_of([result], PLAN)
    assert (records[0].status, records[0].steps, records[0].score) == ("unfinished", 0, None)
    with write_summary(records, tmp_path).open() as file:
        (row,) = csv.DictReader(file)
    assert (row["trial"], row["lr"], row["score"]) == ("t", "", "")
