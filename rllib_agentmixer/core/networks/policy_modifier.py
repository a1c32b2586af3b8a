"""The policy modifier: individual policies and the global state in, dispersion out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.functional.distributions import log_softmax
from rllib_agentmixer.core.networks.correlation import ActionConditioning
from rllib_agentmixer.core.networks.encoders import OUTPUT_GAIN, TeamEncoder
from rllib_agentmixer.core.networks.individual_policies import IndividualOutput
from rllib_agentmixer.core.networks.mixing import linear, mixing_blocks, rectified
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.shapes import Bool, Float, Tensor

MODIFIER_LOGIT_FLOOR = -10.0
"""Lowest log-probability shown to the modifier: a masked logit must not blind it."""


@dataclass(frozen=True)
class ModifierFeatures:
    """Features of every agent before any has acted.

    Attributes:
        agents: [N, R, D] mixed embeddings.
        hidden: [1, B, H] recurrent state after the last step, or None.
    """

    agents: Tensor
    hidden: Tensor | None


class PolicyModifier(nn.Module):
    """Network that mixes all individual policies and the state into their dispersion.

    Its inputs from the individual policies are detached (except without IGC and without
    distillation, where no other path could train them): actors learn through their own
    logits or means alone, the modifier through dispersion alone.

    Args:
        sizes: sizes of the team.
        settings: kind and width of mixing, recurrence, IGC form and correlation.
    """

    def __init__(self, sizes: TeamSizes, settings: AgentMixerSettings) -> None:
        super().__init__()
        self.sizes = sizes
        self.is_detached = settings.igc != "none" or settings.distillation_coeff > 0
        width = settings.modifier_width
        num_agents, num_actions = sizes.num_agents, sizes.num_actions
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
        self.from_signal = None
        if settings.correlation == "signal":
            self.from_signal = nn.Linear(settings.signal_size, num_agents * width, bias=False)
        self.agent_bias = nn.Parameter(torch.zeros(num_agents, width))
        nn.init.orthogonal_(self.agent_bias)
        self.input_norm = nn.LayerNorm(width)
        self.blocks = mixing_blocks(num_agents, settings)
        self.conditioning = None
        if settings.correlation == "autoregressive":
            hidden = settings.channel_mixing_factor * width
            self.conditioning = ActionConditioning(num_agents, num_actions, width, hidden=hidden)
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
        signal: Float[Tensor, "R Z"] | None = None,
    ) -> ModifierFeatures:
        """Mixed embeddings of every row; see the class for where gradient flows.

        Args:
            individual: individual policies of the same rows.
            state: global state; time-major rows where a recurrent state runs along.
            action_mask: legal actions, or existing action dimensions.
            alive: agents that take part.
            hidden: recurrent state before the first step.
            signal: z of the correlated form; zeros where None.
        """
        policies = self._policy_inputs(individual.head, action_mask)
        features = individual.features
        if self.is_detached:
            policies, features = policies.detach(), features.detach()
        state_features, hidden = self.state_encoder(state.unsqueeze(0), hidden)
        embedded = self.policy_norm(rectified(self.policy_embedding, policies))
        # One linear map of [state, policy, features, agent], summed by parts: the state's share
        # is computed once per row and not once per agent, and detached features get no gradient.
        of_policy, of_features = self.from_agent.weight.tensor_split((embedded.shape[-1],), dim=1)
        agents = functional.linear(embedded, of_policy, self.from_agent.bias)
        agents = agents + functional.linear(features, of_features)
        agents = agents + self.from_state(state_features) + self.agent_bias[:, None]
        if self.from_signal is not None and signal is not None:
            messages = self.from_signal(signal).unflatten(-1, (self.sizes.num_agents, -1))
            agents = agents + messages.transpose(0, 1)
        agents = self.input_norm(torch.relu_(agents))
        living = alive.unsqueeze(-1).to(agents.dtype)
        for block in self.blocks:
            agents = block(agents, living, state_features[0])
        return ModifierFeatures(agents, hidden)

    def dispersion(self, agents: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch P"]:
        """b of section 3 of the method: [.., A], or [.., 2 A] of a continuous team without IGC."""
        return self.output(self.output_norm(agents))

    def _policy_inputs(self, head: Tensor, action_mask: Tensor) -> Tensor:
        """[N, R, 2 A] finite policy parameters beside the bits that mark real ones."""
        if self.sizes.action_kind == "discrete":
            head = log_softmax(head).clamp_min(MODIFIER_LOGIT_FLOOR)
        return torch.cat([head, action_mask.to(head.dtype)], -1)
