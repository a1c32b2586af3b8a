"""Whole searches on a tiny game: what is written, what is shown, what fails and how."""

import csv
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from rllib_agentmixer import cli
from rllib_agentmixer.runs.checkpoints import find_checkpoint
from rllib_agentmixer.runtime import load_policies
from rllib_agentmixer.search.figure import save_parallel_coordinates
from rllib_agentmixer.search.plan import read_plan
from rllib_agentmixer.search.progress import SearchProgress
from rllib_agentmixer.search.results import TrialRecord, setting_of
from rllib_agentmixer.search.spaces import read_space
from rllib_agentmixer.utils.manifests import verify
from rllib_agentmixer.utils.nested import value_at

pytestmark = pytest.mark.usefixtures("ray_cluster")

TINY = (
    *("train_batch_size=64", "num_envs_per_env_runner=8", "rollout_fragment_length=8"),
    *("num_epochs=1", "hidden_size=8", "critic_hidden=[8]", "evaluation_duration=2"),
    *("log_sys_usage=false", "model.max_seq_len=5"),
)


def call(*arguments):
    """Exit status of a command in this process."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        return leaving.code
    return 0


@pytest.fixture(scope="module")
def searched(ray_cluster, tmp_path_factory):
    """Folder of a finished search of three trials."""
    out = tmp_path_factory.mktemp("searches") / "search"
    space = ("--space", "lr=choice(1e-3, 1e-2)", "--space", "igc=grid_search(strict, gumbel, none)")
    options = ("--samples", 1, "--steps", 192, "--scheduler", "none", "--out", out, "--no-mlflow")
    assert call("tune", "climbing", *space, *options, *TINY) == 0
    return out


def rows_of(out):
    return list(csv.DictReader((out / "trials.csv").open()))


def test_every_trial_is_a_row_with_its_settings_the_best_first(searched):
    rows = rows_of(searched)
    assert {row["igc"] for row in rows} == {"strict", "gumbel", "none"}
    assert all(float(row["lr"]) in (1e-3, 1e-2) for row in rows)
    assert [row["status"] for row in rows] == ["finished"] * 3
    assert [int(row["steps"]) for row in rows] == [192] * 3
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    for row in rows:
        results = (searched / row["trial"] / "result.json").read_text().splitlines()
        measured = [
            json.loads(line)["evaluation"]["individual"]["episode_return_mean"] for line in results
        ]
        assert len(measured) == 3
        assert float(row["score"]) in measured


def test_the_best_trials_checkpoint_and_policies_stand_beside_the_trials(searched):
    best = rows_of(searched)[0]
    verify(searched / "best" / "checkpoint")
    assert find_checkpoint(searched) == searched / "best" / "checkpoint"
    chosen = searched / best["trial"] / best["checkpoint"] / "algorithm_state.pkl"
    kept = searched / "best" / "checkpoint" / "algorithm_state.pkl"
    assert kept.read_bytes() == chosen.read_bytes()
    assert len(load_policies(searched / "best" / "exported")) == 2


def test_the_best_checkpoints_are_kept_and_not_the_newest(tmp_path):
    out, rate = tmp_path / "search", "info/learner/default_policy/learner_stats/cur_lr"
    space = ("--space", "gamma=choice(0.9, 0.99)", "lr_schedule=[[0,0.01],[256,0.0]]")
    options = ("--samples", 1, "--steps", 256, "--scheduler", "none", "--out", out, "--no-mlflow")
    assert call("tune", "climbing", "--metric", rate, *space, *options, *TINY) == 0
    (row,) = rows_of(out)
    # The score falls from the first iteration on.
    assert row["checkpoint"] == "checkpoint_000000"
    assert float(row["score"]) == pytest.approx(0.01)
    kept = sorted(path.name for path in out.glob("trial_*/checkpoint_*"))
    assert kept[:2] == ["checkpoint_000000", "checkpoint_000001"]
    assert len(kept) <= 3  # Tune keeps the newest one besides, to resume from


def test_a_figure_is_drawn(searched):
    header = (searched / "search.png").read_bytes()[:8]
    assert header == b"\x89PNG\r\n\x1a\n"


def test_a_finished_search_that_is_resumed_trains_nothing(searched, capsys):
    before = {path: path.read_text() for path in searched.glob("trial_*/result.json")}
    assert call("tune", "--resume", "--out", searched, "--json") == 0
    assert {path: path.read_text() for path in searched.glob("trial_*/result.json")} == before
    report = json.loads(capsys.readouterr().out)
    assert (report["trials"], report["finished"]) == (3, 3)


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["climbing", "--scheduler", "hyperband"], "scheduler must be one of asha, pbt, none"),
        (["climbing", "--search", "tpe"], "search must be one of random, optuna"),
        (["climbing", "--algo", "mapo"], "Did you mean 'mappo'"),
        (["climing"], "did you mean 'climbing'"),
        (["climbing", "--space", "lr=uniform(1, 0)"], "is empty"),
        (["climbing", "--space", "lr=uniform(0, 1)", "lr=0.1"], "both set (lr=0.1) and searched"),
        (["climbing", "--space", "gamma=uniform(0, 2)"], "got 2"),
        (["climbing", "evaluation_interval=5"], "omit evaluation_interval=5"),
        (["climbing", "--steps", "10", "--grace-steps", "11"], "at most steps (10)"),
        (["climbing", "--space", "env.repeet=choice(1, 2)"], "did you mean 'repeat'"),
        (["climbing", "--space", "evaluation_interval=choice(1, 2)"], "omit evaluation_int"),
        ([], "name an environment"),
        (["--resume"], "name an environment"),
        (["climbing", "hidden_size=0"], "hidden_size must be"),
        (["climbing", "env.repeats=3"], "did you mean 'repeat'"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_status_2(arguments, message, capsys, tmp_path):
    out = tmp_path / "search"
    if "--resume" not in arguments:
        arguments = [*arguments, "--out", str(out)]
    assert call("tune", *arguments, "--no-mlflow") == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_an_unavailable_server_is_reported_before_a_trial_begins(tmp_path, capsys):
    uri = ("--tracking-uri", "http://127.0.0.1:9")
    out = tmp_path / "search"
    assert call("tune", "climbing", "--out", out, *uri) == 2
    assert "cannot open the MLflow store http://127.0.0.1:9" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", 9], "samples=9 differs from the plan's 1"),
        (["--max-failures", 0], "max_failures=0 differs from the plan's 2"),
        (["--experiment", "e"], "experiment='e' differs"),
        (["--seed", 5], "seed=5 differs"),
        (["--space", "lr=uniform(0, 1)"], "space=lr=uniform(0, 1) differs"),
        (["climbing", "num_epochs=7"], "settings={'num_epochs': 7} differs"),
    ],
)
def test_a_resumed_search_refuses_other_options(searched, capsys, options, message):
    assert call("tune", "--resume", "--out", searched, *options) == 2
    assert message in capsys.readouterr().err


def test_a_resumed_search_accepts_its_own_options(searched):
    plan = read_plan(searched)
    place = ("--resume", "--out", searched, "--no-mlflow", "--seed", 0)
    assert call("tune", "climbing", *place, *TINY) == 0
    assert read_plan(searched) == plan


@pytest.mark.faults
def test_a_search_that_was_killed_before_its_first_trial_begins_when_it_is_resumed(
    searched, tmp_path, capsys
):
    out = tmp_path / "search"
    replace(read_plan(searched), space=read_space(["lr=choice(1e-3)"], "ippo")).write(out)
    assert call("tune", "--resume-if-possible", "--out", out, "climbing", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["trials"], report["finished"]) == (1, 1)
    (out / "tuner.pkl").unlink()
    assert call("tune", "--resume", "--out", out) == 2
    assert "Ray Tune's record of them is missing" in capsys.readouterr().err


@pytest.mark.faults
def test_a_metric_that_no_trial_reports_is_an_error(tmp_path, capsys):
    metric = "evaluation/individul/episode_return_mean"
    options = ("--metric", metric, "--space", "lr=choice(1e-3)", "--samples", 1, "--no-mlflow")
    assert call("tune", "climbing", "--out", tmp_path / "search", *options, *TINY) == 2
    message = capsys.readouterr().err
    assert "did you mean 'evaluation/individual/episode_return_mean'" in message


@pytest.mark.faults
def test_a_search_whose_trials_all_fail_reports_no_tracebacks(tmp_path, capsys):
    out = tmp_path / "search"
    options = ("--samples", 1, "--max-failures", 1, "--no-mlflow", "--out", out)
    assert call("tune", "climbing", "--space", "lr=choice(1e30)", *options, *TINY) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    place = out / "trial_00000" / "error.txt"
    assert f"trial_00000 failed and restarts from its last checkpoint: see {place}" in message
    assert f"trial_00000 failed: see {place}" in message
    assert place.is_file()
    assert [row["status"] for row in rows_of(out)] == ["failed"]
    assert not (out / "best").exists()


def test_another_environment_is_refused(searched, capsys):
    assert call("tune", "predator_prey", "--resume", "--out", searched) == 2
    assert "env='predator_prey' differs" in capsys.readouterr().err


def test_a_file_is_no_folder_of_a_search(tmp_path, capsys):
    (tmp_path / "file").write_text("text")
    assert call("tune", "climbing", "--out", tmp_path / "file", "--no-mlflow") == 2
    assert "cannot write to" in capsys.readouterr().err


def test_a_folder_in_use_is_not_searched_in_again(searched, capsys):
    assert call("tune", "climbing", "--out", searched, "--no-mlflow") == 2
    assert "add --resume to resume the search in it" in capsys.readouterr().err


def test_a_folder_that_holds_no_search_cannot_be_resumed(tmp_path, capsys):
    assert call("tune", "--resume", "--out", tmp_path) == 2
    assert "holds no search to resume" in capsys.readouterr().err


# Results.


def test_values_are_found_at_any_depth():
    result = {"a": {"b": 1.0, "c": float("nan")}, "d": "x"}
    assert value_at(result, "a/b") == 1.0
    assert value_at(result, "a/c") is None
    assert value_at(result, "a/x") is None
    assert value_at(result, "d/e") is None
    config = {"lambda": 0.9, "env_config": {"repeat": 2}, "model": {"max_seq_len": 5}}
    names = ("lambda_", "env.repeat", "model.max_seq_len")
    assert [setting_of(config, name) for name in names] == [0.9, 2, 5]


def record(name, score, **settings):
    return TrialRecord(name, "finished", settings, score, 10, 1.0, None, None)


@pytest.mark.parametrize("scores", [[1.0, 2.0, None], [3.0], [5.0, 5.0], []])
def test_trials_of_all_kinds_are_drawn(tmp_path, scores):
    space = read_space(["lr=loguniform(1e-4, 1)", "igc=choice(a, b)", "k=randint(1, 9)"], "ippo")
    records = [
        record(str(i), score, lr=10.0 ** -(i + 1), igc="ab"[i % 2], k=i + 1)
        for i, score in enumerate(scores)
    ]
    save_parallel_coordinates(records, space, tmp_path / "figure.png", "score")
    assert (tmp_path / "figure.png").stat().st_size > 5000


# Progress.


def trial_of(name, status):
    return SimpleNamespace(trial_id=f"x_{name}", status=status, config={"lr": 0.1}, path="p")


def shown(is_terminal):
    progress = SearchProgress("a/b", ["lr"], lines_every_s=0.0)
    progress.console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    trials = [trial_of("0", "RUNNING"), trial_of("1", "TERMINATED"), trial_of("2", "ERROR")]
    progress.setup()
    result = {"num_env_steps_sampled_lifetime": 1000, "a": {"b": 2.5}}
    progress.on_trial_result(1, trials, trials[0], result)
    progress.on_trial_result(1, trials, trials[0], result | {"a": {"b": 2.0}})
    progress.on_trial_result(1, trials, trials[1], result | {"a": {"b": 1.0}})
    progress.on_trial_error(1, trials, trials[2])
    progress.on_experiment_end(trials)
    return progress.console.file.getvalue()


def test_without_a_terminal_progress_is_plain_lines():
    text = shown(is_terminal=False)
    assert "\x1b" not in text
    assert "\r" not in text
    *_, error, last = text.splitlines()
    assert error == "trial_2 failed: see p/error.txt"
    assert last == "3 trials: 1 running, 1 done, 1 failed  2,000 steps  best 2.50 (trial_0)"


def test_a_terminal_shows_a_table():
    text = shown(is_terminal=True)
    assert "\x1b" in text
    assert "trial_1" in text


def test_progress_travels_without_its_terminal():
    import pickle

    progress = pickle.loads(pickle.dumps(SearchProgress("m", ["lr"])))  # noqa: S301 - our own
    assert (progress.metric, progress.searched) == ("m", ["lr"])
    assert progress.best == {}
