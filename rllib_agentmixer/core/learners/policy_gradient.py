"""Policy-gradient learners of a team: PPO and A2C."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_

from rllib_agentmixer.core.cpu import fast_matrix_products
from rllib_agentmixer.core.data.experience import Experience, Fragment
from rllib_agentmixer.core.functional.advantages import ADVANTAGE_SCALES
from rllib_agentmixer.core.learners.diagnostics import consistency_metrics, fit_individual_std
from rllib_agentmixer.core.learners.learner import Compiler, Learner
from rllib_agentmixer.core.learners.optimization import (
    SKIPPED,
    MeanMetrics,
    check_targets,
    gradient_norm,
    report_non_finite,
    take_step,
)
from rllib_agentmixer.core.learners.policy_losses import (
    Loss,
    PPOCoefficients,
    score_function_loss,
    team_loss,
)
from rllib_agentmixer.core.learners.postprocessing import (
    PolicyGradientTargets,
    policy_gradient_targets,
)
from rllib_agentmixer.core.settings.actor_critic import ActorCriticSettings
from rllib_agentmixer.core.settings.rllib_settings import OnPolicySettings
from rllib_agentmixer.core.teams.product_policy import ProductPolicy
from rllib_agentmixer.errors import ConfigError

FIRST_PARTS = ("individual_policies", "critic")
"""Parts that share the learning rate ``lr``; a policy modifier has its own."""


def adapted_kl_coeff(kl_coeff: float, kl: float, *, target: float) -> float:
    """RLlib's rule for the weight of KL: half as much again or half, outside [0.5, 2] targets."""
    if kl > 2.0 * target:
        return kl_coeff * 1.5
    return kl_coeff * 0.5 if kl < 0.5 * target else kl_coeff


class PPOLearner(Learner):
    """Clipped policy gradient with a critic, over several epochs of shuffled minibatches.

    RLlib's own loop over minibatches is not used: it never shuffles rows, drops the rest of
    a batch that is not a multiple of the minibatch, and cannot stop at a divergence.
    """

    targets = PolicyGradientTargets
    loss_function: ClassVar[Callable[..., Loss]] = staticmethod(team_loss)
    scheduled: ClassVar[Mapping[str, str]] = {
        "lr": "cur_lr",
        "modifier_lr": "cur_modifier_lr",
        "entropy_coeff": "entropy_coeff",
        "temperature": "temperature",
    }

    team: ProductPolicy
    settings: ActorCriticSettings
    rllib: OnPolicySettings

    def __init__(
        self,
        team: ProductPolicy,
        settings: ActorCriticSettings,
        rllib: OnPolicySettings,
        *,
        compiler: Compiler | None = None,
    ) -> None:
        found = team.parts
        rest = [name for name in found if name not in FIRST_PARTS]
        self.parts: dict[str, list[nn.Parameter]] = {n: found[n] for n in (*FIRST_PARTS, *rest)}
        shared = [p for name in FIRST_PARTS for p in self.parts[name]]
        groups = [{"params": shared}, *({"params": self.parts[name]} for name in rest)]
        # Adam's epsilon 1e-5 as in the authors' code and MAPPO.
        self.optimizer = torch.optim.Adam(groups, eps=1e-5, fused=True)
        self.kl_coeff = float(rllib.kl_coeff)
        loss = type(self).loss_function
        self.loss = compiler(loss) if compiler else loss
        super().__init__(team, settings, rllib, compiler=compiler)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.optimizer]

    @staticmethod
    def postprocess(
        team: ProductPolicy, fragment: Fragment, settings: Any, rllib: OnPolicySettings
    ) -> Experience:
        del settings
        return policy_gradient_targets(team, fragment, gamma=rllib.gamma, lambda_=rllib.lambda_)

    def follow_schedules(self, env_steps: int) -> None:
        super().follow_schedules(env_steps)
        rates = (self.current["lr"], self.current.get("modifier_lr", 0.0))
        for group, rate in zip(self.optimizer.param_groups, rates, strict=False):
            group["lr"] = rate

    @property
    def coefficients(self) -> PPOCoefficients:
        """Weights of the loss at this moment."""
        return PPOCoefficients(
            clip_param=self.rllib.clip_param,
            vf_clip_param=self.rllib.vf_clip_param,
            vf_loss_coeff=self.rllib.vf_loss_coeff,
            entropy_coeff=self.current["entropy_coeff"],
            kl_coeff=self.kl_coeff if self.rllib.use_kl_loss else 0.0,
        )

    def loss_of(self, batch: Experience) -> Loss:
        """Loss of one batch as it comes; advantages are not scaled."""
        return type(self).loss_function(self.team, batch, self.coefficients)

    def scaled(self, batch: Experience) -> Experience:
        """The batch with advantages on the scale that the settings name."""
        advantages = batch.targets.advantages
        scale = ADVANTAGE_SCALES[self.settings.advantage_scale]
        scaled = scale(advantages, batch.counts(advantages))
        return replace(batch, targets=replace(batch.targets, advantages=scaled))

    @fast_matrix_products()
    def update(
        self, batch: Experience, *, env_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        self.follow_schedules(env_steps)
        self.team.train()
        result = self.fit(self.scaled(batch), generator)
        report_non_finite(result, self.settings.non_finite)
        if self.team.fits_individual_std:
            fit_individual_std(self.team, batch)
        metrics = consistency_metrics(self.team, batch)
        result |= {name: float(value) for name, value in metrics.items()}
        if self.rllib.use_kl_loss:
            target = self.rllib.kl_target
            self.kl_coeff = adapted_kl_coeff(self.kl_coeff, result["kl"], target=target)
        return result | self.metrics_of_schedules() | {"cur_kl_coeff": self.kl_coeff}

    def observe_targets(self, batch: Experience) -> None:
        """Update the critic's statistics with the value targets of a batch.

        Raises:
            LearningError: a target is non-finite.
        """
        targets = batch.targets.value_targets
        check_targets(targets[batch.valid])
        by_agent = self.settings.individual_rewards
        counts = batch.value_counts(targets, individual_rewards=by_agent)
        self.team.critic.observe_targets(targets, counts)

    def fit(self, batch: Experience, generator: torch.Generator) -> dict[str, float]:
        """All epochs over a batch of scaled advantages; metrics averaged over gradient steps."""
        self.observe_targets(batch)
        means, weights = MeanMetrics(), self.coefficients
        num_epochs = self.run_epochs(batch, generator, lambda part: self.step(part, weights), means)
        return means.result() | {"num_epochs": num_epochs, "num_updates": means.num_updates}

    def run_epochs(
        self,
        batch: Experience,
        generator: torch.Generator,
        step: Callable[[Experience], dict[str, Tensor]],
        means: MeanMetrics,
    ) -> int:
        """Passes over a batch in shuffled minibatches; the number of passes.

        Args:
            batch: learned from.
            generator: shuffles.
            step: one gradient step; returns metrics.
            means: take in the metrics of every step.
        """
        size = self.rllib.minibatch_size or batch.valid.numel()
        kl_stop = self.settings.kl_stop
        for epoch in range(1, self.rllib.num_epochs + 1):
            epoch_kl = batch.targets.advantages.new_zeros(())
            num_parts = 0
            for part in batch.minibatches(size, generator):
                metrics = step(part)
                means.add(metrics)
                epoch_kl += metrics["kl"]
                num_parts += 1
            if kl_stop is not None and float(epoch_kl) / num_parts > kl_stop:
                return epoch
        return self.rllib.num_epochs

    def step(self, batch: Experience, weights: PPOCoefficients) -> dict[str, Tensor]:
        """One gradient step; returns its metrics with the norms before clipping."""
        loss = self.loss(self.team, batch, weights.as_tensors() if self.is_compiled else weights)
        self.optimizer.zero_grad()
        loss.total.backward()
        norms = self.clip_gradients()
        skipped = take_step(self.optimizer, norms["grad_norm"])
        return loss.metrics | norms | {SKIPPED: skipped}

    def clip_gradients(self) -> dict[str, Tensor]:
        """Clip the global norm of all gradients; norms by part from before, and of all."""
        norms = {f"grad_norm_{name}": gradient_norm(part) for name, part in self.parts.items()}
        total = torch.linalg.vector_norm(torch.stack(list(norms.values())))
        grad_clip = self.rllib.grad_clip
        # Elsewhere than on the CPU, looking at the norm would wait for it.
        may_exceed = grad_clip is not None and (total.device.type != "cpu" or total > grad_clip)
        if grad_clip is not None and may_exceed:
            clip_grads_with_norm_(self.team.parameters(), grad_clip, total)
        return norms | {"grad_norm": total}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"kl_coeff": self.kl_coeff}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.kl_coeff = float(state["kl_coeff"])


class A2CLearner(PPOLearner):
    """Differs from PPO: log-probability times advantage, one step on each batch as a whole.

    Reference: Mnih et al. 2016, arXiv:1602.01783.
    """

    rllib_defaults: ClassVar[Mapping[str, Any]] = {"num_epochs": 1, "minibatch_size": None}
    accepts_stale_batches = False
    loss_function = staticmethod(score_function_loss)

    @classmethod
    def check(cls, settings: Any, rllib: OnPolicySettings) -> None:
        """The gradient is that of the policy which acted: one step for each batch."""
        size = rllib.minibatch_size or rllib.train_batch_size
        if rllib.num_epochs != 1 or size < rllib.train_batch_size:
            raise ConfigError(
                "learner='a2c' learns from each batch once and as a whole: set num_epochs=1 and "
                f"minibatch_size=None, got num_epochs={rllib.num_epochs!r} and "
                f"minibatch_size={rllib.minibatch_size!r} of {rllib.train_batch_size!r} steps"
            )
