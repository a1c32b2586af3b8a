"""Decentralised policies, one per agent: the only part of a trained team that is exported."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.functional.distributions import MASKED_LOGIT
from rllib_agentmixer.core.networks.encoders import (
    OUTPUT_GAIN,
    GroupedLayerNorm,
    GroupedLinear,
    TeamEncoder,
)
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.core.shapes import Bool, Float, Tensor
from rllib_agentmixer.errors import ConfigError

INITIAL_STD = 0.5
"""Standard deviation of continuous individual policies before training, normalised units."""


@dataclass(frozen=True)
class IndividualOutput:
    """Output of the individual policies, agent-first.

    Attributes:
        head: [N, R, A] masked logits (discrete) or means (continuous).
        features: [N, R, H] f_i, which the policy modifier reads detached.
        hidden: [N, B, H] recurrent state after the last step, or None.
    """

    head: Tensor
    features: Tensor
    hidden: Tensor | None


def agent_groups(sharing: str | list[list[int]], num_agents: int) -> tuple[int, ...]:
    """Parameter group of each agent, from ``separate``, ``shared`` or lists of indices."""
    if sharing == "separate":
        return tuple(range(num_agents))
    if sharing == "shared":
        return (0,) * num_agents
    if sorted(agent for members in sharing for agent in members) != list(range(num_agents)):
        raise ConfigError(
            f"parameter_sharing must name each of the {num_agents} agents once, got {sharing!r}"
        )
    groups = [0] * num_agents
    for index, members in enumerate(sharing):
        for agent in members:
            groups[int(agent)] = index
    return tuple(groups)


def obs_encoder(groups: tuple[int, ...], sizes: TeamSizes, settings: TeamSettings) -> TeamEncoder:
    """Torso over every agent's own observation history."""
    return TeamEncoder(
        groups,
        sizes.obs_size,
        settings.hidden_size,
        num_hidden_layers=settings.num_hidden_layers,
        use_gru=settings.use_gru,
        normalize_input=settings.input_layer_norm,
        valid=sizes.obs_valid,
    )


class IndividualPolicies(nn.Module):
    """pi_i(a_i | o_i) for all agents, each from its own observation history only.

    Torso, plus a learned embedding of the agent, LayerNorm, and a head that gives masked
    logits or a mean (arXiv:2401.08728, section "Implementation").

    Args:
        sizes: sizes of the team.
        settings: widths, recurrence and parameter sharing.
        learns_std: whether the standard deviation of continuous actions is a parameter; where
            a policy modifier has its own dispersion; only execution samples with this one.
    """

    log_std: Tensor

    def __init__(
        self, sizes: TeamSizes, settings: TeamSettings, *, learns_std: bool = False
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.settings = settings
        groups = agent_groups(settings.parameter_sharing, sizes.num_agents)
        width = settings.hidden_size
        self.encoder = obs_encoder(groups, sizes, settings)
        self.agent_embedding = nn.Parameter(torch.zeros(sizes.num_agents, width))
        nn.init.orthogonal_(self.agent_embedding)
        self.feature_norm = GroupedLayerNorm(groups, width)
        self.head = GroupedLinear(groups, width, sizes.num_actions, gain=OUTPUT_GAIN)
        log_std = torch.full((sizes.num_agents, sizes.num_actions), INITIAL_STD).log()
        if learns_std and not sizes.is_discrete:
            self.log_std = nn.Parameter(log_std)
        else:
            self.register_buffer("log_std", log_std)

    def forward(
        self,
        obs: Float[Tensor, "N R O"],
        action_mask: Bool[Tensor, "N R A"],
        hidden: Float[Tensor, "N B H"] | None = None,
    ) -> IndividualOutput:
        """Logits or means of every agent in every row.

        Args:
            obs: observations; rows are time-major where a hidden state is given.
            action_mask: legal actions, or existing action dimensions.
            hidden: recurrent state before the first step.
        """
        features, hidden = self.encoder(obs, hidden)
        features = self.feature_norm(features + self.agent_embedding[:, None])
        head = self.head(features)
        fill = MASKED_LOGIT if self.sizes.is_discrete else 0.0
        return IndividualOutput(head.masked_fill(~action_mask, fill), features, hidden)
