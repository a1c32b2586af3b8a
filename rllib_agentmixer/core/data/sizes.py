"""Sizes of a team that shape its networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from rllib_agentmixer.core.shapes import Tensor

ActionKind = Literal["discrete", "continuous"]


@dataclass(frozen=True)
class TeamSizes:
    """Sizes that shape the networks of a team.

    Attributes:
        obs_sizes: features of each agent's observation; the longest is O.
        state_size: S.
        action_kind: whether actions are indices or vectors.
        action_sizes: actions, or action dimensions, of each agent; the longest is A.
    """

    obs_sizes: tuple[int, ...]
    state_size: int
    action_kind: ActionKind
    action_sizes: tuple[int, ...]

    @property
    def is_discrete(self) -> bool:
        return self.action_kind == "discrete"

    @property
    def num_agents(self) -> int:
        return len(self.obs_sizes)

    @property
    def obs_size(self) -> int:
        return max(self.obs_sizes)

    @property
    def num_actions(self) -> int:
        return max(self.action_sizes)

    @property
    def obs_valid(self) -> Tensor:
        """[N, O] False where an observation is padding."""
        return torch.arange(self.obs_size) < torch.tensor(self.obs_sizes)[:, None]

    @property
    def action_valid(self) -> Tensor:
        """[N, A] False where an agent has no such action."""
        return torch.arange(self.num_actions) < torch.tensor(self.action_sizes)[:, None]
