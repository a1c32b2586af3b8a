"""Critics: expected returns, from the state or from each agent's own history."""

from __future__ import annotations

import torch
from torch import nn

from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.networks.encoders import MIN_NORMALIZED_FEATURES, GroupedLinear
from rllib_agentmixer.core.networks.individual_policies import agent_groups, obs_encoder
from rllib_agentmixer.core.networks.mixing import linear
from rllib_agentmixer.core.networks.normalization import ValueNormalizer
from rllib_agentmixer.core.settings.actor_critic import ActorCriticSettings
from rllib_agentmixer.core.shapes import Bool, Float, Tensor


class NormalizedCritic(nn.Module):
    """A critic that predicts in normalised units.

    When the statistics of the targets move, its last layer is rescaled so that predictions
    in reward units are unchanged (PopArt, van Hasselt et al. 2016, arXiv:1602.07714):
    values stored with a rollout remain comparable.

    Args:
        output: last layer, whose outputs are values.
        normalize_values: False keeps the identity as normaliser.
    """

    def __init__(self, output: nn.Linear | GroupedLinear, *, normalize_values: bool) -> None:
        super().__init__()
        self.output = output
        self.normalizer = ValueNormalizer()
        self.normalize_values = normalize_values

    @torch.no_grad()
    def observe_targets(
        self, targets: Float[Tensor, "*batch"], valid: Bool[Tensor, "*batch"]
    ) -> None:
        """Take new value targets into the statistics; predictions do not move."""
        if not self.normalize_values:
            return
        old_mean, old_std = self.normalizer.mean.clone(), self.normalizer.std.clone()
        self.normalizer.update(targets, valid)
        mean, std = self.normalizer.mean, self.normalizer.std
        self.output.weight.mul_(old_std / std)
        self.output.bias.copy_((self.output.bias * old_std + old_mean - mean) / std)


class StateValueCritic(NormalizedCritic):
    """V(s): the team's expected discounted return from a global state.

    Args:
        state_size: S.
        hidden_sizes: widths of the hidden layers.
        normalize_values: False keeps the identity as normaliser.
        normalize_input: LayerNorm on the state, where that leaves something of it.
    """

    def __init__(
        self,
        state_size: int,
        hidden_sizes: tuple[int, ...],
        *,
        normalize_values: bool,
        normalize_input: bool = True,
    ) -> None:
        has_norm = normalize_input and state_size >= MIN_NORMALIZED_FEATURES
        layers: list[nn.Module] = [nn.LayerNorm(state_size)] if has_norm else []
        width = state_size
        for hidden in hidden_sizes:
            layers += [linear(width, hidden), nn.ReLU(), nn.LayerNorm(hidden)]
            width = hidden
        super().__init__(linear(width, 1, gain=1.0), normalize_values=normalize_values)
        self.body = nn.Sequential(*layers)

    def forward(self, state: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch"]:
        """V(s) in normalised units."""
        return self.output(self.body(state)).squeeze(-1)

    def value(self, state: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch"]:
        """V(s) in reward units."""
        return self.normalizer.denormalize(self(state))


class IndividualValueCritic(NormalizedCritic):
    """V_i(h_i): the team's expected return from each agent's own observation history.

    A torso as the individual policies', with parameters of its own (de Witt et al. 2020,
    arXiv:2011.09533).

    Args:
        sizes: sizes of the team.
        settings: widths, recurrence and parameter sharing.
    """

    def __init__(self, sizes: TeamSizes, settings: ActorCriticSettings) -> None:
        groups = agent_groups(settings.parameter_sharing, sizes.num_agents)
        width = settings.hidden_size
        super().__init__(
            GroupedLinear(groups, width, 1, gain=1.0), normalize_values=settings.normalize_values
        )
        self.encoder = obs_encoder(groups, sizes, settings)
        self.agent_embedding = nn.Parameter(torch.zeros(sizes.num_agents, width))

    def forward(
        self, obs: Float[Tensor, "N R O"], hidden: Float[Tensor, "N B H"] | None
    ) -> tuple[Float[Tensor, "N R"], Float[Tensor, "N B H"] | None]:
        """V_i in normalised units, and the recurrent state after the last step."""
        features, hidden = self.encoder(obs, hidden)
        return self.output(features + self.agent_embedding[:, None]).squeeze(-1), hidden
