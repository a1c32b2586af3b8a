"""Every trial of a search is one MLflow run, also after the search was killed and restored."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow.fs
import pytest
from mlflow import MlflowClient

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.tracking import MLflowCallback, RunIdentity

AWAY = "http://127.0.0.1:9"


class FakeTrial:
    """What the callback reads of a trial."""

    def __init__(self, root, name="trial_0", **config):
        self.trial_id = name
        self.trainable_name = "MAPPO"
        self.config = {"lr": 0.1, "seed": 3, "gamma": 0.9, "callbacks": dict, **config}
        self.evaluated_params = {"lr": self.config["lr"]}
        self.stopping_criterion = {"training_iteration": 3}
        self.last_result = {}
        self.storage = SimpleNamespace(
            storage_filesystem=pyarrow.fs.LocalFileSystem(),
            experiment_fs_path=str(root / "search"),
            trial_fs_path=str(root / "search" / name),
        )

    @property
    def folder(self):
        return Path(self.storage.trial_fs_path)


def result_of(trial, iteration, **more):
    trial.last_result = {
        "training_iteration": iteration,
        "num_env_steps_sampled_lifetime": 100 * iteration,
        "env_runners": {"episode_return_mean": float(iteration)},
        "environment": {"name": "climbing", "version": "1", "config": {}, "team_reward": "sum"},
        **more,
    }
    return trial.last_result


@pytest.fixture
def make_callback(mlflow_store):
    made = []

    def make(sweep="lr", **settings):
        settings = {"tracking_uri": mlflow_store, "send_every": 0.02, **settings}
        made.append(MLflowCallback(sweep, experiment="tune tests", **settings))
        return made[-1]

    yield make
    for callback in made:
        if callback._sender is not None:
            callback._sender.close(0)


def start(callback, trial):
    callback.on_trial_start(0, [trial], trial)


def report(callback, trial, iteration, **more):
    callback.on_trial_result(0, [trial], trial, result_of(trial, iteration, **more))


RETURN = "env_runners/episode_return_mean"


def test_a_trial_is_a_run_with_settings_stamp_and_metrics_by_step(tmp_path, make_callback, held):
    callback, trial = make_callback(tags={"team": "red"}), FakeTrial(tmp_path)
    callback.setup(stop=None, num_samples=1)
    start(callback, trial)
    for iteration in (1, 2, 3):
        report(callback, trial, iteration)
    callback.on_trial_complete(0, [trial], trial)
    callback.on_experiment_end([trial])
    now = held(trial.folder)
    assert now.points(RETURN) == [(100, 1.0), (200, 2.0), (300, 3.0)]
    tags = now.run.data.tags
    expected = {"sweep": "lr", "algorithm": "MAPPO", "seed": "3", "team": "red"}
    expected |= {"environment": "climbing", "team_reward": "sum", "stopped_by": "criterion"}
    assert {name: tags.get(name) for name in expected} == expected
    assert "mlflow.parentRunId" not in tags
    assert now.run.data.params["lr"] == "0.1"
    assert now.run.data.params["callbacks"] == "builtins.dict"
    assert now.run.info.status == "FINISHED"
    assert now.run.info.run_name == "trial_0"


@pytest.mark.parametrize(
    ("done_by_tune", "done_at_end", "who"),
    [(True, True, "scheduler"), (False, True, "trainable"), (False, False, "budget")],
)
def test_a_run_says_who_ended_it(tmp_path, make_callback, held, done_by_tune, done_at_end, who):
    callback, trial = make_callback(), FakeTrial(tmp_path)
    start(callback, trial)
    report(callback, trial, 1, **({"done": True} if done_by_tune else {}))
    trial.last_result["done"] = done_at_end
    callback.on_trial_complete(0, [trial], trial)
    callback.on_experiment_end([trial])
    assert held(trial.folder).run.data.tags["stopped_by"] == who


def test_errors_and_interruptions_are_told_apart(tmp_path, make_callback, held):
    callback = make_callback()
    trials = [FakeTrial(tmp_path, name) for name in ("failing", "interrupted", "complete")]
    for trial in trials:
        start(callback, trial)
        report(callback, trial, 1)
    callback.on_trial_error(0, trials, trials[0])
    callback.on_trial_complete(0, trials, trials[2])
    callback.on_experiment_end(trials)
    statuses = [held(trial.folder).run.info.status for trial in trials]
    assert statuses == ["FAILED", "KILLED", "FINISHED"]


def test_a_restored_trial_goes_on_in_its_run(tmp_path, make_callback, held):
    callback, trial = make_callback(), FakeTrial(tmp_path)
    start(callback, trial)
    for iteration in (1, 2):
        report(callback, trial, iteration)
    stored = pickle.dumps(callback)  # as Tune keeps it, in the middle of the search
    callback.on_experiment_end([trial])
    first = held(trial.folder).run.info
    assert first.status == "KILLED"
    again = pickle.loads(stored)  # noqa: S301 - our own
    start(again, trial)
    for iteration in (2, 3):
        report(again, trial, iteration)
    again.on_trial_complete(0, [trial], trial)
    again.on_experiment_end([trial])
    now = held(trial.folder)
    assert now.run.info.run_id == first.run_id
    assert now.run.info.status == "FINISHED"
    assert now.points(RETURN) == [(100, 1.0), (200, 2.0), (300, 3.0)]


def test_a_trial_that_failed_and_was_started_again_runs_again(tmp_path, make_callback, held):
    callback, trial = make_callback(), FakeTrial(tmp_path)
    start(callback, trial)
    callback.on_trial_error(0, [trial], trial)
    start(callback, trial)
    assert callback._sender.flush(10)
    assert held(trial.folder).run.info.status == "RUNNING"
    callback.on_experiment_end([trial])


def test_changed_settings_become_metrics(tmp_path, make_callback, held):
    callback, trial = make_callback(), FakeTrial(tmp_path)
    start(callback, trial)
    for iteration, lr in ((1, 0.1), (2, 0.1), (3, 0.05), (4, 0.05)):
        trial.config["lr"] = lr
        report(callback, trial, iteration)
    callback.on_experiment_end([trial])
    now = held(trial.folder)
    assert now.points("hyperparameter/lr") == [(100, 0.1), (300, 0.05)]
    assert now.run.data.params["lr"] == "0.1"
    assert "hyperparameter/gamma" not in now.run.data.metrics


def test_nested_runs_hang_below_one_run_of_the_search(tmp_path, make_callback, held):
    callback = make_callback("nested", nested=True)
    trials = [FakeTrial(tmp_path, name) for name in ("a", "b")]
    for trial in trials:
        start(callback, trial)
    callback.on_experiment_end(trials)
    parent = held(tmp_path / "search" / "mlflow_parent").run
    assert parent.info.run_name == "nested"
    assert parent.info.status == "FINISHED"
    for trial in trials:
        assert held(trial.folder).run.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_a_search_goes_on_without_its_store(tmp_path, make_callback, caplog):
    callback, trial = make_callback(tracking_uri=AWAY, flush_seconds=0.3), FakeTrial(tmp_path)
    callback.setup()
    start(callback, trial)
    report(callback, trial, 1)
    callback.on_experiment_end([trial])
    assert RunIdentity.read(trial.folder).run_id is None
    assert f"rllib-agentmixer sync {tmp_path / 'search'}" in caplog.text


def test_a_required_store_must_answer_at_the_start(make_callback):
    with pytest.raises(ConfigError, match="Connection refused"):
        make_callback(tracking_uri=AWAY, required=True).setup()


def test_a_folder_that_cannot_be_written_is_only_a_warning(tmp_path, make_callback, caplog):
    (tmp_path / "search").write_text("in the way")
    callback, trial = make_callback(), FakeTrial(tmp_path)
    start(callback, trial)
    report(callback, trial, 1)
    callback.on_trial_complete(0, [trial], trial)
    callback.on_experiment_end([trial])
    assert "cannot log" in caplog.text


SEARCH = """
import sys
import ray
from ray import tune
from rllib_agentmixer import MAPPOConfig
from rllib_agentmixer.runs.local_ray import keep_ray_private
from rllib_agentmixer.tracking import MLflowCallback

keep_ray_private()
where, store, what = sys.argv[1:]
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
         logging_level="ERROR", _node_ip_address="127.0.0.1")
config = (
    MAPPOConfig().environment("climbing").env_runners(num_envs_per_env_runner=4)
    .training(train_batch_size=64, lr=tune.grid_search([1e-3, 1e-2])).debugging(seed=0)
)
if what == "start":
    tuner = tune.Tuner(
        config.algo_class, param_space=config,
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(
            name="search", storage_path=where, stop={"training_iteration": 30}, verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=5),
            callbacks=[MLflowCallback("restored", tracking_uri=store, send_every=0.05)],
        ),
    )
else:
    tuner = tune.Tuner.restore(
        where + "/search", trainable=config.algo_class, param_space=config,
        resume_unfinished=True, resume_errored=True,
    )
results = tuner.fit()
assert results.num_errors == 0
"""


@pytest.mark.cluster
def test_a_search_that_was_killed_and_restored_repeats_no_run(tmp_path, mlflow_store):
    environment = os.environ | {"TUNE_GLOBAL_CHECKPOINT_S": "1"}
    command = [sys.executable, "-c", SEARCH, str(tmp_path), mlflow_store]
    first = subprocess.Popen([*command, "start"], env=environment, start_new_session=True)
    try:
        while not any(holds_row(path) for path in tmp_path.rglob("mlflow_spool.jsonl")):
            assert first.poll() is None
            time.sleep(0.1)
        time.sleep(2.0)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    subprocess.run([*command, "restore"], env=environment, check=True, timeout=300)
    client = MlflowClient(tracking_uri=mlflow_store)
    experiment = client.get_experiment_by_name("rllib_agentmixer").experiment_id
    runs = client.search_runs([experiment], "tags.sweep = 'restored'")
    assert sorted(float(run.data.params["lr"]) for run in runs) == [1e-3, 1e-2]
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.tags["stopped_by"] == "criterion"
        history = client.get_metric_history(run.info.run_id, "time/training_iteration")
        assert [int(point.value) for point in history] == list(range(1, 31))
        assert [point.step for point in history] == [64 * i for i in range(1, 31)]


def holds_row(path):
    return path.read_text().count('"metrics"') > 8
