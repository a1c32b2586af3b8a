"""Central critics: what the team can expect, given what only training sees."""

from __future__ import annotations

import torch
from torch import nn

from rllib_agentmixer.core.encoders import MIN_NORMALIZED_FEATURES
from rllib_agentmixer.core.normalization import ValueNormalizer
from rllib_agentmixer.core.policy_modifier import linear
from rllib_agentmixer.core.shapes import Bool, Float, Tensor


class StateValueCritic(nn.Module):
    """V(s): the team's expected discounted return from a global state.

    It predicts in normalised units. When the statistics of the targets move, its last layer
    is rescaled so that predictions in reward units stay what they were (PopArt, van Hasselt
    et al. 2016, arXiv:1602.07714): values stored with a rollout remain comparable.

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
        super().__init__()
        has_norm = normalize_input and state_size >= MIN_NORMALIZED_FEATURES
        layers: list[nn.Module] = [nn.LayerNorm(state_size)] if has_norm else []
        width = state_size
        for hidden in hidden_sizes:
            layers += [linear(width, hidden), nn.ReLU(), nn.LayerNorm(hidden)]
            width = hidden
        self.body = nn.Sequential(*layers)
        self.output = linear(width, 1, gain=1.0)
        self.normalizer = ValueNormalizer()
        self.normalize_values = normalize_values

    def forward(self, state: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch"]:
        """V(s) in normalised units."""
        return self.output(self.body(state)).squeeze(-1)

    def value(self, state: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch"]:
        """V(s) in reward units."""
        return self.normalizer.denormalize(self(state))

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
