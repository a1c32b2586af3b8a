"""ONNX-exportable module of one agent, from observation to action."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rllib_agentmixer.runtime import IndividualPolicy

Arrays = dict[str, NDArray[Any]]


class ActingGraph(nn.Module):
    """One agent's policy from observation to action, for a batch of independent agents."""

    def __init__(self, policy: IndividualPolicy) -> None:
        super().__init__()
        self.network = policy.network
        self.preprocessing = policy.preprocessing
        self.is_recurrent = policy.is_recurrent
        self.is_discrete = policy.network.sizes.action_kind == "discrete"
        self.is_masked = self.is_discrete and policy.has_action_mask

    @property
    def input_names(self) -> list[str]:
        state = ["state_in"] if self.is_recurrent else []
        return ["obs", *state, *(["action_mask"] if self.is_masked else [])]

    @property
    def output_names(self) -> list[str]:
        heads = ["logits"] if self.is_discrete else ["mean", "log_std"]
        return ["action", *heads, *(["state_out"] if self.is_recurrent else [])]

    def forward(self, obs: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip(self.input_names[1:], others, strict=True))
        rows = self.preprocessing.observation(obs).unsqueeze(0)
        num_actions = self.network.sizes.num_actions
        mask = inputs.get("action_mask", torch.ones(obs.shape[0], num_actions, dtype=torch.bool))
        state = inputs["state_in"].unsqueeze(0) if self.is_recurrent else None
        output = self.network(rows, mask.unsqueeze(0), state)
        head = output.head[0]
        state_out = (output.hidden[0],) if self.is_recurrent else ()
        if self.is_discrete:
            return (self._discrete(head.argmax(-1)), head, *state_out)
        log_std = self.network.log_std[0].detach().expand_as(head)
        return (self.preprocessing.continuous_action(head), head, log_std, *state_out)

    def _discrete(self, chosen: Tensor) -> Tensor:
        parts = self.preprocessing.action_parts
        if not parts:
            return chosen + self.preprocessing.action_start
        components = []
        for size in reversed(parts):  # the last component varies fastest
            components.append(chosen % size)
            chosen = chosen // size
        return torch.stack(components[::-1], -1) + torch.tensor(self.preprocessing.action_starts)

    def example(self, batch: int) -> Arrays:
        """Example inputs of the right shapes."""
        sizes = self.network.sizes
        arrays: Arrays = {"obs": np.zeros((batch, sizes.obs_size), np.float32)}
        if self.is_recurrent:
            arrays["state_in"] = np.zeros((batch, self.network.settings.hidden_size), np.float32)
        if self.is_masked:
            arrays["action_mask"] = np.ones((batch, sizes.num_actions), bool)
        return arrays
