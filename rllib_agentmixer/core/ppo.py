"""Policy-gradient learning of a team: the loss of one minibatch, the epochs over one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_

from rllib_agentmixer.core import losses
from rllib_agentmixer.core.batch import TeamBatch, map_tensors
from rllib_agentmixer.core.distributions import TeamGaussian
from rllib_agentmixer.core.gradients import (
    SKIPPED,
    NonFinite,
    check_targets,
    gradient_norm,
    report_non_finite,
    take_step,
)
from rllib_agentmixer.core.processor import fast_matrix_products
from rllib_agentmixer.core.team_network import PolicyOutput, TeamNetwork


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


@torch.no_grad()
def consistency_metrics(network: TeamNetwork, batch: TeamBatch) -> dict[str, Tensor]:
    """How far joint and individual policies stand apart on a batch.

    One extra forward pass, so callers run it once an iteration and not in every epoch.
    Without a policy modifier they are the same, and nothing is measured.
    """
    if network.policy_modifier is None:
        return {}
    output: PolicyOutput = network(batch.inputs, batch.hidden, batch.actions)
    valid = batch.valid
    kl = output.joint.kl(output.individual)  # type: ignore[arg-type]
    return {
        "mode_agreement": losses.valid_mean(
            output.joint.agreement(output.individual),  # type: ignore[arg-type]
            valid,
        ),
        "kl_joint_individual": losses.valid_mean(kl, valid),
        "individual_entropy": losses.valid_mean(output.individual.entropy(), valid),
        "joint_entropy": losses.valid_mean(output.joint.entropy(), valid),
    }


@torch.no_grad()
def fit_individual_std(network: TeamNetwork, batch: TeamBatch) -> None:
    r"""Set the individual std of continuous teams to the joint policy's, by moments.

    With equal means, :math:`\sigma_i^2 = \mathbb{E}[\sigma^2(s)]` minimises
    :math:`\mathbb{E}[KL(\text{joint} \,\|\, \text{individual})]`. It is used only when a
    deployed policy samples; discrete teams are left alone.
    """
    if network.sizes.action_kind == "discrete":
        return
    joint = cast(TeamGaussian, network(batch.inputs, batch.hidden, batch.actions).joint)
    counts = (batch.valid.unsqueeze(-1) & joint.alive.bool()).unsqueeze(-1) & joint.valid.bool()
    totals = counts.sum((0, 1))
    variance = (joint.std.square() * counts).sum((0, 1)) / totals.clamp_min(1)
    log_std = network.individual_policies.log_std
    log_std.copy_(torch.where(totals > 0, 0.5 * variance.clamp_min(1e-12).log(), log_std))


@dataclass(frozen=True, kw_only=True)
class UpdatePlan:
    """How often and in which portions one batch is learned from.

    Attributes:
        num_epochs: passes over the batch.
        minibatch_size: steps per gradient step; None takes the whole batch.
        grad_clip: largest global gradient norm; None leaves gradients alone.
        kl_stop: epochs end once the last one's mean KL exceeds it; None never.
        non_finite: what happens where gradients are no numbers (no weight takes them in).
    """

    num_epochs: int
    minibatch_size: int | None
    grad_clip: float | None
    kl_stop: float | None
    non_finite: NonFinite = "raise"


class PPOLearner:
    """Learns a :class:`TeamNetwork` from batches; knows nothing about where they come from.

    RLlib's own loop over minibatches is not used: it never shuffles rows, drops the rest of
    a batch that is no multiple of the minibatch, and cannot stop at a divergence.

    Args:
        network: what is trained.
        lr: learning rate of individual policies and critic.
        modifier_lr: learning rate of the policy modifier, if there is one.
        compiler: compiles the loss, such as ``torch.compile``; None leaves it as it is.
    """

    def __init__(
        self,
        network: TeamNetwork,
        *,
        lr: float,
        modifier_lr: float = 0.0,
        compiler: Callable[[Callable[..., Loss]], Callable[..., Loss]] | None = None,
    ) -> None:
        self.network = network
        self.is_compiled = compiler is not None
        self.loss = compiler(team_loss) if compiler else team_loss
        self.parts: dict[str, list[nn.Parameter]] = {
            "individual_policies": list(network.individual_policies.parameters()),
            "critic": list(network.critic.parameters()),
        }
        actors_and_critic = self.parts["individual_policies"] + self.parts["critic"]
        groups = [{"params": actors_and_critic, "lr": lr}]
        if network.policy_modifier is not None:
            self.parts["policy_modifier"] = list(network.policy_modifier.parameters())
            groups.append({"params": self.parts["policy_modifier"], "lr": modifier_lr})
        # Adam's epsilon 1e-5 as in the authors' code and MAPPO.
        self.optimizer = torch.optim.Adam(groups, eps=1e-5, fused=True)

    def set_learning_rates(self, lr: float, modifier_lr: float = 0.0) -> None:
        """Follow the schedules; the second rate is the modifier's, if there is one."""
        for group, rate in zip(self.optimizer.param_groups, (lr, modifier_lr), strict=False):
            group["lr"] = rate

    @fast_matrix_products()
    def update(
        self,
        batch: TeamBatch,
        weights: PPOCoefficients,
        plan: UpdatePlan,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Learn from one batch and return metrics averaged over its gradient steps.

        Raises:
            LearningError: value targets are not finite; or gradients, if the plan says so.
        """
        check_targets(batch.value_targets[batch.valid])
        targets, by_agent = batch.value_targets, self.network.settings.individual_rewards
        counts = batch.value_counts(targets, individual_rewards=by_agent)
        self.network.critic.observe_targets(targets, counts)
        sums: dict[str, Tensor] = {}
        num_updates = num_epochs = 0
        for _ in range(plan.num_epochs):
            epoch_kl = batch.advantages.new_zeros(())
            num_parts = 0
            size = plan.minibatch_size or batch.valid.numel()
            for part in batch.minibatches(size, generator):
                metrics = self.step(part, weights, plan.grad_clip)
                for name, value in metrics.items():
                    sums[name] = sums.get(name, 0) + value
                epoch_kl += metrics["kl"]
                num_parts += 1
            num_updates += num_parts
            num_epochs += 1
            if plan.kl_stop is not None and float(epoch_kl) / num_parts > plan.kl_stop:
                break
        result = {name: float(value) / num_updates for name, value in sums.items()}
        report_non_finite(result, plan.non_finite)
        if self.network.settings.sample_std_from_joint:
            fit_individual_std(self.network, batch)
        metrics = consistency_metrics(self.network, batch)
        result |= {name: float(value) for name, value in metrics.items()}
        return result | {"num_epochs": num_epochs, "num_updates": num_updates}

    def step(
        self, batch: TeamBatch, weights: PPOCoefficients, grad_clip: float | None
    ) -> dict[str, Tensor]:
        """One gradient step; returns its metrics with the norms before clipping."""
        loss = self.loss(self.network, batch, weights.as_tensors() if self.is_compiled else weights)
        self.optimizer.zero_grad()
        loss.total.backward()
        norms = {f"grad_norm_{name}": gradient_norm(part) for name, part in self.parts.items()}
        total = torch.linalg.vector_norm(torch.stack(list(norms.values())))
        # Elsewhere than on the processor, looking at the norm would wait for it.
        may_exceed = grad_clip is not None and (total.device.type != "cpu" or total > grad_clip)
        if grad_clip is not None and may_exceed:
            clip_grads_with_norm_(self.network.parameters(), grad_clip, total)
        skipped = take_step(self.optimizer, total)
        return loss.metrics | norms | {"grad_norm": total, SKIPPED: skipped}
