"""AgentMixer-PPO: the loss of one minibatch and the epochs over one batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from rllib_agentmixer.core import losses
from rllib_agentmixer.core.batch import TeamBatch
from rllib_agentmixer.core.distributions import TeamGaussian
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
    """

    clip_param: float
    vf_clip_param: float
    vf_loss_coeff: float
    entropy_coeff: float
    kl_coeff: float = 0.0


@dataclass(frozen=True)
class Loss:
    """Scalar to minimise, and detached diagnostics by name (see the algorithm's page)."""

    total: Tensor
    metrics: dict[str, Tensor]


def agentmixer_loss(network: TeamNetwork, batch: TeamBatch, weights: PPOCoefficients) -> Loss:
    r"""PPO on the joint policy as if the team were one agent.

    .. math:: L = L_{clip}(\theta) + c_v L_V - c_e\, \mathbb{E}[H] + c_k\,\mathbb{E}[KL]

    (arXiv:2401.08728, section "AgentMixer-PPO"; losses in :mod:`.losses`). ``batch`` holds
    advantages that are already standardised.
    """
    output = network(batch.inputs, batch.hidden)
    valid, old_log_prob = batch.valid, batch.log_prob
    log_prob = output.joint.log_prob(batch.actions)
    policy_loss = losses.clipped_policy_loss(
        log_prob, old_log_prob, batch.advantages, valid, clip_param=weights.clip_param
    )
    normalizer = network.critic.normalizer
    values = network.critic(batch.inputs.state)
    targets = normalizer.normalize(batch.value_targets)
    vf_loss = losses.clipped_value_loss(
        values,
        normalizer.normalize(batch.values),
        targets,
        valid,
        clip=weights.vf_clip_param,
        huber_delta=network.settings.huber_delta,
    )
    entropy = losses.valid_mean(output.joint.entropy(), valid)
    old_joint = network.policy_from_flat(batch.policy_parameters, batch.inputs)
    with torch.set_grad_enabled(bool(weights.kl_coeff)):  # else it is a diagnostic alone
        kl = losses.valid_mean(old_joint.kl(output.joint), valid)
    total = policy_loss + weights.vf_loss_coeff * vf_loss - weights.entropy_coeff * entropy
    if weights.kl_coeff:
        total = total + weights.kl_coeff * kl
    metrics = {
        "total_loss": total,
        "policy_loss": policy_loss,
        "vf_loss": vf_loss,
        "entropy": entropy,
        "kl": kl,
        "clip_fraction": losses.clip_fraction(
            log_prob.detach(), old_log_prob, valid, clip_param=weights.clip_param
        ),
        "explained_variance": losses.explained_variance(values.detach(), targets, valid),
    }
    return Loss(total, {name: value.detach() for name, value in metrics.items()})


@torch.no_grad()
def consistency_metrics(network: TeamNetwork, batch: TeamBatch) -> dict[str, Tensor]:
    """How far joint and individual policies stand apart on a batch.

    One extra forward pass, so callers run it once an iteration and not in every epoch.
    """
    output: PolicyOutput = network(batch.inputs, batch.hidden)
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
    joint = cast(TeamGaussian, network(batch.inputs, batch.hidden).joint)
    counts = (batch.valid.unsqueeze(-1) & joint.alive.bool()).unsqueeze(-1) & joint.valid.bool()
    totals = counts.sum((0, 1))
    variance = (joint.std.square() * counts).sum((0, 1)) / totals.clamp_min(1)
    log_std = network.individual_policies.log_std
    log_std.copy_(torch.where(totals > 0, 0.5 * variance.clamp_min(1e-12).log(), log_std))


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Euclidean norm over all gradients; 0 where there are none."""
    known = list(parameters)
    gradients = [p.grad for p in known if p.grad is not None]
    if not gradients:
        return known[0].new_zeros(())
    return get_total_norm(gradients)


@dataclass(frozen=True, kw_only=True)
class UpdatePlan:
    """How often and in which portions one batch is learned from.

    Attributes:
        num_epochs: passes over the batch.
        minibatch_size: steps per gradient step; None takes the whole batch.
        grad_clip: largest global gradient norm; None leaves gradients alone.
        kl_stop: epochs end once the last one's mean KL exceeds it; None never.
    """

    num_epochs: int
    minibatch_size: int | None
    grad_clip: float | None
    kl_stop: float | None


class PPOLearner:
    """Learns a :class:`TeamNetwork` from batches; knows nothing about where they come from.

    RLlib's own loop over minibatches is not used: it never shuffles rows, drops the rest of
    a batch that is no multiple of the minibatch, and cannot stop at a divergence.

    Args:
        network: what is trained.
        lr: learning rate of individual policies and critic.
        modifier_lr: learning rate of the policy modifier.
    """

    def __init__(self, network: TeamNetwork, *, lr: float, modifier_lr: float) -> None:
        self.network = network
        self.parts: dict[str, list[nn.Parameter]] = {
            "individual_policies": list(network.individual_policies.parameters()),
            "critic": list(network.critic.parameters()),
            "policy_modifier": list(network.policy_modifier.parameters()),
        }
        actors_and_critic = self.parts["individual_policies"] + self.parts["critic"]
        # Adam's epsilon 1e-5 as in the authors' code and MAPPO.
        self.optimizer = torch.optim.Adam(
            [
                {"params": actors_and_critic, "lr": lr},
                {"params": self.parts["policy_modifier"], "lr": modifier_lr},
            ],
            eps=1e-5,
        )

    def set_learning_rates(self, lr: float, modifier_lr: float) -> None:
        """Follow the schedules."""
        for group, rate in zip(self.optimizer.param_groups, (lr, modifier_lr), strict=True):
            group["lr"] = rate

    def update(
        self,
        batch: TeamBatch,
        weights: PPOCoefficients,
        plan: UpdatePlan,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Learn from one batch and return metrics averaged over its gradient steps."""
        self.network.critic.observe_targets(batch.value_targets, batch.valid)
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
        if self.network.settings.sample_std_from_joint:
            fit_individual_std(self.network, batch)
        metrics = consistency_metrics(self.network, batch)
        result |= {name: float(value) for name, value in metrics.items()}
        return result | {"num_epochs": num_epochs, "num_updates": num_updates}

    def step(
        self, batch: TeamBatch, weights: PPOCoefficients, grad_clip: float | None
    ) -> dict[str, Tensor]:
        """One gradient step; returns its metrics with the norms before clipping."""
        loss = agentmixer_loss(self.network, batch, weights)
        self.optimizer.zero_grad()
        loss.total.backward()
        norms = {f"grad_norm_{name}": gradient_norm(part) for name, part in self.parts.items()}
        total = torch.linalg.vector_norm(torch.stack(list(norms.values())))
        if grad_clip is not None:
            clip_grads_with_norm_(self.network.parameters(), grad_clip, total)
        self.optimizer.step()
        return loss.metrics | norms | {"grad_norm": total}
