"""Named tensors that the networks of a team read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

Structure = TypeVar("Structure")


def map_tensors(structure: Structure, function: Callable[[Tensor], Tensor]) -> Structure:
    """Apply a function to every tensor of nested dataclasses; None remains None."""
    if structure is None:
        return structure
    if isinstance(structure, Tensor):
        return function(structure)
    changed = {f.name: map_tensors(getattr(structure, f.name), function) for f in fields(structure)}  # type: ignore[arg-type]
    return type(structure)(**changed)


def join_tensors(structures: list[Structure]) -> Structure:
    """Nested dataclasses of tensors, joined field by field along the first axis."""
    first = structures[0]
    if first is None:
        return first
    if isinstance(first, Tensor):
        return torch.cat(structures)  # type: ignore[arg-type,return-value]
    joined = {
        f.name: join_tensors([getattr(structure, f.name) for structure in structures])
        for f in fields(first)  # type: ignore[arg-type]
    }
    return type(first)(**joined)


def round_up(number: int) -> int:
    """The next number of at most five binary digits and zeros after them: at most 6 % more.

    Batches of whole episodes, recurrent sequences and parts of either would otherwise nearly
    all have a shape of their own, and oneDNN caches the code that it makes for each shape: a
    gigabyte after some dozen iterations.
    """
    granularity = 1 << max(0, number.bit_length() - 5)
    return -(-number // granularity) * granularity


@dataclass(frozen=True)
class Latents:
    """Latent variables of the joint policy; stored, because ratios are conditional on them.

    Attributes:
        signal: [T, B, Z] latent of the ``signal`` form, or None.
        agent_order: [T, B, N] agents in the order in which they acted, or None.
    """

    signal: Tensor | None = None
    agent_order: Tensor | None = None


@dataclass(frozen=True)
class TeamInputs:
    """Joint observations.

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
