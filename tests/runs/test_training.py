"""A run ends at its limits or at a signal, and always leaves what resuming needs."""

import io
import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from rllib_agentmixer.errors import CheckpointError, ConfigError
from rllib_agentmixer.runs import training
from rllib_agentmixer.runs.checkpoints import RunCheckpoints
from rllib_agentmixer.runs.live_progress import LiveProgress, Snapshot, snapshot
from rllib_agentmixer.runs.progress_file import PROGRESS, read_progress
from rllib_agentmixer.runs.run_folder import claimed
from rllib_agentmixer.runs.training import RunPlan, read_workers
from rllib_agentmixer.tracking import store
from rllib_agentmixer.utils.manifests import write_manifest


class FakeAlgorithm:
    """Counts 10 steps an iteration; ``on_train`` may do what happens during one."""

    def __init__(self, on_train=None, iteration=0):
        self.iteration = iteration
        self.on_train = on_train or (lambda algorithm: None)
        self.saves = []
        self.team_spec = SimpleNamespace(version="7", team_reward="shared")
        self.config = SimpleNamespace(
            env="fake",
            evaluation_interval=None,
            env_config={"a": 1},
            seed=3,
            environment_stamp=lambda spec: {
                "name": "fake",
                "version": spec.version,
                "config": {"a": 1},
                "team_reward": spec.team_reward,
            },
            to_dict=lambda: {"lr": 1.0, "class": FakeAlgorithm, "function": len},
        )

    @property
    def num_env_steps(self):
        return 10 * self.iteration

    def train(self):
        self.iteration += 1
        self.on_train(self)
        return {
            "num_env_steps_sampled_lifetime": self.num_env_steps,
            "training_iteration": self.iteration,
            "env_runners": {"episode_return_mean": float(self.iteration)},
            "info": {"learner": {}},
        }

    def save_checkpoint(self, folder):
        self.saves.append((self.iteration, folder))
        os.makedirs(folder, exist_ok=True)
        write_manifest(Path(folder), {})


class FakeTracker:
    """Stands in for the MLflow tracker."""

    def __init__(self, folder, experiment, uri, **settings):
        self.logged, self.statuses, self.tags = [], [], {}
        self.given = {"experiment": experiment, "tracking_uri": uri, **settings}
        FakeTracker.last = self

    def log_results(self):
        self.statuses.append("results")

    def log_config(self, settings, tags):
        self.tags = tags

    def log(self, metrics, env_steps):
        self.logged.append(env_steps)

    def finish(self, status):
        self.statuses.append(status)


@pytest.fixture(autouse=True)
def _tracker(monkeypatch):
    monkeypatch.setattr(training, "MLflowTracker", FakeTracker)


def silent(plan):
    console = Console(file=io.StringIO())
    return LiveProgress(plan.total_steps, plan.time_limit_s, console=console)


def run(algorithm, plan):
    return training.run(algorithm, plan, silent(plan))


def plan_of(tmp_path, **settings):
    return RunPlan(out=tmp_path / "run", **{"total_steps": 50, **settings})


# How a run ends.


def test_a_run_ends_at_its_steps_with_a_checkpoint(tmp_path):
    algorithm, plan = FakeAlgorithm(), plan_of(tmp_path, checkpoint_every=2)
    outcome = run(algorithm, plan)
    assert [row["env_steps"] for row in outcome.rows] == [10, 20, 30, 40, 50]
    assert [iteration for iteration, _ in algorithm.saves] == [2, 4, 5]
    assert outcome.checkpoint == plan.out / "checkpoints" / "iteration_000005"
    assert not outcome.was_interrupted
    assert FakeTracker.last.logged == [10, 20, 30, 40, 50]
    assert FakeTracker.last.statuses == ["results", "FINISHED"]
    assert FakeTracker.last.tags["environment.version"] == "7"


def test_a_run_ends_at_its_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])

    def pass_time(algorithm):
        now[0] += 2.0

    plan = plan_of(tmp_path, total_steps=None, time_limit_s=5.0)
    outcome = run(FakeAlgorithm(pass_time), plan)
    assert [row["seconds"] for row in outcome.rows] == [2.0, 4.0, 6.0]


def test_a_run_needs_a_limit(tmp_path):
    with pytest.raises(ConfigError, match="needs --steps or --minutes"):
        run(FakeAlgorithm(), plan_of(tmp_path, total_steps=None))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_iteration_with_a_checkpoint(tmp_path, number):
    def interrupt(algorithm):
        if algorithm.iteration == 3:
            os.kill(os.getpid(), number)

    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    algorithm = FakeAlgorithm(interrupt)
    outcome = run(algorithm, plan_of(tmp_path))
    assert len(outcome.rows) == 3
    assert outcome.was_interrupted
    assert outcome.signal_number == number
    assert algorithm.saves[-1][0] == 3
    assert FakeTracker.last.statuses == ["results", "KILLED"]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_run_that_fails_is_marked_so_and_keeps_its_progress(tmp_path):
    def fail(algorithm):
        if algorithm.iteration == 2:
            raise RuntimeError("the environment broke")

    plan = plan_of(tmp_path)
    with pytest.raises(RuntimeError, match="the environment broke"):
        run(FakeAlgorithm(fail), plan)
    assert FakeTracker.last.statuses == ["results", "FAILED"]
    assert [row["env_steps"] for row in read_progress(plan.out)] == [10]


def test_without_mlflow_files_are_written_all_the_same(tmp_path):
    FakeTracker.last = None
    plan = plan_of(tmp_path, use_mlflow=False)
    run(FakeAlgorithm(), plan)
    assert FakeTracker.last is None
    settings = json.loads((plan.out / "config.json").read_text())
    assert settings["lr"] == 1.0
    assert settings["function"] == "builtins.len"
    assert settings["class"].endswith("FakeAlgorithm")
    assert len(read_progress(plan.out)) == 5


def test_what_the_plan_says_about_tracking_reaches_it(tmp_path):
    plan = plan_of(
        tmp_path, sweep="s", experiment="e", tracking_uri="http://store", tracking_optional=True
    )
    run(FakeAlgorithm(), plan)
    tracker = FakeTracker.last
    assert tracker.given == {"experiment": "e", "tracking_uri": "http://store", "optional": True}
    assert tracker.tags["sweep"] == "s"
    assert tracker.tags["algorithm"] == "FakeAlgorithm"


def test_a_folder_that_cannot_be_written_is_a_configuration_error(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot write to .*choose another --out"):
        run(FakeAlgorithm(), plan_of(tmp_path))


# Checkpoints.


def evaluating(values, **settings):
    """An algorithm that is evaluated in the iterations that ``values`` names."""

    class Evaluating(FakeAlgorithm):
        def train(self):
            result = super().train()
            if self.iteration in values:
                score = {"episode_return_mean": values[self.iteration]}
                result["evaluation"] = {"individual": score}
            return result

    algorithm = Evaluating(**settings)
    algorithm.config.evaluation_interval = 1
    return algorithm


def test_the_best_evaluation_is_saved_when_it_happens(tmp_path):
    algorithm = evaluating({2: 1.0, 3: 4.0, 4: 3.0})
    outcome = run(algorithm, plan_of(tmp_path, checkpoint_every=5, keep_checkpoints_num=1))
    assert [iteration for iteration, _ in algorithm.saves] == [2, 3, 5]
    checkpoints = RunCheckpoints(tmp_path / "run")
    assert [path.name for path in checkpoints.all] == ["iteration_000003", "iteration_000005"]
    assert (checkpoints.best.name, checkpoints.best.value) == ("iteration_000003", 4.0)
    assert outcome.checkpoint.name == "iteration_000005"


def test_without_evaluation_the_return_of_training_compares_checkpoints_that_are_due(tmp_path):
    algorithm = FakeAlgorithm()
    run(algorithm, plan_of(tmp_path, checkpoint_every=2))
    assert [iteration for iteration, _ in algorithm.saves] == [2, 4, 5]
    assert RunCheckpoints(tmp_path / "run").best.name == "iteration_000005"


def test_progress_shows_the_last_evaluation_until_the_next(tmp_path):
    plan, seen = plan_of(tmp_path), []
    progress = silent(plan)
    progress.show = lambda now: seen.append(now.individual_return)
    training.run(evaluating({2: 1.0, 4: 3.0}), plan, progress)
    assert math.isnan(seen[0])
    assert seen[1:] == [1.0, 1.0, 3.0, 3.0]


def test_any_metric_can_decide(tmp_path):
    algorithm = evaluating({1: 1.0, 2: 2.0})
    metric = "time/training_iteration"
    run(algorithm, plan_of(tmp_path, checkpoint_every=5, best_metric=metric))
    assert RunCheckpoints(tmp_path / "run").best.metric == metric


class FullDisk(FakeAlgorithm):
    full_at = ()

    def save_checkpoint(self, folder):
        if self.iteration in self.full_at:
            raise CheckpointError("could not save: No space left on device")
        super().save_checkpoint(folder)


def test_a_disk_that_is_full_for_a_while_costs_a_checkpoint_and_no_training(tmp_path, caplog):
    algorithm = FullDisk()
    algorithm.full_at = (2, 3)
    outcome = run(algorithm, plan_of(tmp_path, checkpoint_every=1))
    assert [iteration for iteration, _ in algorithm.saves] == [1, 4, 5]
    assert len(outcome.rows) == 5
    assert caplog.text.count("No space left on device. Training continues") == 2


def test_a_disk_that_stays_full_is_an_error_at_the_end(tmp_path):
    algorithm = FullDisk()
    algorithm.full_at = (2, 3, 4, 5)
    plan = plan_of(tmp_path, checkpoint_every=1)
    with pytest.raises(CheckpointError, match="No space left"):
        run(algorithm, plan)
    assert [path.name for path in RunCheckpoints(plan.out).all] == ["iteration_000001"]
    assert len(read_progress(plan.out)) == 5
    assert FakeTracker.last.statuses == ["results", "FAILED"]


# Resuming.


def test_resuming_continues_rows_and_seconds_without_duplicates(tmp_path):
    plan = plan_of(tmp_path)
    run(FakeAlgorithm(), plan)
    earlier = read_progress(plan.out)
    # The checkpoint is of iteration 3; rows 4 and 5 were written after it and come again.
    resumed = plan_of(tmp_path, total_steps=70, resume=True)
    outcome = run(FakeAlgorithm(iteration=3), resumed)
    assert [row["env_steps"] for row in outcome.rows] == [10, 20, 30, 40, 50, 60, 70]
    stamp = {"environment": None}
    assert read_progress(plan.out) == [row | stamp for row in outcome.rows]
    assert outcome.rows[:3] == earlier[:3]
    seconds = [row["seconds"] for row in outcome.rows]
    assert seconds == sorted(seconds)


def test_a_last_line_cut_short_by_a_crash_is_dropped(tmp_path):
    (tmp_path / PROGRESS).write_text('{"env_steps": 10}\n{"env_steps": 20}\n{"env_st')
    assert read_progress(tmp_path) == [{"env_steps": 10}, {"env_steps": 20}]
    assert read_progress(tmp_path / "nowhere") == []


def test_a_run_that_begins_takes_over_nothing(tmp_path):
    """Files of a run that was killed before its first checkpoint."""
    plan = plan_of(tmp_path)
    checkpoints = plan.out / "checkpoints"
    for name in (".iteration_000001-x", "iteration_000009"):
        (checkpoints / name).mkdir(parents=True)
    (plan.out / PROGRESS).write_text('{"env_steps": 10, "seconds": 99.0}\n')
    outcome = run(FakeAlgorithm(), plan)
    assert [row["env_steps"] for row in outcome.rows] == [10, 20, 30, 40, 50]
    assert outcome.rows[0]["seconds"] < 99
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best.json", "iteration_000005"]


def test_damage_is_passed_over_only_where_that_was_asked_for(tmp_path, monkeypatch):
    run(FakeAlgorithm(), plan_of(tmp_path, checkpoint_every=4))
    newest = RunCheckpoints(tmp_path / "run").newest
    write_manifest(newest, {})
    (newest / "agentmixer_manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match="Add --fall-back"):
        training.build(None, plan_of(tmp_path, resume=True))
    kind = SimpleNamespace(from_checkpoint=lambda path: path)
    config = SimpleNamespace(algo_class=kind)
    found = training.build(config, plan_of(tmp_path, resume=True, fall_back=True))
    assert Path(found).name == "iteration_000004"


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="nothing to resume"):
        training.build(None, plan_of(tmp_path, resume=True))


def test_a_finished_run_is_not_overwritten(tmp_path):
    run(FakeAlgorithm(), plan_of(tmp_path))
    with (
        pytest.raises(CheckpointError, match="add --resume to continue it"),
        claimed(tmp_path / "run", resume=False),
    ):
        pass


# Progress.


NOW = Snapshot(env_steps=1280, joint_return=-1.25, individual_return=2.5, mode_agreement=0.875)


def printed(terminal, now=NOW, **settings):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120)
    progress = LiveProgress(6400, console=console, **settings)
    with progress:
        progress.begin(0)
        progress.show(now)
        progress.show(now)
    return file.getvalue()


def test_without_a_terminal_a_plain_line_is_printed_now_and_then():
    text = printed(terminal=False)
    assert text.count("\n") == 1
    for part in ("1,280 steps", "joint    -1.25", "individual     2.50", "mode agreement 87.5%"):
        assert part in text
    assert "\x1b" not in text
    assert printed(terminal=False, lines_every_s=0.0).count("\n") == 2


def test_a_terminal_shows_a_live_table():
    text = printed(terminal=True)
    assert "\x1b" in text
    assert "mode agreement" in text
    assert "87.5%" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_what_an_algorithm_does_not_measure_is_a_dash(terminal):
    text = printed(terminal=terminal, now=replace(NOW, mode_agreement=math.nan))
    assert "nan" not in text
    assert "-" in text


@pytest.mark.parametrize(
    ("total", "limit", "expected"),
    [(1000, None, 90.0), (None, 60.0, 20.0), (1000, 60.0, 20.0), (50, None, 0.0)],
)
def test_the_time_left_is_that_of_the_nearer_limit(total, limit, expected):
    progress = LiveProgress(total, limit, console=Console(file=io.StringIO()))
    assert progress.seconds_left(env_steps=100, rate=10.0, elapsed=40.0) == expected


def test_before_the_first_rate_is_known_the_time_left_is_not():
    progress = LiveProgress(1000, console=Console(file=io.StringIO()))
    assert progress.seconds_left(0, math.nan, 0.0) == math.inf


def test_the_last_evaluation_is_shown_until_the_next():
    result = FakeAlgorithm().train()
    assert math.isnan(snapshot(result).individual_return)
    assert snapshot(result, 4.0).individual_return == 4.0
    result["evaluation"] = {"individual": {"episode_return_mean": 5.0}}
    result["info"]["learner"] = {"default_policy": {"learner_stats": {"mode_agreement": 0.5}}}
    assert snapshot(result, 4.0) == Snapshot(10, 1.0, 5.0, 0.5)


def test_a_run_remembers_how_many_workers_it_starts(tmp_path):
    assert read_workers(tmp_path) == 0
    settings = {"num_env_runners": 3, "evaluation_num_env_runners": 2}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert read_workers(tmp_path) == 5
    for text in ("{", "{}", "[]", '{"num_env_runners": null}'):
        (tmp_path / "config.json").write_text(text)
        assert read_workers(tmp_path) == 0


def test_a_terminal_shows_a_bar_of_steps_or_of_seconds():
    for total_steps, time_limit_s, bar in ((100, None, "40/100"), (None, 60.0, "0/60")):
        screen = Console(force_terminal=True, width=100, file=io.StringIO())
        progress = LiveProgress(total_steps, time_limit_s, console=screen)
        with progress:
            progress.begin(0)
            progress.show(Snapshot(40, -3.25, math.nan, 0.5))
        shown = screen.file.getvalue()
        assert bar in shown
        assert "-3.25" in shown
        assert "nan" not in shown


@pytest.mark.parametrize("use_mlflow", [True, False])
def test_the_store_is_opened_early_only_if_it_is_used(tmp_path, monkeypatch, use_mlflow):
    opened = []
    monkeypatch.setattr(store, "open_store", opened.append)
    plan = RunPlan(out=tmp_path, use_mlflow=use_mlflow, tracking_uri="http://store")
    with training.preparing(plan):
        pass
    assert opened == ["http://store"] * use_mlflow
