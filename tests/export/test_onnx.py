"""Graphs act like the policies that they were made from, in every form, and say so."""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.networks.individual_policies import IndividualPolicies
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.errors import ExportError, MissingExtraError
from rllib_agentmixer.runtime import MANIFEST, IndividualPolicy, write_manifest
from rllib_agentmixer.runtime.preprocessing import BoxAction, Preprocessing

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from rllib_agentmixer.export import onnx as onnx_export  # noqa: E402
from rllib_agentmixer.export import onnx_parity  # noqa: E402
from rllib_agentmixer.export.model_registry import signature_of  # noqa: E402
from rllib_agentmixer.export.onnx import add_onnx, to_onnx  # noqa: E402
from rllib_agentmixer.export.onnx_graph import ActingGraph  # noqa: E402
from rllib_agentmixer.export.onnx_parity import check_graph, session_of  # noqa: E402
from rllib_agentmixer.export.spaces import describe_space  # noqa: E402


def policy_of(
    *, kind="discrete", obs_size=5, action_size=6, use_gru=False, shape=None, **preprocessing
):
    torch.manual_seed(0)
    settings = TeamSettings(hidden_size=16, use_gru=use_gru, parameter_sharing="separate")
    network = IndividualPolicies(TeamSizes((obs_size,), 1, kind, (action_size,)), settings)
    with torch.no_grad():  # far from uniform, so that modes depend on what is seen
        network.head.weight.mul_(200.0)
        network.head.bias.normal_()
    if shape is not None:
        preprocessing["action_space"] = BoxAction.from_manifest(
            describe_space(spaces.Box(-2.0, np.inf, shape))
        )
    return IndividualPolicy("agent", network, Preprocessing(**preprocessing))


FILTER = {
    "obs_mean": torch.linspace(-1, 1, 5),
    "obs_std": torch.linspace(0.5, 2, 5),
    "obs_clip": 1.5,
}
SCALING = {
    "low": torch.tensor([-1.0, -torch.inf]),
    "high": torch.tensor([1.0, torch.inf]),
    "scale": torch.tensor([2.0, 1.0]),
    "shift": torch.tensor([0.5, 0.0]),
}
FORMS = {
    "filter": FILTER | {"action_start": 3},
    "gru": {"use_gru": True, **FILTER},
    "combined": {"action_parts": (2, 3), "action_starts": (0, 5)},
    "continuous": {"kind": "continuous", "action_size": 2, "shape": (2,), "action": SCALING},
    "continuous_gru": {"kind": "continuous", "action_size": 3, "shape": (3, 1), "use_gru": True},
}


@pytest.fixture(scope="module", params=FORMS)
def form(request):
    policy = policy_of(**FORMS[request.param])
    return policy, to_onnx(policy)


def act(session, names, obs, state, mask):
    feeds = {"obs": obs}
    if state is not None:
        feeds["state_in"] = state
    if "action_mask" in [one.name for one in session.get_inputs()]:
        feeds["action_mask"] = mask
    return dict(zip(names, session.run(names, feeds), strict=True))


def test_a_graph_chooses_what_its_policy_chooses(form):
    policy, content = form
    session, graph, rng = session_of(content), ActingGraph(policy), np.random.default_rng(5)
    sizes = policy.network.sizes
    state, kept = policy.initial_state(), None
    kept = None if state is None else np.zeros((1, 16), np.float32)
    modes = set()
    for _ in range(100):
        obs = rng.normal(0, 3, sizes.obs_size).astype(np.float32)
        mask = rng.random(sizes.num_actions) < 0.7
        mask[rng.integers(sizes.num_actions)] = True
        action, state = policy.act(obs, state, mask if sizes.is_discrete else None)
        found = act(session, graph.output_names, obs[None], kept, mask[None])
        kept = found.get("state_out")
        assert np.ravel(found["action"]) == pytest.approx(np.ravel(action), abs=1e-5)
        modes.add(tuple(np.round(np.ravel(action), 1)))
        if sizes.is_discrete:
            assert (found["logits"][0] > -1e8).tolist() == mask.tolist()
        else:
            expected = policy.network.log_std[0].detach().numpy()
            assert found["log_std"][0] == pytest.approx(expected)
    assert len(modes) >= 4


def test_the_signature_names_every_input_and_output(form):
    policy, _ = form
    signature = signature_of(ActingGraph(policy))
    inputs = {one.name: (one.type, one.shape) for one in signature.inputs.inputs}
    outputs = [one.name for one in signature.outputs.inputs]
    assert inputs["obs"] == (np.dtype("float32"), (-1, 5))
    assert ("state_in" in inputs) == ("state_out" in outputs) == policy.is_recurrent
    assert ("action_mask" in inputs) == ("logits" in outputs) == policy.network.sizes.is_discrete
    assert outputs[0] == "action"


def test_a_graph_does_not_say_where_it_was_made(form):
    _, content = form
    assert b".py" not in content
    assert b"/" + b"rllib_agentmixer" not in content


@pytest.mark.parametrize("part", ["head.bias", "agent_embedding", "encoder.linears.0.weight"])
def test_a_graph_that_computes_otherwise_is_refused(form, part):
    policy, content = form
    assert check_graph(policy, ActingGraph(policy), content) < 1e-5
    other = deepcopy(policy)
    with torch.no_grad():
        changed = dict(other.network.named_parameters())[part]
        changed.add_(1e-3 * torch.arange(changed.numel()).view_as(changed))
    with pytest.raises(ExportError, match="agent: the ONNX graph gives another"):
        check_graph(other, ActingGraph(other), content)


def test_a_graph_with_other_numbers_of_actions_is_refused(form):
    policy, content = form
    other = deepcopy(policy)
    if policy.network.sizes.is_discrete:
        start = policy.preprocessing.action_start + 1
        starts = tuple(one + 1 for one in policy.preprocessing.action_starts)
        other.preprocessing = replace(
            policy.preprocessing, action_start=start, action_starts=starts
        )
    else:
        constants = {"low": -1.0, "high": 1.0, "scale": 1.5, "shift": 0.5}
        size = policy.network.sizes.num_actions
        action = {name: torch.full((size,), value) for name, value in constants.items()}
        other.preprocessing = replace(policy.preprocessing, action=action)
    with pytest.raises(ExportError, match="another action"):
        check_graph(other, ActingGraph(other), content)


def test_masks_and_memory_take_part_in_the_proof(form, monkeypatch):
    policy, content = form
    graph, steps = ActingGraph(policy), []
    honest = onnx_parity._together
    monkeypatch.setattr(
        onnx_parity, "_together", lambda graph, one: steps.append(one) or honest(graph, one)
    )
    check_graph(policy, graph, content, observations=np.ones((4, 5)))
    assert len(steps) == 4 + onnx_parity.NUM_RANDOM_STEPS
    if policy.is_recurrent:
        assert np.abs(steps[50]["state_in"]).max() > 0.05
    if policy.network.sizes.is_discrete:
        masks = np.concatenate([step["action_mask"] for step in steps])
        assert masks.any(1).all()
        assert 0.5 < masks.mean() < 0.8


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"onnxscript: pip install .*\[export\]"):
        to_onnx(policy_of())


# Export folders.


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An export of two made-up agents, written as `export` does."""
    from safetensors.torch import save_file

    from rllib_agentmixer.utils.files import checksum

    folder = tmp_path_factory.mktemp("exports") / "exported"
    folder.mkdir()
    agents = []
    for index, size in enumerate((3, 4)):
        policy = policy_of(obs_size=size, action_size=size)
        weights = f"agent_{index}.safetensors"
        tensors = {k: v.contiguous() for k, v in policy.network.state_dict().items()}
        save_file(tensors, folder / weights)
        obs = np.random.default_rng(0).normal(size=(3, size)).astype(np.float32)
        heads = [policy.head(one)[0].tolist() for one in obs]
        agents.append(
            {
                "name": f"agent_{index}",
                "weights": weights,
                "sha256": checksum(folder / weights),
                "obs_size": size,
                "action_kind": "discrete",
                "action_size": size,
                "action_shape": [],
                "observation_space": describe_space(spaces.Box(-np.inf, np.inf, (size,))),
                "action_space": describe_space(spaces.Discrete(size)),
                "has_action_mask": True,
                "preprocessing": {
                    "obs_mean": None,
                    "obs_std": None,
                    "obs_clip": None,
                    "action": None,
                    "action_start": 0,
                },
                "fixture": {"obs": obs.tolist(), "action_mask": [[1] * size] * 3, "head": heads},
            }
        )
    manifest = {
        "format_version": 2,
        "algorithm": "MAPPO",
        "env_steps": 64,
        "network": {
            "hidden_size": 16,
            "num_hidden_layers": policy.network.settings.num_hidden_layers,
            "use_gru": False,
            "input_layer_norm": policy.network.encoder.input_norm is not None,
        },
        "environment": {"name": "made_up", "version": "1", "config": {}, "team_reward": "sum"},
        "agents": agents,
    }
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def export_copy(exported, tmp_path):
    import shutil
    from pathlib import Path

    return Path(shutil.copytree(exported, tmp_path / "exported"))


def test_an_export_gets_a_graph_per_agent(export_copy):
    from rllib_agentmixer.runtime import load_policies
    from rllib_agentmixer.utils.files import checksum

    manifest = add_onnx(export_copy)
    assert json.loads((export_copy / MANIFEST).read_text()) == manifest
    assert 0 < manifest["onnx"]["max_difference"] < onnx_parity.TOLERANCE
    for entry in manifest["agents"]:
        assert checksum(export_copy / entry["onnx"]) == entry["onnx_sha256"]
        onnx.checker.check_model(onnx.load(export_copy / entry["onnx"]))
    assert list(load_policies(export_copy)) == ["agent_0", "agent_1"]


def test_a_graph_that_fails_leaves_the_export_as_it_was(export_copy, monkeypatch):
    before = {path.name: path.read_bytes() for path in export_copy.iterdir()}

    def fail(*arguments, **settings):
        raise ExportError("another action")

    monkeypatch.setattr(onnx_export, "check_graph", fail)
    with pytest.raises(ExportError, match="another action"):
        add_onnx(export_copy)
    assert {path.name: path.read_bytes() for path in export_copy.iterdir()} == before
