"""The whole trained system of one team: individual policies, policy modifier, critic."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rllib_agentmixer.core.batch import RecurrentState, TeamInputs
from rllib_agentmixer.core.consistency import (
    gumbel_joint_logits,
    joint_std,
    strict_joint_logits,
)
from rllib_agentmixer.core.critics import StateValueCritic
from rllib_agentmixer.core.distributions import TeamCategorical, TeamDistribution, TeamGaussian
from rllib_agentmixer.core.hyperparameters import AgentMixerHyperparameters
from rllib_agentmixer.core.individual_policies import (
    MASKED_LOGIT,
    IndividualOutput,
    IndividualPolicies,
    TeamSizes,
)
from rllib_agentmixer.core.policy_modifier import PolicyModifier


@dataclass(frozen=True)
class PolicyOutput:
    """Joint and individual policies of the same rows.

    Attributes:
        joint: the policy that explores and is trained.
        individual: the product of the policies that will be deployed.
        hidden: recurrent state after the last step, or None.
    """

    joint: TeamDistribution
    individual: TeamDistribution
    hidden: RecurrentState | None


@dataclass(frozen=True)
class IndividualDecision:
    """Decentralised policies of some rows, and their recurrent state [N, B, H] or None."""

    policy: TeamDistribution
    hidden: Tensor | None


class TeamNetwork(nn.Module):
    """Individual policies, the modifier that correlates them, and V(s).

    Args:
        sizes: sizes of the team.
        settings: everything else.
    """

    temperature: float

    def __init__(self, sizes: TeamSizes, settings: AgentMixerHyperparameters) -> None:
        super().__init__()
        self.sizes = sizes
        self.settings = settings
        self.individual_policies = IndividualPolicies(sizes, settings)
        self.policy_modifier = PolicyModifier(sizes, settings)
        self.critic = StateValueCritic(
            sizes.state_size,
            tuple(settings.critic_hidden),
            normalize_values=settings.normalize_values,
            normalize_input=settings.input_layer_norm,
        )
        self.temperature = 1.0

    def initial_state(self, num_sequences: int) -> RecurrentState | None:
        """Zeros, or None without recurrence."""
        if not self.settings.use_gru:
            return None
        like = self.individual_policies.agent_embedding
        shape = (num_sequences, self.settings.hidden_size)
        return RecurrentState(
            like.new_zeros(self.sizes.num_agents, *shape), like.new_zeros(1, *shape)
        )

    def forward(self, inputs: TeamInputs, hidden: RecurrentState | None = None) -> PolicyOutput:
        """Joint and individual policies of [T, B] rows."""
        obs, mask, alive = (_agent_first(x) for x in (inputs.obs, inputs.action_mask, inputs.alive))
        own, own_modifier = (hidden.individual, hidden.modifier) if hidden else (None, None)
        individual = self.individual_policies(obs, mask, own)
        modifier = self.policy_modifier(
            individual, inputs.state.flatten(0, 1), mask, alive, own_modifier
        )
        joint = self._joint_parameters(individual, modifier.modifier, mask)
        leading = inputs.alive.shape[:2]
        after = None
        if individual.hidden is not None and modifier.hidden is not None:
            after = RecurrentState(individual.hidden, modifier.hidden)
        return PolicyOutput(
            joint=self._distribution(tuple(_rows_first(x, leading) for x in joint), inputs),
            individual=self._individual_distribution(individual, inputs),
            hidden=after,
        )

    def decide_individually(
        self, inputs: TeamInputs, hidden: Tensor | None = None
    ) -> IndividualDecision:
        """What each agent does from its own observation alone; the state is not read."""
        obs, mask = _agent_first(inputs.obs), _agent_first(inputs.action_mask)
        individual = self.individual_policies(obs, mask, hidden)
        return IndividualDecision(
            self._individual_distribution(individual, inputs), individual.hidden
        )

    def policy_from_flat(self, parameters: Tensor, inputs: TeamInputs) -> TeamDistribution:
        """The policy whose :meth:`flat` parameters [T, B, P] were stored beside ``inputs``."""
        shape = inputs.action_mask.shape
        if self.sizes.action_kind == "discrete":
            return TeamCategorical(parameters.reshape(shape), inputs.alive)
        mean, log_std = (part.reshape(shape) for part in parameters.chunk(2, -1))
        return TeamGaussian(mean, log_std.exp(), inputs.action_mask, inputs.alive)

    def _joint_parameters(
        self, individual: IndividualOutput, modifier: Tensor, mask: Tensor
    ) -> tuple[Tensor, ...]:
        """Agent-first logits, or mean and standard deviation, of the joint policy."""
        settings = self.settings
        squash = {"ceiling": settings.dispersion_ceiling, "gain": settings.dispersion_gain}
        if self.sizes.action_kind == "continuous":
            mean, spread = individual.head, modifier
            if settings.igc == "none":
                mean, spread = modifier.chunk(2, -1)
            return mean, joint_std(spread, **squash, min_std=settings.min_std)
        temperature = self.temperature
        if settings.igc == "none":
            return ((modifier / temperature).masked_fill(~mask, MASKED_LOGIT),)
        if settings.igc == "gumbel":
            return (
                gumbel_joint_logits(
                    individual.head, modifier, mask, **squash, temperature=temperature
                ),
            )
        return (
            strict_joint_logits(
                individual.head,
                modifier,
                mask,
                bound=settings.strict_bound,
                gain=settings.dispersion_gain,
                temperature=temperature,
            ),
        )

    def _individual_distribution(
        self, individual: IndividualOutput, inputs: TeamInputs
    ) -> TeamDistribution:
        head = _rows_first(individual.head, inputs.alive.shape[:2])
        if self.sizes.action_kind == "discrete":
            return self._distribution((head,), inputs)
        std = self.individual_policies.log_std.exp().expand_as(head)
        return self._distribution((head, std), inputs)

    def _distribution(self, parameters: tuple[Tensor, ...], inputs: TeamInputs) -> TeamDistribution:
        if self.sizes.action_kind == "discrete":
            return TeamCategorical(parameters[0], inputs.alive)
        return TeamGaussian(parameters[0], parameters[1], inputs.action_mask, inputs.alive)


def _agent_first(x: Tensor) -> Tensor:
    """[T, B, N, ...] -> [N, T * B, ...]."""
    return x.flatten(0, 1).transpose(0, 1)


def _rows_first(x: Tensor, leading: torch.Size) -> Tensor:
    """[N, T * B, ...] -> [T, B, N, ...]."""
    return x.transpose(0, 1).unflatten(0, leading)
