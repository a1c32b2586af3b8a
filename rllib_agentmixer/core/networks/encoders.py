"""Torsos of individual policies: agents are an axis, and parameters belong to groups.

Layout is agent-first, ``[N, R, ...]``. Agent i uses the parameters of ``groups[i]``:
``(0, 1, 2)`` gives each agent its own, ``(0, 0, 0)`` one set for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from rllib_agentmixer.core.networks.recurrence import gated_recurrence
from rllib_agentmixer.core.shapes import Bool, Float, Tensor

HIDDEN_GAIN = math.sqrt(2)
"""Orthogonal gain of layers in front of a ReLU."""

OUTPUT_GAIN = 0.01
"""Orthogonal gain of policy heads and of the modifier's output: near-uniform at first."""


MIN_NORMALIZED_FEATURES = 4
"""Fewer inputs are not layer-normalised: LayerNorm removes offset and scale, which leaves
nothing of one feature and a sign of two."""


class Grouped(nn.Module):
    """Base of layers with parameters ``[G, ...]``, of which each agent uses its group's."""

    agent_groups: Tensor

    def __init__(self, groups: Sequence[int]) -> None:
        super().__init__()
        self.num_groups = max(groups) + 1
        self.is_shared = self.num_groups == 1
        self.is_separate = list(groups) == list(range(len(groups)))
        self.register_buffer("agent_groups", torch.tensor(groups), persistent=False)

    def per_agent(self, parameter: Tensor) -> Tensor:
        """[G, ...] -> [N, ...], or [1, ...] (to broadcast) when all agents share."""
        if self.is_shared or self.is_separate:
            return parameter
        return parameter[self.agent_groups]


class GroupedLinear(Grouped):
    """A linear map per group, orthogonally initialised with zero bias."""

    def __init__(
        self, groups: Sequence[int], in_features: int, out_features: int, gain: float = HIDDEN_GAIN
    ) -> None:
        super().__init__(groups)
        self.weight = nn.Parameter(torch.empty(self.num_groups, in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(self.num_groups, out_features))
        for weight in self.weight:
            nn.init.orthogonal_(weight, gain)

    def forward(self, x: Float[Tensor, "N R I"]) -> Float[Tensor, "N R J"]:
        if self.is_shared:
            return functional.linear(x, self.weight[0].mT, self.bias[0])
        return torch.baddbmm(self.per_agent(self.bias)[:, None], x, self.per_agent(self.weight))

    def rectified(self, x: Float[Tensor, "N R I"]) -> Float[Tensor, "N R J"]:
        """ReLU of the map, in the map's own memory."""
        if self.is_shared:
            rows = functional.linear(x.flatten(0, 1), self.weight[0].mT, self.bias[0])
            return rows.relu_().unflatten(0, x.shape[:2])
        return self(x).relu_()


class GroupedLayerNorm(Grouped):
    """Layer normalisation whose scale and shift belong to groups.

    Args:
        groups: parameter group of each agent.
        width: number of features.
        valid: [N, width] False where an agent's features are padding; those neither count
            in the statistics nor come out as anything but zero. None: all are real.
    """

    valid: Tensor | None

    def __init__(
        self, groups: Sequence[int], width: int, valid: Bool[Tensor, "N W"] | None = None
    ) -> None:
        super().__init__(groups)
        self.width = width
        self.weight = nn.Parameter(torch.ones(self.num_groups, width))
        self.bias = nn.Parameter(torch.zeros(self.num_groups, width))
        is_ragged = valid is not None and not bool(valid.all())
        mask = valid.float() if valid is not None and is_ragged else None
        self.register_buffer("valid", mask, persistent=False)

    def forward(self, x: Float[Tensor, "N R W"]) -> Float[Tensor, "N R W"]:
        weight, bias = self.per_agent(self.weight), self.per_agent(self.bias)
        if self.is_shared and self.valid is None:
            return functional.layer_norm(x, (self.width,), weight[0], bias[0])
        if self.valid is None:
            normed = functional.layer_norm(x, (self.width,))
            return torch.addcmul(bias[:, None], normed, weight[:, None])
        valid = self.valid[:, None]  # [N, 1, W]
        count = valid.sum(-1, keepdim=True)
        centred = (x - (x * valid).sum(-1, keepdim=True) / count) * valid
        variance = centred.square().sum(-1, keepdim=True) / count
        normed = centred * torch.rsqrt(variance + 1e-5)
        return torch.addcmul(bias[:, None], normed, weight[:, None]) * valid


class GroupedGRU(Grouped):
    """A gated recurrent unit per group, run over padded sequences (Cho et al. 2014).

    The equations and gate order are PyTorch's own ``nn.GRU``, which a test compares with.
    """

    def __init__(self, groups: Sequence[int], in_features: int, hidden_size: int) -> None:
        super().__init__(groups)
        self.from_input = GroupedLinear(groups, in_features, 3 * hidden_size, gain=1.0)
        self.from_hidden = GroupedLinear(groups, hidden_size, 3 * hidden_size, gain=1.0)

    def forward(
        self, x: Float[Tensor, "N R I"], hidden: Float[Tensor, "N B H"]
    ) -> tuple[Float[Tensor, "N R H"], Float[Tensor, "N B H"]]:
        """Run over time.

        Args:
            x: rows in time-major order, R = T * B.
            hidden: state before the first step of each of the B sequences.

        Returns:
            Hidden state after every step, and after the last one.
        """
        num_agents, num_sequences, width = hidden.shape
        gates = self.from_input(x).view(num_agents, -1, num_sequences, 3 * width)
        weight = self.from_hidden.per_agent(self.from_hidden.weight)
        bias = self.from_hidden.per_agent(self.from_hidden.bias)
        states = gated_recurrence(gates, hidden, weight, bias)
        return states.flatten(1, 2), states[:, -1]


class TeamEncoder(nn.Module):
    """LayerNorm, [Linear, ReLU, LayerNorm] layers, then an optional GRU and LayerNorm.

    Args:
        groups: parameter group of each agent.
        in_features: width of the (padded) input.
        hidden_size: H, width of every layer.
        num_hidden_layers: layers after the first.
        use_gru: whether a recurrent state runs along.
        normalize_input: LayerNorm on the input, where that leaves something of it.
        valid: [N, in_features] False where an agent's inputs are padding.
    """

    valid: Tensor | None

    def __init__(
        self,
        groups: Sequence[int],
        in_features: int,
        hidden_size: int,
        *,
        num_hidden_layers: int,
        use_gru: bool,
        normalize_input: bool,
        valid: Tensor | None = None,
    ) -> None:
        super().__init__()
        fewest = in_features if valid is None else int(valid.sum(-1).min())
        keeps_information = fewest >= MIN_NORMALIZED_FEATURES
        self.input_norm = (
            GroupedLayerNorm(groups, in_features, valid)
            if normalize_input and keeps_information
            else None
        )
        is_ragged = valid is not None and not bool(valid.all())
        mask = valid[:, None].float() if valid is not None and is_ragged else None
        self.register_buffer("valid", mask, persistent=False)
        widths = [in_features] + [hidden_size] * (1 + num_hidden_layers)
        self.linears = nn.ModuleList(GroupedLinear(groups, a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(GroupedLayerNorm(groups, hidden_size) for _ in widths[1:])
        self.gru = GroupedGRU(groups, hidden_size, hidden_size) if use_gru else None
        self.gru_norm = GroupedLayerNorm(groups, hidden_size) if use_gru else None

    def forward(
        self, x: Float[Tensor, "N R I"], hidden: Float[Tensor, "N B H"] | None
    ) -> tuple[Float[Tensor, "N R H"], Float[Tensor, "N B H"] | None]:
        """Features of every row, and the recurrent state after the last (None without GRU)."""
        if self.input_norm is not None:
            x = self.input_norm(x)
        elif self.valid is not None:
            x = x * self.valid
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = norm(cast(GroupedLinear, linear).rectified(x))
        if self.gru is None or self.gru_norm is None:
            return x, hidden
        if hidden is None:
            raise ValueError("a recurrent encoder needs the hidden state [N, B, H], got None")
        x, hidden = self.gru(x, hidden)
        return self.gru_norm(x), hidden
