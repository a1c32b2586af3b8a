"""Distributions over a team's joint action: a product over agents, given what they read.

Parameters are ``[*batch, N, A]``. Dead agents do not count; forbidden actions have
probability exactly 0; padded action dimensions do not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import map_tensors
from rllib_agentmixer.core.shapes import Float

SHORT_AXIS = 16
"""Floats that the widest vector registers hold: PyTorch's softmax over a shorter last axis
works entry by entry."""


def log_softmax(logits: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
    """Normalised logits; a short axis is put in front, where rows fill the registers."""
    if logits.shape[-1] > SHORT_AXIS or logits.device.type != "cpu":
        return logits.log_softmax(-1)
    return logits.movedim(-1, 0).contiguous().log_softmax(0).movedim(0, -1)


@dataclass(frozen=True)
class TeamCategorical:
    """One categorical per agent.

    Attributes:
        logits: [*batch, N, A] unnormalised, forbidden ones at ``MASKED_LOGIT``. Kept
            unnormalised because normalising rounds near-ties and could move the mode.
        alive: [*batch, N].
    """

    logits: Tensor
    alive: Tensor

    @property
    def log_probs(self) -> Float[Tensor, "*batch N A"]:
        """Normalised logits, computed once."""
        # Not functools.cached_property: its lock (Python < 3.12) cannot be compiled.
        if "_log_probs" not in self.__dict__:
            object.__setattr__(self, "_log_probs", log_softmax(self.logits))
        return self.__dict__["_log_probs"]

    @property
    def head(self) -> Tensor:
        """[*batch, N, A] what carries the mode: the logits."""
        return self.logits

    def mode(self) -> Tensor:
        """[*batch, N] most probable action of each agent (the first among equals)."""
        return self.logits.argmax(-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """[*batch, N] one action per agent, by the exponential race of its probabilities."""
        probs = self.logits.softmax(-1)
        return (probs / torch.empty_like(probs).exponential_(generator=generator)).argmax(-1)

    def agent_log_prob(self, actions: Tensor) -> Tensor:
        """[*batch, N] log pi_i(a_i) in nats; 0 for the dead."""
        chosen = self.log_probs.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)
        return chosen * self.alive

    def log_prob(self, actions: Tensor) -> Tensor:
        """[*batch] log pi(a | s) = sum_i log pi_i(a_i), in nats."""
        return self.agent_log_prob(actions).sum(-1)

    def agent_entropy(self) -> Tensor:
        """[*batch, N] entropy of each agent's policy in nats."""
        log_probs = self.log_probs
        return -(log_probs.exp() * log_probs).sum(-1)

    def entropy(self) -> Tensor:
        """[*batch] entropy of an agent's policy in nats, averaged over living agents."""
        return _mean_alive(self.agent_entropy(), self.alive)

    def kl(self, other: TeamCategorical) -> Tensor:
        """[*batch] KL(self || other) of the joint distributions, in nats."""
        log_probs = self.log_probs
        per_agent = (log_probs.exp() * (log_probs - other.log_probs)).sum(-1)
        return (per_agent * self.alive).sum(-1)

    def agreement(self, other: TeamCategorical) -> Tensor:
        """[*batch] share of living agents whose modes agree."""
        return _mean_alive((self.mode() == other.mode()).float(), self.alive)

    def flat(self) -> Tensor:
        """[*batch, N * A] parameters as RLlib stores them."""
        return self.logits.flatten(-2)


@dataclass(frozen=True)
class TeamGaussian:
    """Independent normal distributions over every agent's action dimensions.

    Attributes:
        mean: [*batch, N, A].
        std: [*batch, N, A], positive also in padding.
        valid: [*batch, N, A] False for dimensions that an agent does not have.
        alive: [*batch, N].
    """

    mean: Tensor
    std: Tensor
    valid: Tensor
    alive: Tensor

    @property
    def head(self) -> Tensor:
        """[*batch, N, A] what carries the mode: the mean."""
        return self.mean

    def mode(self) -> Tensor:
        """[*batch, N, A] the mean; zero in padding."""
        return self.mean * self.valid

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """[*batch, N, A] one action per agent; zero in padding."""
        noise = torch.empty_like(self.mean).normal_(generator=generator)
        return (self.mean + self.std * noise) * self.valid

    def agent_log_prob(self, actions: Tensor) -> Tensor:
        """[*batch, N] log density of each agent's action, in nats; 0 for the dead."""
        z = (actions - self.mean) / self.std
        per_dimension = -0.5 * z.square() - self.std.log() - 0.5 * math.log(2 * math.pi)
        return (per_dimension * self._counts()).sum(-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """[*batch] log density of the joint action, in nats."""
        return self.agent_log_prob(actions).sum(-1)

    def agent_entropy(self) -> Tensor:
        """[*batch, N] entropy of one action dimension in nats, averaged over each agent's."""
        per_dimension = self.std.log() + 0.5 * math.log(2 * math.pi * math.e)
        return (per_dimension * self.valid).sum(-1) / self.valid.sum(-1)

    def entropy(self) -> Tensor:
        """[*batch] entropy of one action dimension in nats, averaged over agents' dimensions."""
        return _mean_alive(self.agent_entropy(), self.alive)

    def kl(self, other: TeamGaussian) -> Tensor:
        """[*batch] KL(self || other) of the joint distributions, in nats."""
        ratio = (self.std / other.std).square()
        distance = ((self.mean - other.mean) / other.std).square()
        per_dimension = 0.5 * (ratio + distance - 1 - ratio.log())
        return (per_dimension * self._counts()).sum((-2, -1))

    def agreement(self, other: TeamGaussian) -> Tensor:
        """[*batch] share of living agents whose means are equal in every dimension."""
        equal = ((self.mean == other.mean) | ~self.valid.bool()).all(-1)
        return _mean_alive(equal.float(), self.alive)

    def flat(self) -> Tensor:
        """[*batch, 2 * N * A] means, then logarithms of standard deviations, as RLlib's."""
        return torch.cat([self.mean.flatten(-2), self.std.log().flatten(-2)], dim=-1)

    def _counts(self) -> Tensor:
        return self.valid * self.alive.unsqueeze(-1)


TeamDistribution = TeamCategorical | TeamGaussian


def act(policy: TeamDistribution, *, explore: bool, generator: torch.Generator | None) -> Tensor:
    """Sampled actions, or modes. Noise is drawn on the CPU, whatever the device."""
    if not explore:
        return policy.mode()
    device = policy.head.device
    on_processor = policy if device.type == "cpu" else map_tensors(policy, Tensor.cpu)
    return on_processor.sample(generator).to(device)


def _mean_alive(per_agent: Tensor, alive: Tensor) -> Tensor:
    """Average over living agents; 0 where all are dead."""
    return (per_agent * alive).sum(-1) / alive.sum(-1).clamp_min(1)


MASKED_LOGIT = -1e9
"""Logit of a forbidden action: its probability is exactly 0, its logarithm remains finite."""
