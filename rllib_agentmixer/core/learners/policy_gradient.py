"""Policy-gradient learning of a team: the loss of one minibatch, the epochs over one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_

from rllib_agentmixer.core.cpu import fast_matrix_products
from rllib_agentmixer.core.data.batch import TeamBatch
from rllib_agentmixer.core.learners.diagnostics import consistency_metrics, fit_individual_std
from rllib_agentmixer.core.learners.optimization import (
    SKIPPED,
    NonFinite,
    check_targets,
    gradient_norm,
    report_non_finite,
    take_step,
)
from rllib_agentmixer.core.learners.policy_losses import Loss, PPOCoefficients, team_loss
from rllib_agentmixer.core.teams.joint_policy import TeamNetwork


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
