"""Returns and advantages over ``[T, B]`` arrays of a rollout."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rllib_agentmixer.core.shapes import Bool, Float, Tensor


@dataclass(frozen=True)
class Advantages:
    """Estimates for every step of a rollout, in reward units.

    Attributes:
        advantages: [T, B], or [T, B, N] where every agent has its own V_i.
        value_targets: targets of V: advantages + values.
    """

    advantages: Tensor
    value_targets: Tensor


def discounted_returns(
    rewards: Float[Tensor, "T B"], ended: Bool[Tensor, "T B"], *, gamma: float
) -> Float[Tensor, "T B"]:
    r"""Reward-to-go :math:`G_t = r_t + \gamma (1 - ended_t) G_{t+1}`, with :math:`G_T = 0`."""
    returns = torch.empty_like(rewards)
    following = torch.zeros_like(rewards[0])
    for t in range(len(rewards) - 1, -1, -1):
        following = rewards[t] + gamma * following * ~ended[t]
        returns[t] = following
    return returns


def generalized_advantages(
    rewards: Float[Tensor, "T B *one"],
    values: Float[Tensor, "T B *agents"],
    next_values: Float[Tensor, "T B *agents"],
    terminated: Bool[Tensor, "T B *one"],
    ended: Bool[Tensor, "T B *one"],
    *,
    gamma: float,
    lambda_: float,
) -> Advantages:
    r"""Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438, eq. 16).

    .. math:: \delta_t &= r_t + \gamma (1 - terminated_t) V(s'_t) - V(s_t) \\
              A_t &= \delta_t + \gamma \lambda (1 - ended_t) A_{t+1}

    A step that was cut by a time limit bootstraps from the state that would have followed;
    one that terminated does not. Both stop the sum.

    Args:
        rewards: team reward of each step, with a last axis of 1 where values have agents.
        values: V(s_t), or V_i(h_t) with a last axis of agents.
        next_values: V of the state after the step, before any reset.
        terminated: nothing follows this step.
        ended: terminated or truncated.
        gamma: discount.
        lambda_: 0 is one-step temporal difference, 1 is Monte Carlo minus baseline.
    """
    deltas = rewards + gamma * next_values * ~terminated - values
    decay = gamma * lambda_ * ~ended
    advantages = torch.empty_like(deltas)
    following = torch.zeros_like(deltas[0])
    for t in range(len(deltas) - 1, -1, -1):
        following = deltas[t] + decay[t] * following
        advantages[t] = following
    return Advantages(advantages, advantages + values)
