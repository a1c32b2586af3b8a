"""Individual policies of an export: loading, inference and parity checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.networks.individual_policies import IndividualPolicies
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.errors import EnvContractError, ExportError
from rllib_agentmixer.runtime.preprocessing import Preprocessing, like
from rllib_agentmixer.runtime.tensor_files import read_safetensors

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
PARITY_TOLERANCE = 1e-5
"""Largest allowed difference of a logit or mean from the checkpoint's."""


class IndividualPolicy:
    """Policy of one agent: maps its own observation to its action.

    Args:
        agent: name of the agent.
        network: individual policies of a single-agent team.
        preprocessing: observation and action transforms of the training run.
        action_shape: shape of one continuous action.
    """

    def __init__(
        self,
        agent: str,
        network: IndividualPolicies,
        preprocessing: Preprocessing,
        action_shape: tuple[int, ...] = (),
    ) -> None:
        self.agent = agent
        self.network = network.eval()
        self.preprocessing = preprocessing
        self.action_shape = action_shape
        self.generator = torch.Generator()

    @property
    def is_recurrent(self) -> bool:
        return self.network.encoder.gru is not None

    def seed(self, seed: int) -> None:
        """Seed action sampling."""
        self.generator.manual_seed(seed)

    def initial_state(self) -> Tensor | None:
        """Recurrent state at the start of an episode; None for a feed-forward policy."""
        gru = self.network.encoder.gru
        if gru is None:
            return None
        return torch.zeros(1, 1, gru.from_hidden.weight.shape[1])

    @torch.inference_mode()
    def head(
        self, obs: Any, state: Tensor | None = None, action_mask: Any = None
    ) -> tuple[Tensor, Tensor | None]:
        """[A] masked logits (discrete) or means in policy units, and the next state."""
        rows = self._prepare(obs).view(1, 1, -1)
        mask = self._mask(action_mask).view(1, 1, -1)
        output = self.network(rows, mask, state)
        return output.head[0, 0], output.hidden

    @torch.inference_mode()
    def act(
        self,
        obs: Any,
        state: Tensor | None = None,
        action_mask: Any = None,
        explore: bool = False,
    ) -> tuple[Any, Tensor | None]:
        """Choose an action.

        Args:
            obs: the agent's observation, or PettingZoo's ``{"observation", "action_mask"}``.
            state: recurrent state from the previous call; :meth:`initial_state` at the start.
            action_mask: legal actions; None uses the observation's mask, else all are legal.
            explore: sample instead of taking the mode.

        Returns:
            The action in the environment's action space (an ``int``; for MultiDiscrete and Box
            an array if the observation was a NumPy array, else a tensor), and the next state.

        Raises:
            EnvContractError: wrong size, non-finite observation, or no legal action.
        """
        if isinstance(obs, dict):
            action_mask = obs.get("action_mask") if action_mask is None else action_mask
            obs = obs["observation"]
        head, state = self.head(obs, state, action_mask)
        if self.network.sizes.action_kind == "discrete":
            action = self.preprocessing.discrete_action(self._choose(head, explore))
            return like(action, obs), state
        if explore:
            noise = torch.empty_like(head).normal_(generator=self.generator)
            head = head + noise * self.network.log_std[0].exp()
        action = self.preprocessing.continuous_action(head).reshape(self.action_shape or head.shape)
        return like(action, obs), state

    def _choose(self, logits: Tensor, explore: bool) -> int:
        if not explore:
            return int(logits.argmax())
        return int(torch.multinomial(logits.softmax(-1), 1, generator=self.generator))

    def _prepare(self, obs: Any) -> Tensor:
        flat = torch.as_tensor(obs, dtype=torch.float32).reshape(-1)
        expected = self.network.sizes.obs_size
        if flat.numel() != expected:
            raise EnvContractError(
                f"{self.agent}: observation has {flat.numel()} entries, the policy was trained on "
                f"{expected}; pass the observation of this agent in the training environment"
            )
        if not bool(flat.isfinite().all()):
            raise EnvContractError(f"{self.agent}: observation is not finite: {flat.tolist()}")
        return self.preprocessing.observation(flat)

    def _mask(self, action_mask: Any) -> Tensor:
        size = self.network.sizes.num_actions
        if action_mask is None or self.network.sizes.action_kind == "continuous":
            return torch.ones(size, dtype=torch.bool)
        mask = self.preprocessing.action_mask(action_mask)
        if mask.numel() != size or not bool(mask.any()):
            raise EnvContractError(
                f"{self.agent}: action mask must allow one of {size} actions, got {mask.tolist()}"
            )
        return mask


def load_policies(path: str | Path, *, verify: bool = True) -> dict[str, IndividualPolicy]:
    """Load the individual policies of an export, by agent name in the team's order.

    Args:
        path: folder written by ``rllib-agentmixer export``.
        verify: recompute the stored examples and compare.

    Raises:
        ExportError: missing, damaged, of an unsupported format, or failing the parity check.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    try:
        policies = {
            entry["name"]: _load_policy(folder, entry, manifest["network"])
            for entry in manifest["agents"]
        }
        if verify:
            for entry in manifest["agents"]:
                check_parity(policies[entry["name"]], entry["fixture"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ExportError(f"{folder / MANIFEST} is damaged: {error!r}; export again") from error
    return policies


def read_manifest(folder: Path) -> dict[str, Any]:
    """Validated manifest of an export folder.

    Raises:
        ExportError: missing, unreadable, or of an unsupported format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ExportError(
            f"{folder} is not an export ({MANIFEST} is missing); write one with "
            "`rllib-agentmixer export CHECKPOINT --out DIR`"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path} is damaged ({error!r}); export again") from error
    if version != FORMAT_VERSION:
        raise ExportError(f"{path} has format {version}, this version reads {FORMAT_VERSION}")
    return manifest


def check_parity(policy: IndividualPolicy, fixture: dict[str, Any]) -> float:
    """Largest difference between the stored and the recomputed outputs.

    Raises:
        ExportError: it exceeds ``PARITY_TOLERANCE``, or the modes differ.
    """
    state, largest = policy.initial_state(), 0.0
    alive = fixture.get("alive") or [True] * len(fixture["obs"])
    for step, obs in enumerate(fixture["obs"]):
        if not alive[step]:  # an agent that rejoins starts from the initial state
            state = policy.initial_state()
            continue
        head, state = policy.head(obs, state, fixture["action_mask"][step])
        expected = torch.tensor(fixture["head"][step])
        difference = float((head - expected).abs().max())
        largest = max(largest, difference)
        is_discrete = policy.network.sizes.action_kind == "discrete"
        if difference > PARITY_TOLERANCE or (is_discrete and head.argmax() != expected.argmax()):
            raise ExportError(
                f"{policy.agent}: example {step} gives {head.tolist()}, the checkpoint gave "
                f"{expected.tolist()}; the export is damaged or this platform computes differently"
            )
    return largest


def _load_policy(folder: Path, entry: dict[str, Any], network: dict[str, Any]) -> IndividualPolicy:
    settings = TeamSettings.from_mapping(network | {"parameter_sharing": "separate"})
    sizes = TeamSizes((entry["obs_size"],), 1, entry["action_kind"], (entry["action_size"],))
    policies = IndividualPolicies(sizes, settings)
    tensors = read_safetensors(folder, entry["weights"], entry["sha256"])
    policies.load_state_dict(tensors)
    return IndividualPolicy(
        entry["name"],
        policies,
        Preprocessing.from_manifest(entry["preprocessing"]),
        tuple(entry["action_shape"]),
    )
