"""What networks and losses read: the named tensors of a team, checked when they come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

Structure = TypeVar("Structure")


def map_tensors(structure: Structure, function: Callable[[Tensor], Tensor]) -> Structure:
    """Apply a function to every tensor of nested dataclasses; None stays None."""
    if structure is None:
        return structure
    if isinstance(structure, Tensor):
        return function(structure)
    changed = {f.name: map_tensors(getattr(structure, f.name), function) for f in fields(structure)}  # type: ignore[arg-type]
    return type(structure)(**changed)


def round_up(number: int) -> int:
    """The next number of at most five binary digits and zeros after them: at most 6 % more.

    Batches of whole episodes, recurrent sequences and parts of either would otherwise nearly
    all have a shape of their own, and oneDNN keeps the code that it makes for each shape: a
    gigabyte after some dozen iterations.
    """
    granularity = 1 << max(0, number.bit_length() - 5)
    return -(-number // granularity) * granularity


@dataclass(frozen=True)
class Latents:
    """What the joint policy drew beside actions; stored, because ratios are given it.

    Attributes:
        signal: [T, B, Z] latent of the ``signal`` form, or None.
        agent_order: [T, B, N] agents in the order in which they acted, or None.
    """

    signal: Tensor | None = None
    agent_order: Tensor | None = None


@dataclass(frozen=True)
class TeamInputs:
    """What the networks read.

    Attributes:
        obs: [T, B, N, O] each agent's own observation, zero-padded.
        state: [T, B, S] global state, for modifier and critic only.
        action_mask: [T, B, N, A] legal actions, or existing action dimensions.
        alive: [T, B, N].
        latents: of a correlated joint policy, or None.
    """

    obs: Tensor
    state: Tensor
    action_mask: Tensor
    alive: Tensor
    latents: Latents | None = None


@dataclass(frozen=True)
class RecurrentState:
    """Hidden states before the first step of B sequences.

    Attributes:
        individual: [N, B, H] of the individual policies.
        modifier: [1, B, H] of the policy modifier, or None without one.
        critic: [N, B, H] of V_i(h_i), or None with V(s).
    """

    individual: Tensor
    modifier: Tensor | None = None
    critic: Tensor | None = None


@dataclass(frozen=True)
class TeamBatch:
    """One batch of experience as B padded sequences of T steps (T = 1 without recurrence).

    Attributes:
        inputs: what the networks read.
        actions: [T, B, N] indices or [T, B, N, A] vectors.
        log_prob: under the policy that acted: [T, B] of the joint action, or [T, B, N] of
            each agent's (``ratio="agent"``).
        policy_parameters: [T, B, P] flat parameters of that policy.
        values: [T, B] V(s), or [T, B, N] V_i(h_i), when the rollout was collected, reward units.
        advantages: shaped as ``values``, reward units.
        value_targets: shaped as ``values``, reward units.
        valid: [T, B] False on padding.
        hidden: recurrent state before the first step, or None.
    """

    inputs: TeamInputs
    actions: Tensor
    log_prob: Tensor
    policy_parameters: Tensor
    values: Tensor
    advantages: Tensor
    value_targets: Tensor
    valid: Tensor
    hidden: RecurrentState | None = None

    def __post_init__(self) -> None:
        leading = tuple(self.valid.shape)
        parts = (self, self.inputs, *([self.inputs.latents] if self.inputs.latents else []))
        for name, tensor in ((n, x) for part in parts for n, x in vars(part).items()):
            if isinstance(tensor, Tensor) and tuple(tensor.shape[:2]) != leading:
                raise ValueError(
                    f"TeamBatch.{name} must start with [T, B] = {list(leading)} as `valid` does, "
                    f"got shape {list(tensor.shape)}"
                )

    def counts(self, x: Tensor) -> Tensor:
        """Which entries of ``x`` [T, B] or [T, B, N] count: no padding, and only living agents."""
        if x.ndim == self.valid.ndim:
            return self.valid
        return self.valid.unsqueeze(-1) & self.inputs.alive

    def value_counts(self, x: Tensor, *, individual_rewards: bool) -> Tensor:
        """Which values count: of the living, or of all where the team's reward goes on.

        What the team still earns is worth knowing for an agent that is gone: its last actions
        are judged by it.
        """
        if individual_rewards or x.ndim == self.valid.ndim:
            return self.counts(x)
        return self.valid.unsqueeze(-1).expand_as(x)

    @property
    def num_sequences(self) -> int:
        return self.valid.shape[1]

    def to(self, device: torch.device | str) -> TeamBatch:
        """The same batch on another device."""
        return map_tensors(self, lambda x: x.to(device))

    def select(self, sequences: Tensor) -> TeamBatch:
        """The batch of some sequences only."""
        return map_tensors(self, lambda x: x.index_select(1, sequences))

    def minibatches(self, num_steps: int, generator: torch.Generator) -> Iterator[TeamBatch]:
        """Cut into shuffled parts of about ``num_steps`` steps each; every sequence occurs once.

        Parts differ by at most one sequence, so no remainder is dropped or left tiny.
        """
        size = max(1, num_steps // self.valid.shape[0])
        # Without the empty ones: a part of nothing else would have no mean.
        real = self.valid.any(0).nonzero().squeeze(1)
        num_parts = max(1, round(len(real) / size))
        if num_parts == 1:
            yield self
            return
        order = torch.randperm(len(real), generator=generator)
        for part in order.tensor_split(num_parts):
            yield self._filled_up(real[part.to(real.device)])

    def _filled_up(self, sequences: Tensor) -> TeamBatch:
        """The batch of some sequences, and of empty ones up to a round number."""
        number = len(sequences)
        empty = sequences[:1].expand(round_up(number) - number)
        part = self.select(torch.cat([sequences, empty]))
        part.valid[:, number:] = False
        return part
