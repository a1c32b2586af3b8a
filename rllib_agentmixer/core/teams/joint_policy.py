"""Team of AgentMixer: individual policies, correlated by a policy modifier while they train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import RecurrentState, TeamInputs, map_tensors
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.functional.consistency import distillation_loss, joint_parameters
from rllib_agentmixer.core.functional.distributions import act
from rllib_agentmixer.core.networks.correlation import (
    action_inputs,
    agent_order,
    fixed_order,
    precedence,
    sample_latents,
)
from rllib_agentmixer.core.networks.individual_policies import IndividualOutput
from rllib_agentmixer.core.networks.policy_modifier import PolicyModifier
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.settings.base import scheduled_value
from rllib_agentmixer.core.teams.outputs import Decision, LossTerm, PolicyOutput
from rllib_agentmixer.core.teams.product_policy import ProductPolicy
from rllib_agentmixer.core.teams.team_module import agent_first, rows_first


@dataclass(frozen=True)
class _Parts:
    """Features from which the joint policy is evaluated or sampled, agent-first."""

    individual: IndividualOutput
    mixed: Tensor
    mask: Tensor
    alive: Tensor
    hidden: RecurrentState | None


@dataclass(frozen=True)
class _Chosen:
    """Actions and joint parameters that agents chose in turn, agent-first."""

    actions: Tensor
    parameters: tuple[Tensor, ...]


def agentmixer_team(sizes: TeamSizes, settings: AgentMixerSettings) -> ProductPolicy:
    """The team of AgentMixer; without a policy modifier it is a product of policies."""
    kind = ProductPolicy if settings.policy_modifier == "none" else JointPolicy
    return kind(sizes, settings)


class JointPolicy(ProductPolicy):
    """Differs from its parent in the policy that acts: a modifier correlates the individual ones.

    Args:
        sizes: sizes of the team.
        settings: everything else.

    Raises:
        ConfigError: an order of agents, or a sharing of parameters, that does not fit the team.
    """

    settings: AgentMixerSettings  # pyright: ignore[reportIncompatibleVariableOverride]
    temperature: float | Tensor

    def __init__(self, sizes: TeamSizes, settings: AgentMixerSettings) -> None:
        super().__init__(sizes, settings, learns_std=False)
        self.temperature = 1.0

    def add_modules(self) -> None:
        self.policy_modifier = PolicyModifier(self.sizes, self.settings)
        self.order = fixed_order(self.settings.agent_order, self.sizes.num_agents)

    @property
    def is_product(self) -> bool:
        return False

    @property
    def is_factored(self) -> bool:
        return self.settings.correlation == "state"

    @property
    def fits_individual_std(self) -> bool:
        return self.settings.sample_std_from_joint

    def follow_schedules(self, env_steps: int, *, as_tensors: bool = False) -> None:
        value = scheduled_value(self.settings.temperature, env_steps)
        # A number would be compiled in, and a schedule have everything compiled every time.
        is_moving = isinstance(self.settings.temperature, (list, tuple))
        self.temperature = torch.tensor(value) if as_tensors and is_moving else value

    def initial_state(self, num_sequences: int) -> RecurrentState | None:
        state = super().initial_state(num_sequences)
        return state and replace(state, modifier=self.zero_state(1, num_sequences))

    def sample_latents(
        self, inputs: TeamInputs, generator: torch.Generator, *, explore: bool
    ) -> TeamInputs:
        leading, device = inputs.alive.shape[:2], inputs.alive.device
        latents = sample_latents(
            self.settings, self.sizes.num_agents, leading, explore=explore, generator=generator
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
        parts = self._parts(inputs, hidden)
        individual = self.individual_distribution(parts.individual, inputs)
        mixed = parts.mixed
        if self.policy_modifier.conditioning is not None:
            if actions is None:
                raise ValueError(
                    "correlation='autoregressive' is evaluated for given actions, got None"
                )
            taken = self._action_inputs(agent_first(actions), parts.alive, parts.mask)
            mixed = self.policy_modifier.conditioning(mixed, taken, self._precedes(inputs))
        joint = self._joint_parameters(
            parts.individual.head, self.policy_modifier.dispersion(mixed), parts.mask
        )
        return PolicyOutput(self.from_agent_first(joint, inputs), individual, parts.hidden)

    def act(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None,
        *,
        explore: bool,
        generator: torch.Generator,
        forward: Callable[..., PolicyOutput] | None = None,
    ) -> Decision:
        """Actions of all agents at once, or in turn under the autoregressive form."""
        if self.policy_modifier.conditioning is None:
            return super().act(
                inputs, hidden, explore=explore, generator=generator, forward=forward
            )
        parts = self._parts(inputs, hidden)
        chosen = self._decide_in_turn(parts, agent_order(inputs, self.order), explore, generator)
        policy = self.from_agent_first(chosen.parameters, inputs)
        hidden = self.with_critic(inputs, parts.hidden)
        return Decision(rows_first(chosen.actions, inputs), policy, hidden)

    def auxiliary_losses(self, output: PolicyOutput, valid: Tensor) -> dict[str, LossTerm]:
        weight = self.settings.distillation_coeff
        if not weight:
            return {}
        loss = distillation_loss(output.joint, output.individual, valid)
        return {"distillation_loss": LossTerm(loss, weight)}

    def _parts(self, inputs: TeamInputs, hidden: RecurrentState | None) -> _Parts:
        obs, mask, alive = (agent_first(x) for x in (inputs.obs, inputs.action_mask, inputs.alive))
        individual = self.individual_policies(obs, mask, hidden.individual if hidden else None)
        signal = inputs.latents.signal if inputs.latents else None
        output = self.policy_modifier(
            individual,
            inputs.state.flatten(0, 1),
            mask,
            alive,
            hidden.modifier if hidden else None,
            None if signal is None else signal.flatten(0, 1),
        )
        after = None
        if hidden is not None and individual.hidden is not None:
            # The critic's own state advances when values are computed, not here.
            after = RecurrentState(individual.hidden, output.hidden, hidden.critic)
        return _Parts(individual, output.agents, mask, alive, after)

    def _decide_in_turn(
        self, parts: _Parts, order: Tensor, explore: bool, generator: torch.Generator
    ) -> _Chosen:
        """Sample agent by agent; only what depends on actions is recomputed."""
        modifier, mixed = self.policy_modifier, parts.mixed
        if modifier.conditioning is None:
            raise ValueError("agents act in turn only with correlation='autoregressive'")
        rows = torch.arange(mixed.shape[1], device=mixed.device)
        messages = torch.zeros_like(mixed[0])
        actions, parameters = [], []
        turns = order.flatten(0, 1).T  # [N, R] who acts at each turn
        for agent in turns:
            own = (agent, rows)
            embedding = modifier.conditioning.channels(mixed[own] + messages)
            chosen = self._joint_parameters(
                parts.individual.head[own], modifier.dispersion(embedding), parts.mask[own]
            )
            alone = self.distribution(chosen, parts.alive[own], parts.mask[own])
            action = act(alone, explore=explore, generator=generator)
            taken = self._action_inputs(action, parts.alive[own], parts.mask[own])
            messages = messages + modifier.conditioning.embed(taken, agent)
            actions.append(action)
            parameters.append(chosen)
        back = turns.argsort(0)  # [N, R] at which turn each agent acted
        return _Chosen(
            torch.stack(actions)[back, rows],
            tuple(torch.stack(parts)[back, rows] for parts in zip(*parameters, strict=True)),
        )

    def _precedes(self, inputs: TeamInputs) -> Tensor:
        """[T * B, N, N] precedence of the agents; a fixed order is compared once for all rows."""
        if inputs.latents is not None and inputs.latents.agent_order is not None:
            return precedence(inputs.latents.agent_order.flatten(0, 1))
        one_row = agent_order(inputs, self.order)[0, :1]
        return precedence(one_row).expand(inputs.alive[..., 0].numel(), -1, -1)

    def _action_inputs(self, actions: Tensor, alive: Tensor, mask: Tensor) -> Tensor:
        """[.., A] actions as inputs of the modifier; zeros for dead agents and padding."""
        sizes, present = self.sizes, alive.unsqueeze(-1)
        messages = action_inputs(actions, sizes.num_actions, is_discrete=sizes.is_discrete)
        return messages * (present if sizes.is_discrete else present & mask)

    def _joint_parameters(self, head: Tensor, spread: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        is_discrete, tau = self.sizes.is_discrete, self.temperature
        return joint_parameters(
            self.settings, head, spread, mask, is_discrete=is_discrete, temperature=tau
        )
