"""The command line: what it prints, what it writes, how it fails, and how it stops."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from rllib_agentmixer import cli
from rllib_agentmixer.commands.common import make_config
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.envs import ENVS
from rllib_agentmixer.errors import ConfigError, EnvContractError
from rllib_agentmixer.runs import local_ray
from rllib_agentmixer.runs.checkpoints import find_checkpoint
from rllib_agentmixer.runs.progress_file import read_progress
from rllib_agentmixer.runtime import load_policies
from rllib_agentmixer.utils.manifests import verify

# Before any command starts a Ray of its own.
pytestmark = pytest.mark.usefixtures("ray_cluster")

ROOT = Path(__file__).parents[1]
TINY = (
    "num_envs_per_env_runner=4",
    "train_batch_size=64",
    "num_epochs=1",
    "hidden_size=16",
    "critic_hidden=[8]",
    "model.max_seq_len=5",
    "env.max_steps=8",
    "evaluation_duration=4",
    "evaluation_interval=1",
    "log_sys_usage=false",
)


def call(capsys, *arguments):
    """Exit status, standard output and standard error of a command, run in this process."""
    status = 0
    capsys.readouterr()
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        status = leaving.code
    printed = capsys.readouterr()
    return SimpleNamespace(status=status, out=printed.out, err=printed.err)


def python(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def mlflow_run(out, store):
    run_id = json.loads((out / "mlflow_run.json").read_text())["run_id"]
    return MlflowClient(tracking_uri=store).get_run(run_id)


@pytest.fixture(scope="module")
def trained(ray_cluster, mlflow_store, tmp_path_factory):
    """Folder of a run of two iterations, made by the command itself."""
    out = tmp_path_factory.mktemp("cli") / "run"
    options = ["--steps", "128", "--out", str(out), "--tracking-uri", mlflow_store]
    cli.main(["train", "predator_prey", *options, "--seed", "4", "--json", *TINY])
    return out


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli_export") / "exported"
    cli.main(["export", str(trained), "--out", str(folder)])
    return folder


# Help and lists.


@pytest.mark.parametrize(
    ("commands", "loaded"),
    [
        ([["--help"], ["train", "--help"], ["--version"]], ""),
        ([["list", "--json"]], " torch"),  # entries hold their networks and learners
    ],
)
def test_help_and_list_start_without_ray(commands, loaded):
    code = f"""
import sys
from rllib_agentmixer import cli
for arguments in {commands}:
    try:
        cli.main(arguments)
    except SystemExit as leaving:
        assert leaving.code == 0, leaving.code
print("loaded:", *sorted({{"ray", "torch", "mlflow"}} & set(sys.modules)))
"""
    run = python("-c", code)
    assert run.returncode == 0, run.stderr
    *printed, found = run.stdout.splitlines()
    assert found == f"loaded:{loaded}"
    for command in ("train", "evaluate", "export", "list", "demo") if not loaded else ():
        assert any(line.split()[:1] == [command] for line in printed)


def test_the_module_runs_as_the_command():
    run = python("-m", "rllib_agentmixer", "--version")
    assert run.returncode == 0
    assert "0.1.0" in run.stdout


def test_list_names_everything_that_can_be_chosen(capsys):
    content = json.loads(call(capsys, "list", "--json").out)
    assert set(content["environments"]) == set(ENVS)
    assert list(content["algorithms"]) == list(ALGORITHMS)
    settings = {name for name, _, _ in content["settings"]}
    assert {"igc", "modifier_lr", "lr", "num_epochs"} <= settings
    table = call(capsys, "list").out
    assert "predator_prey" in table
    assert "modifier_lr" in table
    assert "env_steps, value" in " ".join(table.split())  # brackets are no markup


def test_list_shows_the_settings_of_one_algorithm(capsys):
    for name in ("mappo", "ippo"):
        rows = json.loads(call(capsys, "list", "--algo", name, "--json").out)["settings"]
        defaults = {setting: default for setting, default, _ in rows}
        assert "modifier_lr" not in defaults
        assert defaults["critic_input"] == {"mappo": "state", "ippo": "obs"}[name]


# Errors.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "predatorprey"], "did you mean 'predator_prey'"),
        (["train", "no_module_of_that_name:make"], "there is no module"),
        (["train", "predator_prey", "--algo", "agentmixr"], "Did you mean 'agentmixer'?"),
        (["train", "predator_prey", "modifier_rl=1"], "Did you mean 'modifier_lr'?"),
        (["train", "predator_prey", "model.max_seq_length=1"], "Did you mean 'max_seq_len'?"),
        (["train", "predator_prey", "env.penality=-1"], "did you mean 'penalty'"),
        (["train", "predator_prey", "env.penalty=1"], "must be at most 0"),
        (["train", "predator_prey", "igc=lenient"], "igc must be one of"),
        (["train", "predator_prey", "gamma=2"], "gamma must be a number in [0, 1], got 2"),
        (["train", "predator_prey", "lr"], "settings are written key=value, got 'lr'"),
        (["train", "predator_prey", "use_gae=false"], "use_gae=False has no effect here"),
        (["train", "predator_prey", "seed=text"], "seed must be None or one of 0..42"),
        (["train", "predator_prey", "evaluation_seed=text"], "evaluation_seed must be None or"),
        (["train", "predator_prey", "rollout_fragment_length=0"], "rollout_fragment_length must"),
        (["train", "predator_prey", "callbacks_class=foo"], "must be a subclass of RLlibCallback"),
        (["train", "predator_prey", "algo_class=foo"], "must be a subclass of Algorithm"),
        (["train", "predator_prey", "output=episodes"], "only complete episodes should be"),
        (["train", "predator_prey", "evaluation_duration=0"], "evaluation_duration must be"),
        (["train", "predator_prey", "learner_threads=100000"], "None or one of 1..256"),
        (["train", "predator_prey", "hidden_size=1000000000"], "hidden_size must be one of 1..8"),
        (["train", "predator_prey", "critic_hidden=[1000000000]"], "integers of 1..8192"),
        (["train", "predator_prey", "num_envs_per_env_runner=1000000"], "one of 1..65536"),
        (["train", "predator_prey", "x=" + "[" * 100_000], "a value is nested too deeply: [["),
        (["train", "predator_prey", "--out", "a" * 300], "File name too long; choose another"),
        (["evaluate", "a" * 300], "File name too long; choose another path"),
        (["evaluate", "nowhere"], "nowhere does not exist"),
        (["export", "nowhere", "--out", "x"], "nowhere does not exist"),
        (["evaluate", "tests"], "holds no checkpoint of this package"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(ROOT)
    done = call(capsys, *arguments)
    assert done.status == 2
    assert words in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert done.out == ""


@pytest.mark.parametrize("command", sorted(cli.cli.commands))
def test_help_shows_no_marks_of_its_formatting(capsys, command):
    done = call(capsys, command, "--help")
    assert done.status == 0
    assert "\\b" not in done.out
    assert "\b" not in done.out
    if command in ("train", "tune", "check-env"):
        assert "\n  Examples:\n    rllib-agentmixer " in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["train", "predator_prey", "--steps", "0"],
        ["train", "predator_prey", "--minutes", "0"],
        ["train", "predator_prey", "--workers", "-1"],
        ["evaluate", "x", "--policy", "both"],
        ["trian"],
    ],
)
def test_a_wrong_option_prints_usage_and_status_2(capsys, arguments):
    done = call(capsys, *arguments)
    assert done.status == 2
    assert "Usage:" in done.err
    assert "Error:" in done.err


def test_an_error_of_the_package_itself_keeps_its_traceback(monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("rllib_agentmixer.commands.train.make_config", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main(["train", "predator_prey"])


def test_the_packages_error_is_found_inside_those_of_ray():
    known = EnvContractError("agent a sent NaN")
    remote = RuntimeError("RayTaskError")
    remote.cause = known
    chained = RuntimeError("outer")
    chained.__cause__ = remote
    assert cli.user_error(chained) is known
    assert cli.user_error(known) is known
    assert cli.user_error(ValueError("other")) is None
    assert cli.user_error(None) is None
    circle = RuntimeError("round")
    circle.cause = circle
    assert cli.user_error(circle) is None


# Training, evaluating, exporting.


def test_training_leaves_checkpoint_progress_settings_and_a_run(trained, mlflow_store):
    verify(find_checkpoint(trained))
    rows = read_progress(trained)
    assert [row["env_steps"] for row in rows] == [64, 128]
    assert all("evaluation/individual/episode_return_mean" in row for row in rows)
    settings = json.loads((trained / "config.json").read_text())
    assert settings["hidden_size"] == 16
    assert settings["env_config"] == {"max_steps": 8}
    assert settings["seed"] == 4
    run = mlflow_run(trained, mlflow_store)
    assert run.info.status == "FINISHED"
    assert run.data.params["hidden_size"] == "16"
    assert run.data.tags["environment"] == "predator_prey"
    last = rows[-1]["env_runners/episode_return_mean"]
    assert run.data.metrics["env_runners/episode_return_mean"] == pytest.approx(last)


def test_training_reports_as_json_or_as_a_table(capsys, ray_cluster, tmp_path):
    common = ["train", "climbing", "--steps", "64", "--no-mlflow", *TINY]
    common.remove("env.max_steps=8")
    done = call(capsys, *common, "--out", tmp_path / "a", "--json")
    assert done.status == 0
    report = json.loads(done.out)
    assert report["env_steps"] == 64
    assert report["checkpoint"] == str(find_checkpoint(tmp_path / "a"))
    assert report["interrupted"] is False
    assert -30 <= report["joint_return"] <= 11
    assert -30 <= report["individual_return"] <= 11
    done = call(capsys, *common, "--out", tmp_path / "b")
    assert "agentmixer on climbing" in done.out
    assert "next: rllib-agentmixer export" in done.out
    assert not (tmp_path / "a" / "mlflow_run.json").exists()


def test_a_run_is_not_overwritten(capsys, trained):
    before = (trained / "progress.jsonl").read_text()
    done = call(capsys, "train", "predator_prey", "--out", trained, "--no-mlflow", *TINY)
    assert done.status == 2
    assert "add --resume to continue it" in done.err
    assert (trained / "progress.jsonl").read_text() == before


def test_resuming_needs_a_run(capsys, ray_cluster, tmp_path):
    done = call(capsys, "train", "predator_prey", "--out", tmp_path / "new", "--resume")
    assert done.status == 2
    assert "nothing to resume" in done.err


def test_resuming_with_another_setting_is_refused(capsys, trained):
    done = call(
        capsys,
        "train",
        "predator_prey",
        "--out",
        trained,
        "--resume",
        "--no-mlflow",
        *TINY,
        "lr=0.3",
    )
    assert done.status == 2
    assert "lr=0.3 differs from the run's own 0.0005" in done.err


def test_a_resumed_run_refuses_other_words_and_takes_its_own(capsys, ray_cluster, tmp_path):
    settings = [setting for setting in TINY if not setting.startswith("env.")]
    run = ["train", "climbing", "--out", tmp_path / "run", "--no-mlflow", *settings]
    assert call(capsys, *run, "--resume-if-possible", "--steps", 64, "--algo", "mappo").status == 0
    for other, message in (
        (["--algo", "ippo"], "algorithm='ippo' differs from the run's own 'mappo'"),
        (["--seed", 5], "seed=5 differs from the run's own 0"),
    ):
        done = call(capsys, *run, "--resume", *other)
        assert done.status == 2
        assert message in done.err
    # An option that is not given cannot differ: the checkpoint stores its algorithm.
    done = call(capsys, *run, "--resume-if-possible", "--steps", 128)
    assert done.status == 0, done.err
    assert "mappo on climbing" in done.out
    assert [row["env_steps"] for row in read_progress(tmp_path / "run")] == [64, 128]


def test_options_of_a_run_reach_its_plan(monkeypatch, capsys, tmp_path):
    plans = []

    class EnoughError(Exception):
        pass

    def build(config, plan):
        plans.append(plan)
        raise EnoughError

    monkeypatch.setattr("rllib_agentmixer.runs.training.build", build)
    words = ["--minutes", 2, "--checkpoint-every", 7, "--keep-checkpoints", 5, "--fall-back"]
    words += ["--sweep", "s", "--no-mlflow", "--resume-if-possible", "--tracking-optional"]
    for more in ([], ["--steps", 9]):
        with pytest.raises(EnoughError):
            call(capsys, "train", "climbing", "--out", tmp_path / "run", *words, *more)
    first, second = plans
    assert (first.total_steps, first.time_limit_s) == (None, 120.0)
    assert (second.total_steps, second.time_limit_s) == (9, 120.0)
    assert (first.checkpoint_every, first.keep_checkpoints_num, first.sweep) == (7, 5, "s")
    assert (first.fall_back, first.resume, first.use_mlflow) == (True, False, False)
    assert first.tracking_optional


def test_evaluation_plays_both_policies_side_by_side_or_one(capsys, trained):
    done = call(capsys, "evaluate", trained, "--episodes", 6, "--json")
    both = json.loads(done.out)
    assert both.keys() == {"individual", "joint", "central_gap", "environment"}
    assert both["joint"]["num_episodes"] == both["individual"]["num_episodes"] == 6
    assert both["central_gap"] == 0.0
    one = call(capsys, "evaluate", find_checkpoint(trained), "--episodes", 6, "--json")
    assert json.loads(one.out) == both
    assert both["environment"]["team_reward"] == "shared"
    for policy in ("individual", "joint"):
        options = ["--policy", policy, "--episodes", 6, "--json"]
        alone = json.loads(call(capsys, "evaluate", trained, *options).out)
        assert alone == {name: both[name] for name in (policy, "environment")}
    sampled = call(capsys, "evaluate", trained, "--episodes", 6, "--json", "--sample")
    assert json.loads(sampled.out)["joint"] != both["joint"]
    assert "joint/episode_return_mean" in call(capsys, "evaluate", trained, "--episodes", 2).out


def test_evaluation_draws_an_episode(capsys, trained, tmp_path):
    gif = tmp_path / "episode.gif"
    done = call(capsys, "evaluate", trained, "--episodes", 1, "--render", gif, "--json")
    assert json.loads(done.out)["gif"] == str(gif)
    assert gif.read_bytes().startswith(b"GIF8")


def test_an_export_is_reported_with_its_proof(capsys, trained, tmp_path):
    done = call(capsys, "export", trained, "--out", tmp_path / "exported", "--json")
    report = json.loads(done.out)
    assert report["agents"] == ["predator_0", "predator_1"]
    assert report["parity"]["modes_equal"]
    assert set(load_policies(tmp_path / "exported")) == set(report["agents"])


def test_an_export_is_evaluated_in_a_process_that_has_no_ray(exported):
    code = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ray":
            raise ImportError("ray is not installed here")

sys.meta_path.insert(0, Blocker())
from rllib_agentmixer.cli import main
main(["evaluate", {str(exported)!r}, "--episodes", "3", "--json"])
"""
    run = python("-c", code)
    assert run.returncode == 0, run.stderr
    results = json.loads(run.stdout)
    assert results["individual"]["num_episodes"] == 3
    assert results["individual"]["uses_ray"] is False


def test_an_export_holds_no_joint_policy(capsys, exported):
    done = call(capsys, "evaluate", exported, "--policy", "joint")
    assert done.status == 2
    assert "holds no joint policy" in done.err


# Stopping and resuming, in processes of their own.


def interrupted(out, store, number, *options):
    """Train without end, send a signal after the first iteration, and wait."""
    command = ["-m", "rllib_agentmixer", "train", "predator_prey", "--steps", "100000000"]
    command += ["--out", str(out), "--tracking-uri", store, *options, *TINY]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = []
    for line in process.stderr:
        seen.append(line)
        if "steps/s" in line:
            process.send_signal(number)
            break
    out_text, err_text = process.communicate(timeout=120)
    return SimpleNamespace(status=process.returncode, out=out_text, err="".join(seen) + err_text)


def test_signals_end_a_run_with_a_checkpoint_and_it_resumes_in_the_same_place(
    capsys, ray_cluster, mlflow_store, tmp_path
):
    out = tmp_path / "run"
    stopped = interrupted(out, mlflow_store, signal.SIGTERM)
    assert stopped.status == 143, stopped.err
    assert "Traceback" not in stopped.err
    verify(find_checkpoint(out))
    run = mlflow_run(out, mlflow_store)
    assert run.info.status == "KILLED"
    first = read_progress(out)
    assert first

    stopped = interrupted(out, mlflow_store, signal.SIGINT, "--resume")
    assert stopped.status == 130, stopped.err
    assert "Traceback" not in stopped.err
    second = read_progress(out)
    assert second[: len(first)] == first
    assert len(second) > len(first)
    again = mlflow_run(out, mlflow_store)
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "KILLED"

    target = int(second[-1]["env_steps"]) + 128
    options = ["--steps", target, "--out", out, "--tracking-uri", mlflow_store, "--json"]
    done = call(capsys, "train", "predator_prey", "--resume", *options, *TINY)
    assert done.status == 0, done.err
    assert json.loads(done.out)["env_steps"] == target
    steps = [row["env_steps"] for row in read_progress(out)]
    assert steps == list(range(64, target + 1, 64))
    finished = mlflow_run(out, mlflow_store)
    assert finished.info.run_id == run.info.run_id
    assert finished.info.status == "FINISHED"


# Ray on this machine.


def test_a_private_ray_asks_for_a_token_of_its_own(monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    local_ray.keep_ray_private()
    first = os.environ["RAY_AUTH_TOKEN"]
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(first) == 64
    del os.environ["RAY_AUTH_MODE"]
    local_ray.keep_ray_private()
    assert os.environ["RAY_AUTH_TOKEN"] != first


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_ADDRESS", "10.0.0.1:6379"), ("RAY_AUTH_MODE", "disabled")]
)
def test_the_settings_of_a_cluster_are_left_alone(monkeypatch, name, value):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_A")}
    monkeypatch.setattr(os, "environ", {**clean, name: value})
    local_ray.keep_ray_private()
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert os.environ[name] == value


def test_ray_joins_the_cluster_of_the_environment_or_starts_on_the_loopback(monkeypatch):
    import ray

    from rllib_agentmixer.runs import ray_cluster

    calls = []
    asked = []
    monkeypatch.setattr(ray_cluster, "check_answers", asked.append)
    monkeypatch.setattr(ray_cluster, "wait_for_cpus", asked.append)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **settings: calls.append(settings))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    local_ray.start_ray(2)
    monkeypatch.delenv("RAY_ADDRESS")
    local_ray.start_ray(63)
    joined, private = calls
    assert joined["address"] == "10.0.0.1:6379"
    assert asked == ["10.0.0.1:6379", 2]
    assert private["address"] == "local"
    assert private["_node_ip_address"] == "127.0.0.1"
    assert private["include_dashboard"] is False
    assert private["num_cpus"] >= 64


def test_configurations_of_the_command_line_are_checked_before_anything_starts():
    with pytest.raises(ConfigError, match="hidden_size"):
        make_config("predator_prey", "agentmixer", 0, 0, ("hidden_size=0",))


def test_a_checkpoint_is_registered_in_the_store_of_its_run(trained, mlflow_store, capsys):
    pytest.importorskip("onnxscript")
    done = call(
        capsys, "register", trained, "--name", "from_run", "--env", "predator_prey", "--json"
    )
    assert done.status == 0, done.err
    models = json.loads(done.out.splitlines()[-1])["models"]
    assert models == ["models:/from_run-predator_0/1", "models:/from_run-predator_1/1"]
    version = MlflowClient(tracking_uri=mlflow_store).get_model_version("from_run-predator_0", "1")
    assert version.run_id == mlflow_run(trained, mlflow_store).info.run_id
