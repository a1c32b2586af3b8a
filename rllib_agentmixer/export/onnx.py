"""Export of individual policies as ONNX graphs, from observation to action.

A graph computes what :class:`~rllib_agentmixer.runtime.IndividualPolicy` does, including
preprocessing. Inputs and outputs by name:

    obs          [B, O]   the agent's own observation, flattened
    state_in     [B, H]   recurrent policies only; zeros at the start of an episode
    action_mask  [B, A]   discrete actions only; True where legal
    action       [B]      the mode in the environment's action space ([B, components] for
                          MultiDiscrete, [B, A] in environment units for continuous actions)
    logits       [B, A]   discrete actions
    mean, log_std  [B, A] continuous actions, policy units
    state_out    [B, H]   recurrent policies only

Every graph is compared with the PyTorch policy over many steps before it is written.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from rllib_agentmixer import runtime
from rllib_agentmixer.errors import ExportError, MissingExtraError
from rllib_agentmixer.export.onnx_graph import ActingGraph
from rllib_agentmixer.export.onnx_parity import check_graph
from rllib_agentmixer.runtime import IndividualPolicy
from rllib_agentmixer.utils.files import checksum, replaced_atomically

LARGEST_BATCH = 4096


def to_onnx(policy: IndividualPolicy) -> bytes:
    """Convert a policy to an ONNX model, verified against it.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        ExportError: the outputs of the graph differ from the policy's.
    """
    check_onnx_available()
    graph = ActingGraph(policy).eval()
    example = {name: torch.from_numpy(value) for name, value in graph.example(2).items()}
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            tuple(example.values()),
            dynamo=True,
            input_names=graph.input_names,
            output_names=graph.output_names,
            dynamic_shapes=_dynamic_shapes(len(example), batch),
            verbose=False,
        )
    if program is None:
        raise ExportError(f"{policy.agent}: PyTorch returned no ONNX program")
    model = program.model_proto
    _strip_source_locations(model)
    content = model.SerializeToString()
    check_graph(policy, graph, content)
    return content


def _strip_source_locations(model: Any) -> None:
    """Remove the source file and line that PyTorch records for each node."""
    model.doc_string = ""
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        del part.metadata_props[:]
        part.doc_string = ""


def _dynamic_shapes(num_inputs: int, batch: Any) -> Any:
    """Dynamic batch axis of every input; all but ``obs`` are passed as ``*others``."""
    others = tuple({0: batch} for _ in range(num_inputs - 1))
    return ({0: batch}, others) if others else ({0: batch},)


def check_onnx_available() -> None:
    """Raise MissingExtraError unless all packages for writing and checking graphs exist."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"ONNX needs {error.name}: pip install 'rllib_agentmixer[export]'"
        ) from error


def add_onnx(folder: str | Path) -> dict[str, Any]:
    """Add an ONNX graph per agent to an export folder and record them in its manifest.

    Args:
        folder: folder written by ``rllib-agentmixer export``.

    Returns:
        The manifest. Each agent's entry has ``onnx`` (file) and ``onnx_sha256``; the top-level
        ``onnx`` contains the largest difference from the PyTorch policies.

    Raises:
        ExportError: not an export, or a graph differs from its policy.
        MissingExtraError: a package is not installed.
    """
    check_onnx_available()
    target = Path(folder)
    manifest = runtime.read_manifest(target)
    policies = runtime.load_policies(target)
    differences = {}
    with replaced_atomically(target) as new:
        shutil.copytree(target, new, dirs_exist_ok=True)
        for index, entry in enumerate(manifest["agents"]):
            policy = policies[runtime.agent_name(entry)]
            content = to_onnx(policy)
            graph = ActingGraph(policy).eval()
            given = [policy.row(obs).tolist() for obs in entry["fixture"]["obs"] if obs is not None]
            differences[index] = check_graph(policy, graph, content, given, seed=1)
            entry["onnx"] = f"agent_{index}.onnx"
            (new / entry["onnx"]).write_bytes(content)
            entry["onnx_sha256"] = checksum(new / entry["onnx"])
        manifest["onnx"] = {"max_difference": max(differences.values()), "actions_equal": True}
        return runtime.write_manifest(new, manifest)
