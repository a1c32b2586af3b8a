"""The policy modifier: individual policies and the global state in, dispersion out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from rllib_agentmixer.core.encoders import HIDDEN_GAIN, OUTPUT_GAIN, TeamEncoder
from rllib_agentmixer.core.hyperparameters import AgentMixerHyperparameters
from rllib_agentmixer.core.individual_policies import IndividualOutput, TeamSizes
from rllib_agentmixer.core.shapes import Bool, Float, Tensor

MODIFIER_LOGIT_FLOOR = -10.0
"""Lowest log-probability shown to the modifier: a masked logit must not blind it."""


def linear(in_features: int, out_features: int, gain: float = HIDDEN_GAIN) -> nn.Linear:
    """A linear layer, orthogonally initialised with zero bias."""
    layer = nn.Linear(in_features, out_features)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class MixerBlock(nn.Module):
    r"""One round of mixing, first across agents, then across channels.

    .. math:: X &\leftarrow X + W_2\, \sigma(W_1\, LN(X)) \quad\text{(agents)} \\
              X &\leftarrow X + \sigma(LN(X)\, W_1)\, W_2 \quad\text{(channels)}

    (arXiv:2401.08728, eq. 5). Agent mixing treats every channel alike, channel mixing every
    agent. Dead agents enter as zero and therefore influence nobody.

    Args:
        num_agents: N, fixed for the lifetime of the block.
        width: D.
        agent_hidden: hidden width of agent mixing.
        channel_hidden: hidden width of channel mixing.
    """

    def __init__(
        self, num_agents: int, width: int, *, agent_hidden: int, channel_hidden: int
    ) -> None:
        super().__init__()
        self.agent_norm = nn.LayerNorm(width)
        self.agent_in = linear(num_agents, agent_hidden)
        self.agent_out = linear(agent_hidden, num_agents)
        self.channel_norm = nn.LayerNorm(width)
        self.channel_in = linear(width, channel_hidden)
        self.channel_out = linear(channel_hidden, width)

    def forward(
        self, agents: Float[Tensor, "N R D"], alive: Float[Tensor, "N R 1"]
    ) -> Float[Tensor, "N R D"]:
        flat = (self.agent_norm(agents) * alive).flatten(1)  # [N, R * D]
        hidden = torch.relu(torch.addmm(self.agent_in.bias[:, None], self.agent_in.weight, flat))
        mixed = torch.addmm(self.agent_out.bias[:, None], self.agent_out.weight, hidden)
        agents = agents + mixed.view_as(agents)
        return agents + self.channel_out(torch.relu(self.channel_in(self.channel_norm(agents))))


@dataclass(frozen=True)
class ModifierOutput:
    """b of section 3 of the method, and the modifier's recurrent state.

    Attributes:
        modifier: [N, R, A], or [N, R, 2 A] for a continuous team without IGC.
        hidden: [1, B, H] recurrent state after the last step, or None.
    """

    modifier: Tensor
    hidden: Tensor | None


class PolicyModifier(nn.Module):
    """Mixes all agents' individual policies, knowing the state, into their dispersion.

    Its inputs from the individual policies are detached (except without IGC, where no other
    path could train them): actors learn through their own logits or means alone, the
    modifier through dispersion alone.

    Args:
        sizes: sizes of the team.
        settings: widths, number of blocks, recurrence and IGC form.
    """

    def __init__(self, sizes: TeamSizes, settings: AgentMixerHyperparameters) -> None:
        super().__init__()
        self.sizes = sizes
        self.is_detached = settings.igc != "none"
        width, num_agents, num_actions = (
            settings.modifier_width,
            sizes.num_agents,
            sizes.num_actions,
        )
        self.state_encoder = TeamEncoder(
            (0,),
            sizes.state_size,
            settings.hidden_size,
            num_hidden_layers=settings.num_hidden_layers,
            use_gru=settings.use_gru,
            normalize_input=settings.input_layer_norm,
        )
        self.policy_embedding = linear(2 * num_actions, width)
        self.policy_norm = nn.LayerNorm(width)
        self.from_state = linear(settings.hidden_size, width)
        self.from_agent = linear(width + settings.hidden_size, width)
        self.agent_bias = nn.Parameter(torch.zeros(num_agents, width))
        nn.init.orthogonal_(self.agent_bias)
        self.input_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            MixerBlock(
                num_agents,
                width,
                agent_hidden=settings.agent_mixing_factor * num_agents,
                channel_hidden=settings.channel_mixing_factor * width,
            )
            for _ in range(settings.num_mixer_blocks)
        )
        self.output_norm = nn.LayerNorm(width)
        has_own_std = settings.igc == "none" and sizes.action_kind == "continuous"
        outputs = 2 * num_actions if has_own_std else num_actions
        self.output = linear(width, outputs, gain=OUTPUT_GAIN)

    def forward(
        self,
        individual: IndividualOutput,
        state: Float[Tensor, "R S"],
        action_mask: Bool[Tensor, "N R A"],
        alive: Bool[Tensor, "N R"],
        hidden: Float[Tensor, "1 B H"] | None = None,
    ) -> ModifierOutput:
        """b for every agent in every row; see the class for where gradient flows."""
        policies = self._policy_inputs(individual.head, action_mask)
        features = individual.features
        if self.is_detached:
            policies, features = policies.detach(), features.detach()
        state_features, hidden = self.state_encoder(state.unsqueeze(0), hidden)
        embedded = self.policy_norm(torch.relu(self.policy_embedding(policies)))
        # One linear map of [state, policy, features, agent], summed by parts so that the
        # state's share is computed once per row and not once per agent.
        agents = self.from_agent(torch.cat([embedded, features], -1))
        agents = agents + self.from_state(state_features) + self.agent_bias[:, None]
        agents = self.input_norm(torch.relu(agents))
        living = alive.unsqueeze(-1).to(agents.dtype)
        for block in self.blocks:
            agents = block(agents, living)
        return ModifierOutput(self.output(self.output_norm(agents)), hidden)

    def _policy_inputs(self, head: Tensor, action_mask: Tensor) -> Tensor:
        """[N, R, 2 A] finite policy parameters beside the bits that say which are real."""
        if self.sizes.action_kind == "discrete":
            head = functional.log_softmax(head, -1).clamp_min(MODIFIER_LOGIT_FLOOR)
        return torch.cat([head, action_mask.to(head.dtype)], -1)
