"""Registered policies are found by alias, and act where nothing of ours is installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from rllib_agentmixer.cli import main
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.runtime import MANIFEST, load_policies
from rllib_agentmixer.tracking import RunIdentity
from rllib_agentmixer.tracking.remote_run import RemoteRun

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from rllib_agentmixer.export.model_registry import register_export
from rllib_agentmixer.export.onnx import add_onnx

STRANGER = """
import json, pickle, sys

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ray", "torch", "rllib_agentmixer"):
            raise ImportError(name + " must not be needed")

sys.meta_path.insert(0, Refusal())
import mlflow, numpy

def refuse(*arguments, **settings):
    raise RuntimeError("unpickled something")

pickle.load = pickle.loads = refuse
pickle.Unpickler = type("Unpickler", (), {"__init__": refuse})
address, inputs = json.loads(sys.argv[1])
mlflow.set_tracking_uri(address)
answers = {}
for name, steps in inputs.items():
    model = mlflow.pyfunc.load_model(name)
    actions, state = [], None
    for obs, mask in steps:
        feeds = {"obs": numpy.array([obs], numpy.float32)}
        names = model.metadata.get_input_schema().input_names()
        if "action_mask" in names:
            feeds["action_mask"] = numpy.array([mask], bool)
        if "state_in" in names:
            shape = model.metadata.get_input_schema().inputs[1].shape
            fresh = numpy.zeros((1, shape[1]), numpy.float32)
            feeds["state_in"] = fresh if state is None else state
        found = model.predict(feeds)
        state = found.get("state_out")
        actions.append(numpy.ravel(found["action"]).tolist())
    answers[name] = actions
try:
    model.predict({"obs": numpy.zeros((1, 999), numpy.float32)})
except mlflow.exceptions.MlflowException:
    answers["refused"] = True
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def trained(ray_cluster, tmp_path_factory):
    """An export in a run's folder: two agents with memory, in an environment with pictures."""
    from rllib_agentmixer import MAPPOConfig
    from rllib_agentmixer.export import export_policies

    config = (
        MAPPOConfig()
        .environment("predator_prey")
        .env_runners(num_envs_per_env_runner=2, observation_filter="MeanStdFilter")
        .training(train_batch_size=32, hidden_size=16, critic_hidden=(8,), use_gru=True, lr=0.02)
        .debugging(seed=0, log_sys_usage=False)
    )
    algorithm = config.build_algo()
    algorithm.train()
    folder = tmp_path_factory.mktemp("runs") / "run" / "exported"
    export_policies(algorithm, folder)
    algorithm.stop()
    add_onnx(folder)
    return folder


@pytest.fixture
def export_folder(trained, tmp_path):
    return Path(shutil.copytree(trained.parent, tmp_path / "run")) / "exported"


def steps_of(policy, count=30):
    rng = np.random.default_rng(1)
    sizes = policy.network.sizes
    steps = []
    for _ in range(count):
        mask = rng.random(sizes.num_actions) < 0.7
        mask[rng.integers(len(mask))] = True
        mask |= not policy.has_action_mask
        steps.append((rng.normal(size=sizes.obs_size).astype(np.float32).tolist(), mask.tolist()))
    return steps


def test_registered_policies_act_without_ray_torch_this_package_and_pickle(
    export_folder, mlflow_store
):
    versions = register_export(
        export_folder, "hunters", alias="champion", tracking_uri=mlflow_store
    )
    assert list(versions) == ["hunters-predator_0", "hunters-predator_1"]
    policies, inputs, expected = load_policies(export_folder), {}, {}
    for agent, policy in policies.items():
        address = f"models:/hunters-{agent}@champion"
        inputs[address] = steps_of(policy)
        state, expected[address] = policy.initial_state(), []
        for obs, mask in inputs[address]:
            action, state = policy.act(np.array(obs, np.float32), state, mask)
            expected[address].append([int(action)])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, json.dumps([mlflow_store, inputs])],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers.pop("refused")
    assert answers == expected
    assert len({tuple(action) for action in answers[address]}) > 1


def test_a_version_knows_its_run_and_its_environment(export_folder, mlflow_store, tmp_path):
    run_folder = export_folder.parent
    RunIdentity.fresh(mlflow_store, "registry", "run").write(run_folder)
    client = MlflowClient(tracking_uri=mlflow_store)
    run_id = RemoteRun(run_folder, client).run_id
    first = register_export(export_folder, "scouts", alias="champion")
    again = register_export(export_folder, "scouts", alias="champion")
    assert set(first.values()) == {"1"}
    assert set(again.values()) == {"2"}
    version = client.get_model_version_by_alias("scouts-predator_0", "champion")
    assert str(version.version) == "2"
    assert version.run_id == version.tags["run_id"] == run_id
    assert version.tags["environment"] == "predator_prey"
    assert version.tags["team_reward"] == "shared"
    assert len(version.tags["export.sha256"]) == 64
    requirements = client.download_artifacts(
        run_id, "models/scouts-predator_0/requirements.txt", str(tmp_path)
    )
    assert "onnxruntime==" in Path(requirements).read_text()


def test_graphs_that_were_changed_are_not_registered(export_folder, mlflow_store):
    path = export_folder / "agent_0.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(Exception, match=r"agent_0\.onnx is damaged: sha256"):
        register_export(export_folder, "spies", tracking_uri=mlflow_store)
    client = MlflowClient(tracking_uri=mlflow_store)
    assert not client.search_registered_models("name LIKE 'spies%'")


@pytest.mark.parametrize("name", ["", "a/b", "a:b"])
def test_a_name_that_mlflow_does_not_take_is_an_error(export_folder, mlflow_store, name):
    with pytest.raises(ConfigError, match="a model's name has letters"):
        register_export(export_folder, name, tracking_uri=mlflow_store)


def test_a_store_that_does_not_answer_is_an_error(export_folder):
    with pytest.raises(ConfigError, match="Connection refused"):
        register_export(export_folder, "x", tracking_uri="http://127.0.0.1:9")


def test_the_command_registers_an_export_and_shows_its_models(export_folder, mlflow_store, capsys):
    words = ["register", str(export_folder), "--name", "cli", "--alias", "best", "--json"]
    main([*words, "--tracking-uri", mlflow_store])
    report = json.loads(capsys.readouterr().out)
    assert report["models"] == ["models:/cli-predator_0/1", "models:/cli-predator_1/1"]
    assert (export_folder / MANIFEST).is_file()
