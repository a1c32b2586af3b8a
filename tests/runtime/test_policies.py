"""Exported policies act where nothing but PyTorch is installed, and check what they are given."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import rllib_agentmixer
from rllib_agentmixer import AgentMixerConfig, runtime
from rllib_agentmixer.errors import EnvContractError
from rllib_agentmixer.export import export_policies
from rllib_agentmixer.play import main as play
from rllib_agentmixer.play import play_export
from rllib_agentmixer.runtime import load_policies

pytestmark = pytest.mark.usefixtures("ray_cluster")

ROOT = Path(__file__).parents[1]


def export(folder, env, env_config, **training):
    config = (
        AgentMixerConfig()
        .environment(env, env_config=env_config)
        .env_runners(num_envs_per_env_runner=4)
        .training(train_batch_size=32, num_epochs=1, hidden_size=16, **training)
        .debugging(seed=5, log_sys_usage=False)
    )
    algorithm = config.build_algo()
    algorithm.train()
    export_policies(algorithm, folder)
    algorithm.stop()
    return folder


@pytest.fixture(scope="module")
def discrete(ray_cluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("discrete") / "exported"
    return export(folder, "predator_prey", {"max_steps": 9}, use_gru=True)


@pytest.fixture(scope="module")
def continuous(ray_cluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("continuous") / "exported"
    return export(folder, "continuous_game", {"dimensions": 2})


BLOCKED = ("ray", "gymnasium", "pettingzoo", "safetensors", "jaxtyping", "mlflow", "supersuit")
ALONE = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is not installed here")

sys.meta_path.insert(0, Blocker())
from rllib_agentmixer.runtime import load_policies
chosen = {{}}
for folder in sys.argv[1:]:
    for name, policy in load_policies(folder).items():
        size = policy.network.sizes.obs_size
        action, state = policy.act([0.5] * size, policy.initial_state())
        action, _ = policy.act([0.25] * size, state)
        chosen[name] = action if isinstance(action, int) else action.tolist()
print(json.dumps(chosen))
"""


def test_policies_act_in_a_process_without_ray_gymnasium_or_pettingzoo(discrete, continuous):
    code = ALONE.format(blocked=BLOCKED)
    run = subprocess.run(
        [sys.executable, "-c", code, str(discrete), str(continuous)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    chosen = json.loads(run.stdout)
    for name, policy in {**load_policies(discrete), **load_policies(continuous)}.items():
        size = policy.network.sizes.obs_size
        _, state = policy.act([0.5] * size, policy.initial_state())
        action, _ = policy.act([0.25] * size, state)
        assert np.asarray(chosen[name]) == pytest.approx(np.asarray(action), abs=1e-6)


def test_the_runtime_never_unpickles():
    tree = ast.parse(Path(runtime.__file__).read_text())
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {"torch.load", "pickle.load", "pickle.loads", "eval", "exec"}
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert not imported & {"pickle", "cloudpickle", "ray", "gymnasium", "numpy"}


def test_discrete_actions_are_python_integers(discrete):
    policy = load_policies(discrete)["predator_0"]
    obs = np.zeros(policy.network.sizes.obs_size, np.float32)
    for explore in (False, True):
        action, state = policy.act(obs, policy.initial_state(), explore=explore)
        assert type(action) is int
        assert 0 <= action < 5
        assert state.shape == policy.initial_state().shape


def test_continuous_actions_come_as_their_observation_came_and_within_bounds(continuous):
    policy = load_policies(continuous)["agent_0"]
    policy.seed(0)
    obs = np.array([0.5, -0.5], np.float32)
    assert policy.initial_state() is None
    for _ in range(50):
        action, _ = policy.act(obs, explore=True)
        assert isinstance(action, np.ndarray)
        assert action.shape == (2,)
        assert np.abs(action).max() <= 1
    action, _ = policy.act(torch.tensor([0.5, -0.5]))
    assert isinstance(action, torch.Tensor)
    assert action.numpy() == pytest.approx(policy.act(obs)[0])


def test_memory_goes_on_only_with_the_state_that_is_handed_in(discrete):
    policy = load_policies(discrete)["predator_0"]
    size = policy.network.sizes.obs_size
    assert policy.is_recurrent
    first, state = policy.head(np.ones(size), policy.initial_state())
    again, _ = policy.head(np.ones(size), policy.initial_state())
    later, _ = policy.head(np.ones(size), state)
    assert first.equal(again)
    assert not first.equal(later)


def test_sampled_actions_repeat_under_a_seed(discrete):
    policy = load_policies(discrete)["predator_0"]
    obs = np.zeros(policy.network.sizes.obs_size)

    def sample(seed):
        policy.seed(seed)
        return [policy.act(obs, policy.initial_state(), explore=True)[0] for _ in range(40)]

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    assert set(sample(1)) == set(range(5))


@pytest.mark.parametrize("explore", [False, True])
def test_only_legal_actions_are_taken(discrete, explore):
    policy = load_policies(discrete)["predator_0"]
    obs = np.zeros(policy.network.sizes.obs_size)
    for legal in range(5):
        mask = [int(action == legal) for action in range(5)]
        assert policy.act(obs, policy.initial_state(), mask, explore)[0] == legal
        both = {"observation": obs, "action_mask": np.array(mask, np.int8)}
        assert policy.act(both, policy.initial_state(), explore=explore)[0] == legal


# What agents are given is checked.


def test_an_observation_of_a_wrong_size_names_the_agent_and_both_sizes(discrete):
    policy = load_policies(discrete)["predator_1"]
    with pytest.raises(
        EnvContractError,
        match=r"predator_1: the observation does not fit \(3 entries instead of 28\)",
    ):
        policy.act(np.zeros(3), policy.initial_state())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_observation_that_is_not_finite_names_the_agent(discrete, value):
    policy = load_policies(discrete)["predator_1"]
    obs = np.zeros(policy.network.sizes.obs_size)
    obs[4] = value
    with pytest.raises(EnvContractError, match="predator_1: observation is not finite"):
        policy.act(obs, policy.initial_state())


@pytest.mark.parametrize("mask", [[0, 0, 0, 0, 0], [1, 1]])
def test_a_mask_that_allows_nothing_or_does_not_fit_names_the_agent(discrete, mask):
    policy = load_policies(discrete)["predator_1"]
    obs = np.zeros(policy.network.sizes.obs_size)
    with pytest.raises(EnvContractError, match="predator_1: action mask must allow one of 5"):
        policy.act(obs, policy.initial_state(), mask)


# Playing exports.


def test_an_export_is_played_in_its_own_environment(discrete, tmp_path):
    results = play_export(discrete, 5, seed=3, gif=tmp_path / "episode.gif")
    assert results["num_episodes"] == 5
    assert 1 <= results["episode_len_mean"] <= 9
    assert results["episode_return_min"] <= results["episode_return_mean"]
    assert results["episode_return_mean"] <= results["episode_return_max"]
    assert results == play_export(discrete, 5, seed=3)
    assert (tmp_path / "episode.gif").read_bytes().startswith(b"GIF8")
    sampled = [play_export(discrete, 5, seed=3, explore=True) for _ in range(2)]
    assert sampled[0] == sampled[1] != results


def test_the_command_prints_results_and_one_line_for_an_error(discrete, tmp_path, capsys):
    assert play([str(discrete), "--episodes", "2", "--sample"]) == 0
    assert json.loads(capsys.readouterr().out)["num_episodes"] == 2
    assert play([str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert "is not an export" in printed
    assert printed.count("\n") == 1


def test_load_policies_is_a_public_name():
    assert rllib_agentmixer.load_policies is load_policies
