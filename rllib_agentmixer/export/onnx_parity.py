"""Parity check of an ONNX graph with the PyTorch policy that it was exported from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from rllib_agentmixer.core.functional.distributions import MASKED_LOGIT
from rllib_agentmixer.errors import ExportError

if TYPE_CHECKING:
    from rllib_agentmixer.export.onnx_graph import ActingGraph
    from rllib_agentmixer.runtime import IndividualPolicy

NUM_RANDOM_STEPS = 200
"""Steps of random observations over which graph and policy are compared, beside real ones."""
BATCH_SIZES = (1, 7)
TOLERANCE = 1e-5
"""Largest difference of a logit or mean, relative to the largest value if that exceeds 1."""

Arrays = dict[str, NDArray[Any]]


def session_of(content: bytes) -> Any:
    """ONNX Runtime session on one CPU thread, which is fastest for small graphs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def check_graph(
    policy: IndividualPolicy,
    graph: ActingGraph,
    content: bytes,
    observations: Any = None,
    seed: int = 0,
) -> float:
    """Largest difference between a graph and its policy over recurrent steps with masks.

    Args:
        policy: reference for one agent at a time.
        graph: reference for a batch of agents.
        content: serialized ONNX model.
        observations: [S, O] real observations to start with; None for random ones only.
        seed: seed of the random observations and masks.

    Raises:
        ExportError: they differ by more than ``TOLERANCE``, or choose different actions.
    """
    session = session_of(content)
    rng = np.random.default_rng(seed)
    return max(
        _compare(session, policy, graph, _steps(graph, batch, observations, rng))
        for batch in BATCH_SIZES
    )


def _steps(
    graph: ActingGraph, batch: int, observations: Any, rng: np.random.Generator
) -> list[Arrays]:
    """Inputs without the state: real observations, then random ones, and masks."""
    obs_size = graph.network.sizes.obs_size
    real = np.zeros((0, obs_size)) if observations is None else np.asarray(observations)
    centre, spread = (real.mean(0), 1 + real.std(0)) if len(real) else (0.0, 3.0)
    random_obs = centre + spread * rng.standard_normal((NUM_RANDOM_STEPS, batch, obs_size))
    repeated = np.repeat(real[:, None], batch, axis=1)
    steps = []
    for obs in np.concatenate([repeated, random_obs]).astype(np.float32):
        step: Arrays = {"obs": obs}
        if graph.is_masked:
            num_actions = graph.network.sizes.num_actions
            mask = rng.random((batch, num_actions)) < 0.6
            mask[np.arange(batch), rng.integers(num_actions, size=batch)] = True
            step["action_mask"] = mask
        steps.append(step)
    return steps


def _compare(
    session: Any, policy: IndividualPolicy, graph: ActingGraph, steps: list[Arrays]
) -> float:
    """Largest difference over a sequence; graph and policy each carry their own state."""
    batch = len(steps[0]["obs"])
    state = expected_state = graph.example(batch).get("state_in")
    largest = 0.0
    for step in steps:
        mine = step if state is None else step | {"state_in": state}
        theirs = step if expected_state is None else step | {"state_in": expected_state}
        found = dict(zip(graph.output_names, session.run(graph.output_names, mine), strict=True))
        expected = _alone(policy, graph, theirs) if batch == 1 else _together(graph, theirs)
        for name, values in expected.items():
            difference = _difference(name, found, expected, values)
            largest = max(largest, difference)
            if difference > TOLERANCE:
                raise ExportError(
                    f"{policy.agent}: the ONNX graph gives another {name} than the policy "
                    f"(difference {difference:.2g}, allowed {TOLERANCE:.0e}); nothing was written"
                )
        state, expected_state = found.get("state_out"), expected.get("state_out")
    return largest


@torch.no_grad()
def _together(graph: ActingGraph, inputs: Arrays) -> Arrays:
    """Outputs of the PyTorch graph for a batch."""
    outputs = graph(*(torch.from_numpy(inputs[name]) for name in graph.input_names))
    return {name: output.numpy() for name, output in zip(graph.output_names, outputs, strict=True)}


def _alone(policy: IndividualPolicy, graph: ActingGraph, inputs: Arrays) -> Arrays:
    """Outputs of the policy for a single agent, through its public interface."""
    rows = torch.from_numpy(inputs["obs"])
    legal = torch.ones(1, graph.network.sizes.num_actions, dtype=torch.bool)
    masks = torch.from_numpy(inputs["action_mask"]) if graph.is_masked else legal
    state = torch.from_numpy(inputs["state_in"])[None] if "state_in" in inputs else None
    heads, after = policy.heads(rows, masks, state)
    head = heads[0]
    action = policy.to_environment(policy.choose(head, explore=False))
    expected = {"action": np.asarray(action)[None]}
    if graph.is_discrete:
        expected["logits"] = head.numpy()[None]
    else:
        expected["action"] = expected["action"].reshape(1, -1)
        expected["mean"] = head.numpy()[None]
    if after is not None:
        expected["state_out"] = after[0].numpy()
    return expected


def _difference(name: str, found: Arrays, expected: Arrays, values: NDArray[Any]) -> float:
    """Largest difference of an output, relative to its largest value if that exceeds 1."""
    if values.shape != found[name].shape:
        return float("inf")
    target = values.astype(np.float64)
    gap = np.abs(found[name] - target)
    if name == "action" and "logits" in expected:
        # Rounding decides between actions with equal logits.
        best = np.sort(expected["logits"], axis=-1)[:, -2:]
        gap = gap[best[:, -1] - best[:, 0] > TOLERANCE] if best.shape[1] == 2 else gap
        return float(gap.max(initial=0.0))
    # Masked logits are too large for float32 to resolve fractions.
    is_forbidden = target <= MASKED_LOGIT / 2
    gap[is_forbidden & (found[name] <= MASKED_LOGIT / 2)] = 0.0
    scale = max(1.0, float(np.abs(target[~is_forbidden]).max(initial=0.0)))
    return float(gap.max()) / scale
