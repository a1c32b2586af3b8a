"""Interface of the networks that an algorithm trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rllib_agentmixer.core.data.batch import RecurrentState, TeamInputs
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.functional.distributions import (
    TeamCategorical,
    TeamDistribution,
    TeamGaussian,
    act,
)
from rllib_agentmixer.core.networks.individual_policies import IndividualOutput, IndividualPolicies
from rllib_agentmixer.core.teams.outputs import Decision, PolicyOutput


class TeamModule(nn.Module, ABC):
    """Networks of a team: acting, evaluation and export see nothing else of an algorithm.

    Attributes:
        sizes: sizes of the team.
        settings: of the algorithm.
        individual_policies: what is exported; None where execution is not decentralised.
    """

    individual_policies: Any

    def __init__(self, sizes: TeamSizes, settings: Any) -> None:
        super().__init__()
        self.sizes = sizes
        self.settings = settings

    @property
    def is_product(self) -> bool:
        """Whether the behaviour policy is the product of the individual policies."""
        return True

    @property
    def is_factored(self) -> bool:
        """Whether the behaviour policy is a product over agents, given what the networks read."""
        return True

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device

    @property
    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Trained parameters by the name of their network, for gradient norms by part."""
        named = {name: list(child.parameters()) for name, child in self.named_children()}
        return {name: parameters for name, parameters in named.items() if parameters}

    def initial_state(self, num_sequences: int) -> RecurrentState | None:
        """Recurrent state at the start of B episodes; None without recurrence."""
        del num_sequences
        return None

    def sample_latents(
        self, inputs: TeamInputs, generator: torch.Generator, *, explore: bool
    ) -> TeamInputs:
        """Inputs with the latents that the behaviour policy samples, if any."""
        del generator, explore
        return inputs

    def follow_schedules(self, env_steps: int, *, as_tensors: bool = False) -> None:
        """Update values that depend on the number of sampled steps, such as a temperature.

        Args:
            env_steps: joint environment steps sampled so far.
            as_tensors: keep it in tensors, which compiled functions read anew at every call.
        """

    @abstractmethod
    def forward(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None = None,
        actions: Tensor | None = None,
    ) -> PolicyOutput:
        """Behaviour policy (``joint``) and individual policies of [T, B] rows.

        Args:
            inputs: joint observations, with the stored latents of a policy that has some.
            hidden: recurrent state before the first step.
            actions: what the team did; a policy whose agents act in turn is conditional on it.
        """

    def act(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None,
        *,
        explore: bool,
        generator: torch.Generator,
        forward: Callable[..., PolicyOutput] | None = None,
    ) -> Decision:
        """Actions of the behaviour policy, sampled or its mode.

        Args:
            inputs: [T, B, ..] joint observations with their latents.
            hidden: recurrent state before the step.
            explore: False takes modes.
            generator: of the noise.
            forward: :meth:`forward` in a compiled form, where there is a use for one.
        """
        output = (forward or self)(inputs, hidden)
        actions = act(output.joint, explore=explore, generator=generator)
        return Decision(actions, output.joint, output.hidden)

    @abstractmethod
    def act_individually(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None,
        *,
        explore: bool,
        generator: torch.Generator | None,
    ) -> Decision:
        """Actions of the individual policies, each from its own observation; no state is read.

        The state after the step holds that of the individual policies; other parts of
        ``hidden`` remain as they are.
        """

    def policy_from_flat(self, parameters: Tensor, inputs: TeamInputs) -> TeamDistribution:
        """The policy whose :meth:`flat` parameters [.., P] were stored beside ``inputs``."""
        shape = inputs.action_mask.shape
        if self.sizes.is_discrete:
            return TeamCategorical(parameters.reshape(shape), inputs.alive)
        mean, log_std = (part.reshape(shape) for part in parameters.chunk(2, -1))
        return TeamGaussian(mean, log_std.exp(), inputs.action_mask, inputs.alive)


class IndividualTeam(TeamModule):
    """A team whose agents execute individual policies, each from its own observation history.

    Args:
        sizes: sizes of the team.
        settings: of the algorithm.
        learns_std: whether continuous individual policies learn their standard deviation.
    """

    individual_policies: IndividualPolicies

    def __init__(self, sizes: TeamSizes, settings: Any, *, learns_std: bool = True) -> None:
        super().__init__(sizes, settings)
        self.individual_policies = IndividualPolicies(sizes, settings, learns_std=learns_std)

    def initial_state(self, num_sequences: int) -> RecurrentState | None:
        """Zeros, or None without recurrence."""
        if not self.settings.use_gru:
            return None
        return RecurrentState(individual=self.zero_state(self.sizes.num_agents, num_sequences))

    def forward(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None = None,
        actions: Tensor | None = None,
    ) -> PolicyOutput:
        del actions
        individual = self.individual_output(inputs, hidden)
        policy = self.individual_distribution(individual, inputs)
        after = None
        if hidden is not None and individual.hidden is not None:
            # Other parts, such as a critic's, advance in their own forward pass, not here.
            after = replace(hidden, individual=individual.hidden)
        return PolicyOutput(policy, policy, after)

    def zero_state(self, *leading: int) -> Tensor:
        """[.., H] zeros on the device of the parameters."""
        like = self.individual_policies.agent_embedding
        return like.new_zeros(*leading, self.settings.hidden_size)

    def act_individually(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None,
        *,
        explore: bool,
        generator: torch.Generator | None,
    ) -> Decision:
        individual = self.individual_output(inputs, hidden)
        policy = self.individual_distribution(individual, inputs)
        actions = act(policy, explore=explore, generator=generator)
        if hidden is not None and individual.hidden is not None:
            hidden = replace(hidden, individual=individual.hidden)
        return Decision(actions, policy, hidden)

    def individual_output(
        self, inputs: TeamInputs, hidden: RecurrentState | None
    ) -> IndividualOutput:
        """Output of the individual policies, agent-first; no state is read."""
        obs, mask = agent_first(inputs.obs), agent_first(inputs.action_mask)
        return self.individual_policies(obs, mask, hidden.individual if hidden else None)

    def individual_distribution(
        self, individual: IndividualOutput, inputs: TeamInputs
    ) -> TeamDistribution:
        """The product of the individual policies."""
        if self.sizes.is_discrete:
            return self.from_agent_first((individual.head,), inputs)
        std = self.individual_policies.log_std.exp()[:, None].expand_as(individual.head)
        return self.from_agent_first((individual.head, std), inputs)

    def from_agent_first(
        self, parameters: tuple[Tensor, ...], inputs: TeamInputs
    ) -> TeamDistribution:
        """A distribution from logits, or from mean and standard deviation, [N, R, A] each."""
        by_rows = tuple(rows_first(x, inputs) for x in parameters)
        return self.distribution(by_rows, inputs.alive, inputs.action_mask)

    def distribution(
        self, parameters: tuple[Tensor, ...], alive: Tensor, mask: Tensor
    ) -> TeamDistribution:
        """A distribution of the team's kind of actions."""
        if self.sizes.is_discrete:
            return TeamCategorical(parameters[0], alive)
        return TeamGaussian(parameters[0], parameters[1], mask, alive)


def agent_first(x: Tensor) -> Tensor:
    """[T, B, N, ...] -> [N, T * B, ...]."""
    return x.flatten(0, 1).transpose(0, 1)


def rows_first(x: Tensor, inputs: TeamInputs) -> Tensor:
    """[N, T * B, ...] -> [T, B, N, ...]."""
    return x.transpose(0, 1).unflatten(0, inputs.alive.shape[:2])
