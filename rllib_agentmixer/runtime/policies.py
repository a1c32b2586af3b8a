"""Individual policies of an export: loading, inference and parity checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.generators import seeded
from rllib_agentmixer.core.networks.individual_policies import IndividualPolicies
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.errors import AgentMixerError, EnvContractError, ExportError
from rllib_agentmixer.runtime.manifests import agent_name, damaged, read_manifest
from rllib_agentmixer.runtime.observations import ObservationReader
from rllib_agentmixer.runtime.preprocessing import Preprocessing, like
from rllib_agentmixer.runtime.tensor_files import read_safetensors

PARITY_TOLERANCE = 1e-5
"""Largest allowed difference of a logit or mean from the checkpoint's, and of an action in units
of its scale."""


class IndividualPolicy:
    """Policy of one agent: maps its own observation to its action.

    Args:
        agent: name of the agent, as its environment has it.
        network: individual policies of a single-agent team.
        preprocessing: observation and action transforms of the training run.
        reader: conversion of the environment's observations.
        has_action_mask: whether the environment says which actions are legal.
    """

    def __init__(
        self,
        agent: Any,
        network: IndividualPolicies,
        preprocessing: Preprocessing,
        reader: ObservationReader | None = None,
        has_action_mask: bool = True,
    ) -> None:
        self.agent = agent
        self.network = network.eval()
        self.preprocessing = preprocessing
        self.reader = reader or ObservationReader(network.sizes.obs_size)
        self.has_action_mask = has_action_mask
        self.generator = seeded(None)  # agents that shared their noise would choose alike

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

    def row(self, obs: Any) -> Tensor:
        """[O] the agent's observation as flat numbers.

        Args:
            obs: as the environment gives it: an array of any layout, a number, a dictionary or
                tuple; PettingZoo's ``{"observation", "action_mask"}``; or flattened already.

        Raises:
            EnvContractError: it does not fit the agent's observation space, or is non-finite.
        """
        given, _ = self.reader.split(obs)
        try:
            row = self.reader.row(given)
        except (ValueError, TypeError, RuntimeError, KeyError) as error:
            raise EnvContractError(
                f"{self.agent}: the observation does not fit ({error}); the policy was trained on "
                f"{self.reader.size} numbers; pass the observation of this agent in the training "
                "environment"
            ) from error
        if not bool(row.isfinite().all()):
            raise EnvContractError(f"{self.agent}: observation is not finite: {row.tolist()}")
        return row

    def head(
        self, obs: Any, state: Tensor | None = None, action_mask: Any = None
    ) -> tuple[Tensor, Tensor | None]:
        """[A] masked logits (discrete) or means in policy units, and the next state."""
        given = self.reader.split(obs)[1] if action_mask is None else action_mask
        head, state = self.heads(self.row(obs)[None], self._mask(given)[None], state)
        return head[0], state

    @torch.inference_mode()
    def heads(
        self, rows: Tensor, masks: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """[B, A] outputs for the agent in B sub-environments, from rows [B, O] and masks [B, A]."""
        inputs = self.preprocessing.observation(rows)
        output = self.network(inputs.unsqueeze(0), masks.unsqueeze(0), state)
        return output.head[0], output.hidden

    def act(
        self,
        obs: Any,
        state: Tensor | None = None,
        action_mask: Any = None,
        explore: bool = False,
    ) -> tuple[Any, Tensor | None]:
        """Choose an action.

        Args:
            obs: the agent's observation in any form of :meth:`row`.
            state: recurrent state from the previous call; :meth:`initial_state` at the start.
            action_mask: legal actions; None uses the observation's mask, else all are legal.
            explore: sample instead of taking the mode.

        Returns:
            The action as the environment takes it (an ``int``; for MultiDiscrete and Box a tensor
            if the observation was one, else a NumPy array), and the next state.

        Raises:
            EnvContractError: wrong size, non-finite observation, or no legal action.
        """
        head, state = self.head(obs, state, action_mask)
        action = self.to_environment(self.choose(head, explore))
        is_plain = isinstance(action, int)
        return action if is_plain else like(action, self.reader.split(obs)[0]), state

    @torch.inference_mode()
    def choose(self, heads: Tensor, explore: bool) -> Tensor:
        """[..] choices or [.., A] actions in policy units, from outputs [.., A]."""
        if self.network.sizes.action_kind == "continuous":
            if not explore:
                return heads
            noise = torch.empty_like(heads).normal_(generator=self.generator)
            return heads + noise * self.network.log_std[0].exp()
        if not explore:
            return heads.argmax(-1)
        rows = heads.reshape(-1, heads.shape[-1]).softmax(-1)
        return torch.multinomial(rows, 1, generator=self.generator).reshape(heads.shape[:-1])

    def to_environment(self, chosen: Tensor) -> Any:
        """The environment's action of one choice: an ``int`` or a tensor."""
        if self.network.sizes.action_kind == "discrete":
            return self.preprocessing.discrete_action(int(chosen))
        return self.preprocessing.environment_action(chosen)

    def _mask(self, action_mask: Any) -> Tensor:
        size = self.network.sizes.num_actions
        if action_mask is None or self.network.sizes.action_kind == "continuous":
            return torch.ones(size, dtype=torch.bool)
        try:
            mask = self.preprocessing.action_mask(action_mask)
        except (ValueError, TypeError, IndexError) as error:
            raise EnvContractError(f"{self.agent}: the action mask: {error}") from error
        if mask.numel() != size or not bool(mask.any()):
            raise EnvContractError(
                f"{self.agent}: action mask must allow one of {size} actions, got {mask.tolist()}"
            )
        return mask


def load_policies(path: str | Path, *, verify: bool = True) -> dict[Any, IndividualPolicy]:
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
            agent_name(entry): _load_policy(folder, entry, manifest["network"])
            for entry in manifest["agents"]
        }
        if len(policies) != len(manifest["agents"]) or not policies:
            raise ValueError("agents must be named, each once")
        if verify:
            for entry in manifest["agents"]:
                check_parity(policies[agent_name(entry)], entry["fixture"])
    except AgentMixerError as error:
        raise error if isinstance(error, ExportError) else damaged(folder, error) from error
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise damaged(folder, error) from error
    return policies


def check_parity(policy: IndividualPolicy, fixture: dict[str, Any]) -> float:
    """Largest difference between the stored and the recomputed outputs.

    Examples hold observations as the environment gave them, and actions as it took them.

    Raises:
        ExportError: it exceeds ``PARITY_TOLERANCE``, or the modes differ.
    """
    state, largest = policy.initial_state(), 0.0
    alive = fixture.get("alive") or [True] * len(fixture["obs"])
    if not fixture["obs"]:
        raise ExportError(f"{policy.agent}: no examples, so nothing is proven; export again")
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
        if "action" in fixture:
            _check_action(policy, step, expected, fixture["action"][step])
    return largest


def _check_action(policy: IndividualPolicy, step: int, head: Tensor, taken: Any) -> None:
    """Raise unless the action of an output is the one that the environment took in training."""
    action = torch.as_tensor(policy.to_environment(policy.choose(head, False)))
    expected = torch.tensor(taken, dtype=action.dtype)
    scale = policy.preprocessing.action
    allowed = PARITY_TOLERANCE * max(1.0, float(scale["scale"].abs().max()) if scale else 1.0)
    differs = action.shape != expected.shape
    if differs or float((action.double() - expected.double()).abs().max()) > allowed:
        raise ExportError(
            f"{policy.agent}: example {step} gives the action {action.tolist()}, in training the "
            f"environment got {taken}; the export is damaged, export again"
        )


def _load_policy(folder: Path, entry: dict[str, Any], network: dict[str, Any]) -> IndividualPolicy:
    settings = TeamSettings.from_mapping(network | {"parameter_sharing": "separate"})
    sizes = TeamSizes((entry["obs_size"],), 1, entry["action_kind"], (entry["action_size"],))
    policies = IndividualPolicies(sizes, settings)
    tensors = read_safetensors(folder, entry["weights"], entry["sha256"])
    policies.load_state_dict(tensors)
    return IndividualPolicy(
        agent_name(entry),
        policies,
        Preprocessing.from_manifest(entry["preprocessing"], entry["action_space"]),
        ObservationReader.from_manifest(entry["observation_space"], entry["obs_size"]),
        entry["has_action_mask"],
    )
