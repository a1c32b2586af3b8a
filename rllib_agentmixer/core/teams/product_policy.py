"""Team of independent policies with a critic: MAPPO, IPPO, HAPPO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import RecurrentState, TeamInputs, map_tensors
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.networks.critics import IndividualValueCritic, StateValueCritic
from rllib_agentmixer.core.settings.actor_critic import ActorCriticSettings
from rllib_agentmixer.core.teams.outputs import Decision, LossTerm, PolicyOutput, Values
from rllib_agentmixer.core.teams.team_module import IndividualTeam, agent_first, rows_first


class ProductPolicy(IndividualTeam):
    """Individual policies, whose product acts, and a critic of the state or of histories.

    Args:
        sizes: sizes of the team.
        settings: everything else.
        learns_std: whether continuous individual policies learn their standard deviation.

    Raises:
        ConfigError: a sharing of parameters that does not fit the team.
    """

    settings: ActorCriticSettings

    def __init__(
        self, sizes: TeamSizes, settings: ActorCriticSettings, *, learns_std: bool = True
    ) -> None:
        super().__init__(sizes, settings, learns_std=learns_std)
        self.add_modules()
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

    def add_modules(self) -> None:
        """Build the modules between policies and critic; the order decides initial weights."""

    @property
    def fits_individual_std(self) -> bool:
        """Whether learners fit the individual standard deviation to that of the joint policy."""
        return False

    def initial_state(self, num_sequences: int) -> RecurrentState | None:
        """Zeros of the policies, and of critics V_i(h_i)."""
        state = super().initial_state(num_sequences)
        if state is None or self.settings.critic_input != "obs":
            return state
        return replace(state, critic=self.zero_state(self.sizes.num_agents, num_sequences))

    def act(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None,
        *,
        explore: bool,
        generator: torch.Generator,
        forward: Callable[..., PolicyOutput] | None = None,
    ) -> Decision:
        decision = super().act(
            inputs, hidden, explore=explore, generator=generator, forward=forward
        )
        return replace(decision, hidden=self.with_critic(inputs, decision.hidden))

    def values(self, inputs: TeamInputs, hidden: Tensor | None = None) -> Values:
        """Values of [T, B] rows; ``hidden`` is the critic's own recurrent state."""
        if isinstance(self.critic, StateValueCritic):
            return Values(self.critic(inputs.state), None)
        values, hidden = self.critic(agent_first(inputs.obs), hidden)
        return Values(rows_first(values, inputs), hidden)

    def reward_unit_values(self, inputs: TeamInputs, hidden: Tensor | None = None) -> Tensor:
        """V in reward units of rows that are not sequences: [..] of the state or [.., N].

        Args:
            inputs: [..] joint observations.
            hidden: [N, R, H] state of a recurrent critic before each of the R rows.
        """
        if isinstance(self.critic, StateValueCritic):
            return self.critic.value(inputs.state)
        leading = inputs.alive.shape[:-1]
        num_leading = len(leading)
        rows = map_tensors(inputs, lambda x: x.reshape(1, -1, *x.shape[num_leading:]))
        values = self.values(rows, hidden).normalized
        return self.critic.normalizer.denormalize(values).reshape(*leading, -1)

    def auxiliary_losses(self, output: PolicyOutput, valid: Tensor) -> dict[str, LossTerm]:
        """Terms by name that a team adds to its policy loss."""
        del output, valid
        return {}

    def with_critic(
        self, inputs: TeamInputs, hidden: RecurrentState | None
    ) -> RecurrentState | None:
        """The state after a step of play, with a recurrent critic moved on as well."""
        if hidden is None or hidden.critic is None:
            return hidden
        return replace(hidden, critic=self.values(inputs, hidden.critic).hidden)
