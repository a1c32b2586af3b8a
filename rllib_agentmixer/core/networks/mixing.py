"""Blocks that let agents' embeddings inform each other: the paper's MLP mixer and its ablations.

All map ``[N, R, D]`` to the same shape, first across agents, then across channels. Dead
agents enter as zero and therefore influence no other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from rllib_agentmixer.core.networks.encoders import HIDDEN_GAIN, OUTPUT_GAIN
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.shapes import Float, Tensor

ATTENTION_HEADS = 4
"""Most heads of the attention block; a width that they do not divide takes fewer."""


def linear(in_features: int, out_features: int, gain: float = HIDDEN_GAIN) -> nn.Linear:
    """A linear layer, orthogonally initialised with zero bias."""
    layer = nn.Linear(in_features, out_features)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def rectified(layer: nn.Linear, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch J"]:
    """ReLU of a linear layer, in the layer's own memory.

    Rows are flattened before and not by PyTorch: its result would be a view, and changing a
    view in place costs autograd a copy.
    """
    return layer(x.flatten(0, -2)).relu_().unflatten(0, x.shape[:-1])


class ChannelMixing(nn.Module):
    r"""Each agent on its own: :math:`X \leftarrow X + \sigma(LN(X)\, W_1)\, W_2`.

    Args:
        width: D.
        hidden: hidden width; 0 leaves one linear map without activation.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.channel_in = linear(width, hidden) if hidden else None
        self.channel_out = linear(hidden or width, width)

    def forward(self, agents: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        x = self.norm(agents)
        if self.channel_in is not None:
            x = rectified(self.channel_in, x)
        return agents + self.channel_out(x)


class MixingBlock(nn.Module, ABC):
    r"""Mixing across agents, then across channels: :math:`X \leftarrow X + \mathrm{across}(LN(X))`.

    Subclasses define the mixing across agents and the width of the channel mixing.

    Args:
        width: D.
    """

    channels: ChannelMixing

    def __init__(self, width: int) -> None:
        super().__init__()
        self.agent_norm = nn.LayerNorm(width)

    def forward(
        self,
        agents: Float[Tensor, "N R D"],
        alive: Float[Tensor, "N R 1"],
        state: Float[Tensor, "R H"],
    ) -> Float[Tensor, "N R D"]:
        """One round; ``state`` holds features of the global state."""
        return self.channels(agents + self.across(self.agent_norm(agents), alive, state))

    @abstractmethod
    def across(self, normed: Tensor, alive: Tensor, state: Tensor) -> Tensor:
        """[N, R, D] what each agent takes from all, given normalised embeddings."""


class MixerBlock(MixingBlock):
    r"""One round of MLP mixing, first across agents, then across channels.

    .. math:: X &\leftarrow X + W_2\, \sigma(W_1\, LN(X)) \quad\text{(agents)} \\
              X &\leftarrow X + \sigma(LN(X)\, W_1)\, W_2 \quad\text{(channels)}

    (arXiv:2401.08728, eq. 5). Agent mixing treats every channel alike, channel mixing every
    agent.

    Args:
        num_agents: N, fixed for the lifetime of the block.
        width: D.
        agent_hidden: hidden width of agent mixing.
        channel_hidden: hidden width of channel mixing.
    """

    def __init__(
        self, num_agents: int, width: int, *, agent_hidden: int, channel_hidden: int
    ) -> None:
        super().__init__(width)
        self.agent_in = linear(num_agents, agent_hidden)
        self.agent_out = linear(agent_hidden, num_agents)
        self.channels = ChannelMixing(width, channel_hidden)

    def across(self, normed: Tensor, alive: Tensor, state: Tensor) -> Tensor:
        flat = (normed * alive).flatten(1)  # [N, R * D]
        hidden = torch.relu_(torch.addmm(self.agent_in.bias[:, None], self.agent_in.weight, flat))
        mixed = torch.addmm(self.agent_out.bias[:, None], self.agent_out.weight, hidden)
        return mixed.view_as(normed)


class LinearBlock(MixingBlock):
    r"""The mixer without hidden layers: :math:`X + W LN(X)` over agents, then over channels."""

    def __init__(self, num_agents: int, width: int) -> None:
        super().__init__(width)
        self.agent_map = linear(num_agents, num_agents, gain=1.0)
        self.channels = ChannelMixing(width, 0)

    def across(self, normed: Tensor, alive: Tensor, state: Tensor) -> Tensor:
        flat = (normed * alive).flatten(1)
        mixed = torch.addmm(self.agent_map.bias[:, None], self.agent_map.weight, flat)
        return mixed.view_as(normed)


class HypernetworkBlock(MixingBlock):
    r"""Agent mixing whose two weight matrices are linear functions of the state's features.

    .. math:: X \leftarrow X + W_2(s)\, \sigma(W_1(s)\, LN(X))

    (weights from the state as in QMIX, Rashid et al. 2018, arXiv:1803.11485, without its
    monotonicity); channel mixing as in :class:`MixerBlock`.
    """

    def __init__(
        self,
        num_agents: int,
        width: int,
        *,
        agent_hidden: int,
        channel_hidden: int,
        state_features: int,
    ) -> None:
        super().__init__(width)
        self.agent_in = linear(state_features, agent_hidden * num_agents, gain=1.0)
        self.agent_out = linear(state_features, num_agents * agent_hidden, gain=OUTPUT_GAIN)
        self.channels = ChannelMixing(width, channel_hidden)

    def across(self, normed: Tensor, alive: Tensor, state: Tensor) -> Tensor:
        num_agents = normed.shape[0]
        living = (normed * alive).transpose(0, 1)  # [R, N, D]
        inward = self.agent_in(state).unflatten(-1, (-1, num_agents))  # [R, K, N]
        outward = self.agent_out(state).unflatten(-1, (num_agents, -1))  # [R, N, K]
        return (outward @ torch.relu(inward @ living)).transpose(0, 1)


class AttentionBlock(MixingBlock):
    """Self-attention over agents (Vaswani et al. 2017) in place of agent mixing."""

    def __init__(self, width: int, *, channel_hidden: int) -> None:
        super().__init__(width)
        self.num_heads = next(h for h in range(ATTENTION_HEADS, 0, -1) if width % h == 0)
        self.query_key_value = linear(width, 3 * width, gain=1.0)
        self.agent_out = linear(width, width, gain=1.0)
        self.channels = ChannelMixing(width, channel_hidden)

    def across(self, normed: Tensor, alive: Tensor, state: Tensor) -> Tensor:
        parts = self.query_key_value(normed).transpose(0, 1)  # [R, N, 3 D]
        heads = parts.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # A team without the living attends to all: softmax over nothing would be NaN.
        living = alive.bool().permute(1, 2, 0)  # [R, 1, N]
        visible = (living | ~living.any(-1, keepdim=True)).unsqueeze(1)
        mixed = functional.scaled_dot_product_attention(*heads.unbind(0), attn_mask=visible)
        return self.agent_out(mixed.transpose(1, 2).flatten(2).transpose(0, 1))


def mixing_blocks(num_agents: int, settings: AgentMixerSettings) -> nn.ModuleList:
    """The blocks that ``policy_modifier`` names, ``num_mixer_blocks`` of them."""
    width = settings.modifier_width
    agent_hidden = min(settings.agent_mixing_factor * num_agents, settings.agent_mixing_limit)
    channel_hidden = settings.channel_mixing_factor * width
    builders: dict[str, Callable[[], nn.Module]] = {
        "mixer": lambda: MixerBlock(
            num_agents, width, agent_hidden=agent_hidden, channel_hidden=channel_hidden
        ),
        "linear": lambda: LinearBlock(num_agents, width),
        "hypernetwork": lambda: HypernetworkBlock(
            num_agents,
            width,
            agent_hidden=agent_hidden,
            channel_hidden=channel_hidden,
            state_features=settings.hidden_size,
        ),
        "attention": lambda: AttentionBlock(width, channel_hidden=channel_hidden),
    }
    build = builders[settings.policy_modifier]
    return nn.ModuleList(build() for _ in range(settings.num_mixer_blocks))
