"""Targets of policy-gradient learners from a fragment of experience: values and advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import RecurrentState, TeamInputs, map_tensors
from rllib_agentmixer.core.data.experience import Experience, Fragment, column
from rllib_agentmixer.core.functional.returns import Advantages, generalized_advantages
from rllib_agentmixer.core.teams.product_policy import ProductPolicy


@dataclass(frozen=True, eq=False)
class PolicyGradientTargets:
    """Targets of one pass of the critic and of generalised advantage estimation.

    Attributes:
        log_prob: under the policy that acted: [T, B] of the joint action, or [T, B, N] of
            each agent's (``ratio="agent"``).
        values: [T, B] V(s), or [T, B, N] V_i(h_i), when the rollout was collected, reward units.
        advantages: shaped as ``values``, reward units.
        value_targets: shaped as ``values``, reward units.
    """

    log_prob: Tensor = column("action_logp")
    values: Tensor = column("vf_preds")
    advantages: Tensor = column("advantages")
    value_targets: Tensor = column("value_targets")


@torch.inference_mode()
def policy_gradient_targets(
    team: ProductPolicy, fragment: Fragment, *, gamma: float, lambda_: float
) -> Experience:
    """Values, advantages and log-probabilities of a whole fragment in one go.

    Args:
        team: that has acted.
        fragment: as it was collected.
        gamma: discount.
        lambda_: 0 is one-step temporal difference, 1 is Monte Carlo minus baseline.
    """
    steps = fragment.steps
    values = _values(team, fragment.inputs, _critic_states(fragment.hidden or []))
    estimate = _estimate(team, fragment, values, gamma=gamma, lambda_=lambda_)
    policy = team.policy_from_flat(steps.behaviour, steps.inputs)
    by_agent = team.settings.ratio == "agent"
    log_prob = (policy.agent_log_prob if by_agent else policy.log_prob)(steps.actions)
    return replace(
        steps,
        agent_rewards=None,  # used up
        targets=PolicyGradientTargets(
            log_prob, values[:-1], estimate.advantages, estimate.value_targets
        ),
    )


def _values(team: ProductPolicy, inputs: TeamInputs, hidden: Tensor | None) -> Tensor:
    """V in reward units, on the CPU, of experience that is stored there."""
    device = team.device
    return team.reward_unit_values(map_tensors(inputs, lambda x: x.to(device)), hidden).cpu()


def _estimate(
    team: ProductPolicy,
    fragment: Fragment,
    values: Tensor,
    *,
    gamma: float,
    lambda_: float,
) -> Advantages:
    """Advantages from the team's reward, or for each agent from its own until it leaves."""
    steps = fragment.steps
    rewards = _beside(values, steps.rewards)
    ends = _beside(values, steps.terminated)
    is_over = _beside(values, steps.terminated | steps.truncated)
    if steps.agent_rewards is not None and team.settings.individual_rewards:
        rewards = steps.agent_rewards
        left = _left(fragment)
        ends, is_over = ends | left, is_over | left
    return generalized_advantages(
        rewards,
        values[:-1],
        _next_values(team, fragment, values),
        ends,
        is_over,
        gamma=gamma,
        lambda_=lambda_,
    )


def _beside(values: Tensor, steps: Tensor) -> Tensor:
    """[T, B], or [T, B, 1] where every agent has its own V: one team reward stands for all."""
    return steps.view(*steps.shape, *(1,) * (values.ndim - steps.ndim))


def _left(fragment: Fragment) -> Tensor:
    """[T, B, N] whether an agent took part for the last time: its own rewards end there."""
    alive = fragment.inputs.alive
    after = alive[1:].clone()
    for t, bootstrap in fragment.bootstraps.items():
        was_cut = fragment.steps.truncated[t]
        after[t, was_cut] = bootstrap.inputs.alive[was_cut]
    return alive[:-1] & ~after


def _critic_states(hidden: Sequence[RecurrentState | None]) -> Tensor | None:
    """[N, K * B, H] states of a recurrent critic at K steps, if there is one."""
    states = [h.critic for h in hidden if h is not None and h.critic is not None]
    return torch.cat(states, dim=1) if states else None


def _next_values(team: ProductPolicy, fragment: Fragment, values: Tensor) -> Tensor:
    """V of what followed each step: of the last observation where an episode was cut."""
    next_values = values[1:].clone()
    for t, bootstrap in fragment.bootstraps.items():
        was_cut = fragment.steps.truncated[t]
        states = _critic_states([bootstrap.hidden])
        states = None if states is None else states[:, was_cut.to(states.device)]
        inputs = map_tensors(bootstrap.inputs, lambda x, chosen=was_cut: x[chosen])
        next_values[t, was_cut] = _values(team, inputs, states)
    return next_values
