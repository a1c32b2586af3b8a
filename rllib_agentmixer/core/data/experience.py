"""Experience of a team: the fields that are stored of every step.

:mod:`.columns` turns experience into flat named columns and back by the fields of these
dataclasses, so nothing else lists them. Names of columns are RLlib's where it has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import RecurrentState, TeamInputs, map_tensors, round_up


def column(name: str) -> Any:
    """Field that travels under another name than its own."""
    return field(metadata={"column": name})


@dataclass(frozen=True, eq=False)
class Experience:
    """Experience as B padded sequences of T steps (T = 1 without recurrence).

    Attributes:
        inputs: what the networks read before each step.
        actions: [T, B, N] indices or [T, B, N, A] vectors, policy units.
        rewards: [T, B] of the team.
        valid: [T, B] False on padding.
        terminated: [T, B] nothing follows.
        truncated: [T, B] cut by a limit: the value of what would have followed counts.
        behaviour: [T, B, P] flat parameters of the policy that acted.
        agent_rewards: [T, B, N] each agent's own, where the learner asks for them.
        hidden: recurrent state before the first step, or None.
        targets: the learner's own frozen dataclass of tensors [T, B, ...], or None.
    """

    inputs: TeamInputs
    actions: Tensor
    rewards: Tensor
    valid: Tensor
    terminated: Tensor = column("terminateds")
    truncated: Tensor = column("truncateds")
    behaviour: Tensor = column("action_dist_inputs")
    agent_rewards: Tensor | None = None
    hidden: RecurrentState | None = None
    targets: Any = None

    def __post_init__(self) -> None:
        leading = tuple(self.valid.shape)
        parts = (self, self.inputs, self.inputs.latents, self.targets)
        named = ((n, x) for part in parts if part is not None for n, x in vars(part).items())
        for name, tensor in named:
            if isinstance(tensor, Tensor) and tuple(tensor.shape[:2]) != leading:
                raise ValueError(
                    f"Experience.{name} must start with [T, B] = {list(leading)} as `valid` does, "
                    f"got shape {list(tensor.shape)}"
                )

    def counts(self, x: Tensor) -> Tensor:
        """Mask of ``x`` [T, B] or [T, B, N] where entries count: valid, and of living agents."""
        if x.ndim == self.valid.ndim:
            return self.valid
        return self.valid.unsqueeze(-1) & self.inputs.alive

    def value_counts(self, x: Tensor, *, individual_rewards: bool) -> Tensor:
        """Mask of the values that count: of living agents, or of all with the team's reward.

        With the team's reward, values of absent agents count as well: their last actions
        bootstrap from them.
        """
        if individual_rewards or x.ndim == self.valid.ndim:
            return self.counts(x)
        return self.valid.unsqueeze(-1).expand_as(x)

    @property
    def num_sequences(self) -> int:
        return self.valid.shape[1]

    def to(self, device: torch.device | str) -> Experience:
        """The same experience on another device."""
        return map_tensors(self, lambda x: x.to(device))

    def select(self, sequences: Tensor) -> Experience:
        """The experience of some sequences only."""
        return map_tensors(self, lambda x: x.index_select(1, sequences))

    def minibatches(self, num_steps: int, generator: torch.Generator) -> Iterator[Experience]:
        """Cut into shuffled parts of about ``num_steps`` steps each; every sequence occurs once.

        Parts differ by at most one sequence, so no remainder is dropped or left tiny.
        """
        size = max(1, num_steps // self.valid.shape[0])
        # Without the empty ones: a part of only those would have no mean.
        real = self.valid.any(0).nonzero().squeeze(1)
        num_parts = max(1, round(len(real) / size))
        if num_parts == 1:
            yield self
            return
        order = torch.randperm(len(real), generator=generator)
        for part in order.tensor_split(num_parts):
            yield self._filled_up(real[part.to(real.device)])

    def _filled_up(self, sequences: Tensor) -> Experience:
        """The experience of some sequences, and of empty ones up to a round number."""
        number = len(sequences)
        empty = sequences[:1].expand(round_up(number) - number)
        part = self.select(torch.cat([sequences, empty]))
        part.valid[:, number:] = False
        return part


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Successors of steps: joint observations, and the recurrent state there.

    Attributes:
        inputs: of B sub-environments, without an axis of time.
        hidden: recurrent state before that observation, or None.
    """

    inputs: TeamInputs
    hidden: RecurrentState | None


@dataclass(frozen=True, eq=False)
class Fragment:
    """Consecutive steps of B sub-environments as they were collected.

    Attributes:
        steps: the T steps; ``valid`` is False on those that belong to no wanted episode. Its
            ``hidden`` is None: states are stored for every step.
        inputs: [T + 1, B, ..] joint observations before each step, and after the last one.
        hidden: T + 1 recurrent states, before each step and after the last one (where episodes
            that ended start anew), or None without recurrence.
        bootstraps: time -> what followed a step at which some sub-environment was truncated,
            before the reset.
    """

    steps: Experience
    inputs: TeamInputs
    hidden: list[RecurrentState] | None
    bootstraps: Mapping[int, Bootstrap]
