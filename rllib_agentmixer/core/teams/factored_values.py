"""Team whose joint value is factored over the agents' own action values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import RecurrentState, TeamInputs
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.functional.distributions import (
    MASKED_LOGIT,
    TeamCategorical,
    TeamDistribution,
    act,
)
from rllib_agentmixer.core.networks.individual_policies import IndividualOutput
from rllib_agentmixer.core.settings.base import scheduled_value
from rllib_agentmixer.core.settings.value_based import ValueSettings
from rllib_agentmixer.core.teams.outputs import Decision, PolicyOutput
from rllib_agentmixer.core.teams.team_module import IndividualTeam, rows_first


def epsilon_greedy(
    values: Tensor, action_mask: Tensor, alive: Tensor, epsilon: float
) -> TeamCategorical:
    """Policy that takes the best legal action, or with probability epsilon any legal one.

    Args:
        values: [*batch, N, A]; those of forbidden actions are the lowest.
        action_mask: [*batch, N, A] legal actions.
        alive: [*batch, N].
        epsilon: in [0, 1]; every agent tosses a coin of its own.
    """
    best = torch.zeros_like(values).scatter_(-1, values.argmax(-1, keepdim=True), 1.0)
    legal = action_mask.to(values.dtype)
    uniform = legal / legal.sum(-1, keepdim=True).clamp_min(1)
    probabilities = (1 - epsilon) * best + epsilon * uniform
    return TeamCategorical(probabilities.log().clamp_min(MASKED_LOGIT), alive)


class FactoredValues(IndividualTeam):
    r"""Individual action values :math:`Q_i(h_i, a_i)`, whose sum is that of the team.

    .. math:: Q_{tot}(h, a) = \sum_i Q_i(h_i, a_i)

    The heads of the individual policies are the values, so their modes are the greedy actions,
    and the greedy joint action is the tuple of them (Sunehag et al. 2018, arXiv:1706.05296).
    Agents that take no part add nothing.

    Args:
        sizes: sizes of the team.
        settings: everything else.
    """

    settings: ValueSettings

    def __init__(self, sizes: TeamSizes, settings: ValueSettings) -> None:
        super().__init__(sizes, settings, learns_std=False)
        self.epsilon = scheduled_value(settings.epsilon, 0)

    def follow_schedules(self, env_steps: int, *, as_tensors: bool = False) -> None:
        self.epsilon = scheduled_value(self.settings.epsilon, env_steps)

    def forward(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None = None,
        actions: Tensor | None = None,
    ) -> PolicyOutput:
        del actions
        individual = self.individual_output(inputs, hidden)
        values = rows_first(individual.head, inputs)
        after = None
        if hidden is not None and individual.hidden is not None:
            after = RecurrentState(individual.hidden)
        greedy = self.individual_distribution(individual, inputs)
        return PolicyOutput(self.exploring(values, inputs, self.epsilon), greedy, after)

    def act(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None,
        *,
        explore: bool,
        generator: torch.Generator,
        forward: Callable[..., PolicyOutput] | None = None,
    ) -> Decision:
        output = (forward or self)(inputs, hidden)
        # Not the mode of the exploring policy, which has none where epsilon is 1.
        policy = output.joint if explore else output.individual
        actions = act(policy, explore=explore, generator=generator)
        return Decision(actions, policy, output.hidden)

    def act_individually(
        self,
        inputs: TeamInputs,
        hidden: RecurrentState | None,
        *,
        explore: bool,
        generator: torch.Generator | None,
    ) -> Decision:
        individual = self.individual_output(inputs, hidden)
        values = rows_first(individual.head, inputs)
        policy = self.exploring(values, inputs, self.epsilon if explore else 0.0)
        actions = act(policy, explore=explore, generator=generator)
        after = None if individual.hidden is None else RecurrentState(individual.hidden)
        return Decision(actions, policy, after)

    def individual_distribution(
        self, individual: IndividualOutput, inputs: TeamInputs
    ) -> TeamDistribution:
        """Greedy policies of all agents."""
        return self.exploring(rows_first(individual.head, inputs), inputs, 0.0)

    @staticmethod
    def exploring(values: Tensor, inputs: TeamInputs, epsilon: float) -> TeamCategorical:
        """Epsilon-greedy policies of all agents."""
        return epsilon_greedy(values, inputs.action_mask, inputs.alive, epsilon)

    def values(self, inputs: TeamInputs) -> Tensor:
        """[T, B, N, A] action values of whole episodes, from empty recurrent states."""
        hidden = self.initial_state(inputs.alive.shape[1])
        return rows_first(self.individual_output(inputs, hidden).head, inputs)

    def mix(self, chosen: Tensor, inputs: TeamInputs) -> Tensor:
        """[T, B] the team's value, from each agent's [T, B, N]."""
        return (chosen * inputs.alive).sum(-1)
