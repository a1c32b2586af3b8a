"""Policy, value and entropy terms of one minibatch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.functional import losses
from rllib_agentmixer.core.teams.product_policy import ProductPolicy


@dataclass(frozen=True, kw_only=True)
class PPOCoefficients:
    """Coefficients of the loss terms at the current values of all schedules.

    Attributes:
        clip_param: epsilon of the joint ratio.
        vf_clip_param: largest rewarded change of V, in normalised units.
        vf_loss_coeff: weight of the value loss.
        entropy_coeff: weight of the joint policy's mean entropy per agent.
        kl_coeff: weight of KL(old || new); 0 leaves it out.

    The last two follow schedules. As tensors [] they do so without a compiled loss being
    compiled anew.
    """

    clip_param: float
    vf_clip_param: float
    vf_loss_coeff: float
    entropy_coeff: float | Tensor
    kl_coeff: float | Tensor = 0.0

    @property
    def has_kl(self) -> bool:
        """Whether KL is part of the loss and not a diagnostic alone."""
        return isinstance(self.kl_coeff, Tensor) or self.kl_coeff != 0

    def as_tensors(self) -> PPOCoefficients:
        """The same coefficients, the scheduled ones as tensors."""
        return replace(
            self,
            entropy_coeff=torch.as_tensor(self.entropy_coeff),
            kl_coeff=torch.as_tensor(self.kl_coeff) if self.has_kl else 0.0,
        )


@dataclass(frozen=True)
class Loss:
    """Scalar to minimise, and detached diagnostics by name (see the algorithm's page)."""

    total: Tensor
    metrics: dict[str, Tensor]


Surrogate = Callable[[Tensor, Tensor, Tensor, Tensor, PPOCoefficients], Tensor]
"""Policy loss of new and old log-probabilities, advantages and the mask of valid entries."""


def clipped_surrogate(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    counts: Tensor,
    weights: PPOCoefficients,
) -> Tensor:
    """PPO's term: see :func:`.losses.clipped_policy_loss`."""
    return losses.clipped_policy_loss(
        log_prob, old_log_prob, advantages, counts, clip_param=weights.clip_param
    )


def score_function(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    counts: Tensor,
    weights: PPOCoefficients,
) -> Tensor:
    """A2C's term: see :func:`.losses.policy_gradient_loss`."""
    del old_log_prob, weights
    return losses.policy_gradient_loss(log_prob, advantages, counts)


def team_loss(
    team: ProductPolicy,
    batch: Experience,
    weights: PPOCoefficients,
    surrogate: Surrogate = clipped_surrogate,
) -> Loss:
    r"""Policy, value and entropy terms of a team.

    .. math:: L = L_\pi(\theta) + c_v L_V - c_e\, \mathbb{E}[H] + c_k\,\mathbb{E}[KL]
              + c_d\,\mathbb{E}[KL(\text{joint} \,\|\, \text{individual})]

    With one ratio for the joint action this is PPO as if the team were one agent
    (arXiv:2401.08728, section "AgentMixer-PPO"); with one per agent, MAPPO's or IPPO's loss
    (arXiv:2103.01955); with :func:`score_function` the plain policy gradient of either. Losses
    in :mod:`.losses`. ``batch`` holds advantages that are already scaled.
    """
    targets = batch.targets
    output = team(batch.inputs, batch.hidden, batch.actions)
    per_agent = output.joint.agent_log_prob(batch.actions)
    log_prob = per_agent if team.settings.ratio == "agent" else per_agent.sum(-1)
    advantages = targets.advantages
    if advantages.ndim < log_prob.ndim:  # the team's advantage is every agent's
        advantages = advantages.unsqueeze(-1)
    counts = batch.counts(log_prob)
    policy_loss = surrogate(log_prob, targets.log_prob, advantages, counts, weights)
    vf_loss, explained = value_loss(team, batch, clip=weights.vf_clip_param)
    entropy = losses.valid_mean(output.joint.entropy(), batch.valid)
    old_joint = team.policy_from_flat(batch.behaviour, batch.inputs)
    with torch.set_grad_enabled(weights.has_kl):
        kl = losses.valid_mean(old_joint.kl(output.joint), batch.valid)
    total = policy_loss + weights.vf_loss_coeff * vf_loss - weights.entropy_coeff * entropy
    if weights.has_kl:
        total = total + weights.kl_coeff * kl
    metrics = {"policy_loss": policy_loss, "vf_loss": vf_loss, "entropy": entropy, "kl": kl}
    for name, term in team.auxiliary_losses(output, batch.valid).items():
        metrics[name] = term.value
        total = total + term.weight * term.value
    metrics |= {"total_loss": total, "explained_variance": explained}
    metrics["clip_fraction"] = losses.clip_fraction(
        log_prob.detach(), targets.log_prob, counts, clip_param=weights.clip_param
    )
    return Loss(total, {name: value.detach() for name, value in metrics.items()})


def score_function_loss(team: ProductPolicy, batch: Experience, weights: PPOCoefficients) -> Loss:
    """:func:`team_loss` with A2C's policy term."""
    return team_loss(team, batch, weights, score_function)


def value_loss(team: ProductPolicy, batch: Experience, *, clip: float) -> tuple[Tensor, Tensor]:
    """Clipped Huber loss of V in normalised units, and the variance that V explains."""
    normalizer = team.critic.normalizer
    critic_hidden = batch.hidden.critic if batch.hidden else None
    values = team.values(batch.inputs, critic_hidden).normalized
    by_agent = team.settings.individual_rewards
    counts = batch.value_counts(values, individual_rewards=by_agent)
    targets = normalizer.normalize(batch.targets.value_targets)
    loss = losses.clipped_value_loss(
        values,
        normalizer.normalize(batch.targets.values),
        targets,
        counts,
        clip=clip,
        huber_delta=team.settings.huber_delta,
    )
    return loss, losses.explained_variance(values.detach(), targets, counts)
