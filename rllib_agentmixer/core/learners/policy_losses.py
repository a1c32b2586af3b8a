"""Policy, value and entropy terms of one minibatch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import TeamBatch, map_tensors
from rllib_agentmixer.core.functional import losses
from rllib_agentmixer.core.teams.joint_policy import PolicyOutput, TeamNetwork


@dataclass(frozen=True, kw_only=True)
class PPOCoefficients:
    """What the loss weighs, at the current moment of all schedules.

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
        """The same, with what moves in tensors."""
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


def team_loss(network: TeamNetwork, batch: TeamBatch, weights: PPOCoefficients) -> Loss:
    r"""Policy, value and entropy terms of a team.

    .. math:: L = L_\pi(\theta) + c_v L_V - c_e\, \mathbb{E}[H] + c_k\,\mathbb{E}[KL]
              + c_d\,\mathbb{E}[KL(\text{joint} \,\|\, \text{individual})]

    With one ratio for the joint action this is PPO as if the team were one agent
    (arXiv:2401.08728, section "AgentMixer-PPO"); with one per agent, MAPPO's or IPPO's loss
    (arXiv:2103.01955); with ``learner="a2c"`` the plain policy gradient of either. Losses in
    :mod:`.losses`. ``batch`` holds advantages that are already scaled.
    """
    settings = network.settings
    output = network(batch.inputs, batch.hidden, batch.actions)
    per_agent = output.joint.agent_log_prob(batch.actions)
    log_prob = per_agent if settings.ratio == "agent" else per_agent.sum(-1)
    advantages = batch.advantages
    if advantages.ndim < log_prob.ndim:  # the team's advantage is every agent's
        advantages = advantages.unsqueeze(-1)
    counts = batch.counts(log_prob)
    if settings.learner == "a2c":
        policy_loss = losses.policy_gradient_loss(log_prob, advantages, counts)
    else:
        policy_loss = losses.clipped_policy_loss(
            log_prob, batch.log_prob, advantages, counts, clip_param=weights.clip_param
        )
    vf_loss, explained = value_loss(network, batch, clip=weights.vf_clip_param)
    entropy = losses.valid_mean(output.joint.entropy(), batch.valid)
    old_joint = network.policy_from_flat(batch.policy_parameters, batch.inputs)
    with torch.set_grad_enabled(weights.has_kl):
        kl = losses.valid_mean(old_joint.kl(output.joint), batch.valid)
    total = policy_loss + weights.vf_loss_coeff * vf_loss - weights.entropy_coeff * entropy
    if weights.has_kl:
        total = total + weights.kl_coeff * kl
    metrics = {"policy_loss": policy_loss, "vf_loss": vf_loss, "entropy": entropy, "kl": kl}
    if settings.distillation_coeff:
        metrics["distillation_loss"] = distillation_loss(output, batch.valid)
        total = total + settings.distillation_coeff * metrics["distillation_loss"]
    metrics |= {"total_loss": total, "explained_variance": explained}
    metrics["clip_fraction"] = losses.clip_fraction(
        log_prob.detach(), batch.log_prob, counts, clip_param=weights.clip_param
    )
    return Loss(total, {name: value.detach() for name, value in metrics.items()})


def value_loss(network: TeamNetwork, batch: TeamBatch, *, clip: float) -> tuple[Tensor, Tensor]:
    """Clipped Huber loss of V in normalised units, and the variance that V explains."""
    normalizer = network.critic.normalizer
    critic_hidden = batch.hidden.critic if batch.hidden else None
    values = network.values(batch.inputs, critic_hidden).normalized
    counts = batch.value_counts(values, individual_rewards=network.settings.individual_rewards)
    targets = normalizer.normalize(batch.value_targets)
    loss = losses.clipped_value_loss(
        values,
        normalizer.normalize(batch.values),
        targets,
        counts,
        clip=clip,
        huber_delta=network.settings.huber_delta,
    )
    return loss, losses.explained_variance(values.detach(), targets, counts)


def distillation_loss(output: PolicyOutput, valid: Tensor) -> Tensor:
    r"""The projection step of imitation: :math:`KL(\text{joint} \,\|\, \text{individual})`.

    Gradient reaches the individual policies alone; the joint policy is the teacher.
    """
    teacher = map_tensors(output.joint, Tensor.detach)
    return losses.valid_mean(teacher.kl(output.individual), valid)  # type: ignore[arg-type]
