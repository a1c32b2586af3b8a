"""Losses of action values: pure functions of values, with time first."""

from __future__ import annotations

import torch

from rllib_agentmixer.core.functional.losses import valid_mean
from rllib_agentmixer.core.shapes import Bool, Float, Int, Tensor


def chosen_values(
    q: Float[Tensor, "*batch N A"], actions: Int[Tensor, "*batch N"]
) -> Float[Tensor, "*batch N"]:
    """Each agent's value of the action that it took."""
    return q.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def greedy_actions(
    q: Float[Tensor, "*batch N A"], action_mask: Bool[Tensor, "*batch N A"]
) -> Int[Tensor, "*batch N"]:
    """Each agent's best legal action; the first where none is legal."""
    lowest = torch.finfo(q.dtype).min
    return q.masked_fill(~action_mask, lowest).argmax(-1)


def td_targets(
    rewards: Float[Tensor, "*batch"],
    next_values: Float[Tensor, "*batch"],
    terminated: Bool[Tensor, "*batch"],
    *,
    gamma: float,
) -> Float[Tensor, "*batch"]:
    r"""One-step targets :math:`y = r + \gamma (1 - terminated) Q^{target}(s', a^*)`.

    A time limit does not terminate: the value of what would have followed counts.

    Args:
        rewards: of the team.
        next_values: of the target network at the greedy actions after the step.
        terminated: nothing follows.
        gamma: discount.
    """
    return rewards + gamma * torch.where(terminated, 0.0, next_values)


def td_loss(
    values: Float[Tensor, "*batch"],
    targets: Float[Tensor, "*batch"],
    valid: Bool[Tensor, "*batch"],
) -> Float[Tensor, ""]:
    r"""Mean squared temporal difference :math:`\mathbb{E}[(Q - y)^2]` over real steps.

    Args:
        values: of the joint actions taken; gradient flows.
        targets: y; no gradient.
        valid: False on padding, whose other entries must be finite.
    """
    return valid_mean((values - targets.detach()).square(), valid)
