"""The whole trained system of one team: individual policies, policy modifier, critic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rllib_agentmixer.core.data.batch import RecurrentState, TeamInputs, map_tensors
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.functional.consistency import joint_parameters
from rllib_agentmixer.core.functional.distributions import (
    TeamCategorical,
    TeamDistribution,
    TeamGaussian,
    act,
)
from rllib_agentmixer.core.networks.correlation import (
    action_inputs,
    agent_order,
    fixed_order,
    precedence,
    sample_latents,
)
from rllib_agentmixer.core.networks.critics import IndividualValueCritic, StateValueCritic
from rllib_agentmixer.core.networks.individual_policies import IndividualOutput, IndividualPolicies
from rllib_agentmixer.core.networks.policy_modifier import PolicyModifier
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.core.teams.outputs import (
    IndividualDecision,
    JointDecision,
    PolicyOutput,
    Values,
)


@dataclass(frozen=True)
class _Parts:
    """What both evaluation and sampling of the joint policy start from, agent-first."""

    individual: IndividualOutput
    mixed: Tensor | None
    mask: Tensor
    alive: Tensor
    hidden: RecurrentState | None


@dataclass(frozen=True)
class _Chosen:
    """Actions and joint parameters that agents chose in turn, agent-first."""

    actions: Tensor
    parameters: tuple[Tensor, ...]


class TeamNetwork(nn.Module):
    """Individual policies, the modifier that correlates them (if any), and a critic.

    Args:
        sizes: sizes of the team.
        settings: everything else; those of AgentMixer bring the modifier.

    Raises:
        ConfigError: an order of agents, or a sharing of parameters, that does not fit the team.
    """

    temperature: float | Tensor

    def __init__(self, sizes: TeamSizes, settings: TeamSettings) -> None:
        super().__init__()
        self.sizes = sizes
        self.settings = settings
        self.individual_policies = IndividualPolicies(sizes, settings)
        has_modifier = settings.policy_modifier != "none"
        self.policy_modifier, self.mixing = None, None
        if has_modifier and isinstance(settings, AgentMixerSettings):
            self.policy_modifier, self.mixing = PolicyModifier(sizes, settings), settings
            self.order = fixed_order(settings.agent_order, sizes.num_agents)
        self.critic: StateValueCritic | IndividualValueCritic
        if settings.critic_input == "obs":
            self.critic = IndividualValueCritic(sizes, settings)
        else:
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
        of_agents = (self.sizes.num_agents, *shape)
        return RecurrentState(
            individual=like.new_zeros(of_agents),
            modifier=like.new_zeros(1, *shape) if self.policy_modifier else None,
            critic=like.new_zeros(of_agents) if self.settings.critic_input == "obs" else None,
        )

    def sample_latents(
        self, inputs: TeamInputs, generator: torch.Generator, *, explore: bool
    ) -> TeamInputs:
        """The inputs with what a correlated joint policy draws for them."""
        if self.mixing is None:
            return inputs
        leading, device = inputs.alive.shape[:2], inputs.alive.device
        latents = sample_latents(
            self.mixing, self.sizes.num_agents, leading, explore=explore, generator=generator
        )
        if latents is None:
            return inputs
        return replace(inputs, latents=map_tensors(latents, lambda x: x.to(device)))

    def forward(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None = None,
        actions: Tensor | None = None,
    ) -> PolicyOutput:
        """Joint and individual policies of [T, B] rows.

        Args:
            inputs: what the networks read, with the stored draws of a correlated form.
            hidden: recurrent state before the first step.
            actions: what the team did; the autoregressive form is given them.
        """
        parts = self._parts(inputs, hidden)
        individual = self._individual_distribution(parts.individual, inputs)
        if self.policy_modifier is None or parts.mixed is None:
            return PolicyOutput(individual, individual, parts.hidden)
        mixed = parts.mixed
        if self.policy_modifier.conditioning is not None:
            if actions is None:
                raise ValueError("the autoregressive form is evaluated for actions, got None")
            taken = self._action_inputs(_agent_first(actions), parts.alive, parts.mask)
            mixed = self.policy_modifier.conditioning(mixed, taken, self._precedes(inputs))
        joint = self._joint_parameters(
            parts.individual.head, self.policy_modifier.dispersion(mixed), parts.mask
        )
        return PolicyOutput(self._from_agent_first(joint, inputs), individual, parts.hidden)

    def decide(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None,
        *,
        explore: bool,
        generator: torch.Generator,
        forward: Callable[..., PolicyOutput] | None = None,
    ) -> JointDecision:
        """Actions of the joint policy, sampled or its mode agent by agent, and the state after.

        Args:
            inputs: what the networks read.
            hidden: recurrent state before the step.
            explore: False takes modes.
            generator: of the noise.
            forward: :meth:`forward` in a compiled form; the autoregressive form has none.
        """
        modifier = self.policy_modifier
        if modifier is None or modifier.conditioning is None:
            output = (forward or self)(inputs, hidden)
            actions = act(output.joint, explore=explore, generator=generator)
            return JointDecision(actions, output.joint, self._with_critic(inputs, output.hidden))
        parts = self._parts(inputs, hidden)
        chosen = self._decide_in_turn(parts, agent_order(inputs, self.order), explore, generator)
        policy = self._from_agent_first(chosen.parameters, inputs)
        hidden = self._with_critic(inputs, parts.hidden)
        return JointDecision(_rows_first(chosen.actions, inputs), policy, hidden)

    def decide_individually(
        self, inputs: TeamInputs, hidden: Tensor | None = None
    ) -> IndividualDecision:
        """What each agent does from its own observation alone; the state is not read."""
        obs, mask = _agent_first(inputs.obs), _agent_first(inputs.action_mask)
        individual = self.individual_policies(obs, mask, hidden)
        policy = self._individual_distribution(individual, inputs)
        return IndividualDecision(policy, individual.hidden)

    def values(self, inputs: TeamInputs, hidden: Tensor | None = None) -> Values:
        """What the critic expects at [T, B] rows; ``hidden`` is its own recurrent state."""
        if isinstance(self.critic, StateValueCritic):
            return Values(self.critic(inputs.state), None)
        values, hidden = self.critic(_agent_first(inputs.obs), hidden)
        return Values(_rows_first(values, inputs), hidden)

    def policy_from_flat(self, parameters: Tensor, inputs: TeamInputs) -> TeamDistribution:
        """The policy whose :meth:`flat` parameters [T, B, P] were stored beside ``inputs``."""
        shape = inputs.action_mask.shape
        if self.sizes.is_discrete:
            return TeamCategorical(parameters.reshape(shape), inputs.alive)
        mean, log_std = (part.reshape(shape) for part in parameters.chunk(2, -1))
        return TeamGaussian(mean, log_std.exp(), inputs.action_mask, inputs.alive)

    def _parts(self, inputs: TeamInputs, hidden: RecurrentState | None) -> _Parts:
        obs, mask, alive = (_agent_first(x) for x in (inputs.obs, inputs.action_mask, inputs.alive))
        individual = self.individual_policies(obs, mask, hidden.individual if hidden else None)
        mixed, after_modifier = None, None
        if self.policy_modifier is not None:
            signal = inputs.latents.signal if inputs.latents else None
            output = self.policy_modifier(
                individual,
                inputs.state.flatten(0, 1),
                mask,
                alive,
                hidden.modifier if hidden else None,
                None if signal is None else signal.flatten(0, 1),
            )
            mixed, after_modifier = output.agents, output.hidden
        after = None
        if hidden is not None and individual.hidden is not None:
            # The critic's own state moves when values are asked for, not here.
            after = RecurrentState(individual.hidden, after_modifier, hidden.critic)
        return _Parts(individual, mixed, mask, alive, after)

    def _decide_in_turn(
        self, parts: _Parts, order: Tensor, explore: bool, generator: torch.Generator
    ) -> _Chosen:
        """One light pass per agent: only what depends on actions is computed again."""
        modifier, mixed = self.policy_modifier, parts.mixed
        if modifier is None or modifier.conditioning is None or mixed is None:
            raise ValueError("agents act in turn in the autoregressive form alone")
        rows = torch.arange(mixed.shape[1], device=mixed.device)
        heard = torch.zeros_like(mixed[0])
        actions, parameters = [], []
        turns = order.flatten(0, 1).T  # [N, R] who acts at each turn
        for agent in turns:
            own = (agent, rows)
            embedding = modifier.conditioning.channels(mixed[own] + heard)
            chosen = self._joint_parameters(
                parts.individual.head[own], modifier.dispersion(embedding), parts.mask[own]
            )
            alone = self._distribution(chosen, parts.alive[own], parts.mask[own])
            action = act(alone, explore=explore, generator=generator)
            taken = self._action_inputs(action, parts.alive[own], parts.mask[own])
            heard = heard + modifier.conditioning.embed(taken, agent)
            actions.append(action)
            parameters.append(chosen)
        back = turns.argsort(0)  # [N, R] at which turn each agent acted
        return _Chosen(
            torch.stack(actions)[back, rows],
            tuple(torch.stack(parts)[back, rows] for parts in zip(*parameters, strict=True)),
        )

    def _with_critic(
        self, inputs: TeamInputs, hidden: RecurrentState | None
    ) -> RecurrentState | None:
        """The state after a step of play, with a recurrent critic moved on as well."""
        if hidden is None or hidden.critic is None:
            return hidden
        return replace(hidden, critic=self.values(inputs, hidden.critic).hidden)

    def _precedes(self, inputs: TeamInputs) -> Tensor:
        """[T * B, N, N] who acts before whom; a fixed order is compared once for all rows."""
        if inputs.latents is not None and inputs.latents.agent_order is not None:
            return precedence(inputs.latents.agent_order.flatten(0, 1))
        one_row = agent_order(inputs, self.order)[0, :1]
        return precedence(one_row).expand(inputs.alive[..., 0].numel(), -1, -1)

    def _action_inputs(self, actions: Tensor, alive: Tensor, mask: Tensor) -> Tensor:
        """[.., A] actions as the modifier hears them; the dead and the padding are silent."""
        sizes, present = self.sizes, alive.unsqueeze(-1)
        heard = action_inputs(actions, sizes.num_actions, is_discrete=sizes.is_discrete)
        return heard * (present if sizes.is_discrete else present & mask)

    def _joint_parameters(self, head: Tensor, spread: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        if self.mixing is None:
            raise ValueError("without a policy modifier the joint policy is the individual ones")
        is_discrete, tau = self.sizes.is_discrete, self.temperature
        return joint_parameters(
            self.mixing, head, spread, mask, is_discrete=is_discrete, temperature=tau
        )

    def _individual_distribution(
        self, individual: IndividualOutput, inputs: TeamInputs
    ) -> TeamDistribution:
        if self.sizes.is_discrete:
            return self._from_agent_first((individual.head,), inputs)
        std = self.individual_policies.log_std.exp()[:, None].expand_as(individual.head)
        return self._from_agent_first((individual.head, std), inputs)

    def _from_agent_first(
        self, parameters: tuple[Tensor, ...], inputs: TeamInputs
    ) -> TeamDistribution:
        by_rows = tuple(_rows_first(x, inputs) for x in parameters)
        return self._distribution(by_rows, inputs.alive, inputs.action_mask)

    def _distribution(
        self, parameters: tuple[Tensor, ...], alive: Tensor, mask: Tensor
    ) -> TeamDistribution:
        if self.sizes.is_discrete:
            return TeamCategorical(parameters[0], alive)
        return TeamGaussian(parameters[0], parameters[1], mask, alive)


def _agent_first(x: Tensor) -> Tensor:
    """[T, B, N, ...] -> [N, T * B, ...]."""
    return x.flatten(0, 1).transpose(0, 1)


def _rows_first(x: Tensor, inputs: TeamInputs) -> Tensor:
    """[N, T * B, ...] -> [T, B, N, ...]."""
    return x.transpose(0, 1).unflatten(0, inputs.alive.shape[:2])
