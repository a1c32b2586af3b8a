"""Heterogeneous-agent policy gradient: agents are updated one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.functional import losses
from rllib_agentmixer.core.functional.advantages import ADVANTAGE_SCALES
from rllib_agentmixer.core.learners.learner import Compiler
from rllib_agentmixer.core.learners.optimization import SKIPPED, MeanMetrics, take_step
from rllib_agentmixer.core.learners.policy_gradient import PPOLearner
from rllib_agentmixer.core.learners.policy_losses import Loss, PPOCoefficients, value_loss
from rllib_agentmixer.core.settings.rllib_settings import OnPolicySettings
from rllib_agentmixer.core.settings.sequential import HAPPOSettings
from rllib_agentmixer.core.teams.product_policy import ProductPolicy


def agent_loss(
    team: ProductPolicy,
    batch: Experience,
    weights: PPOCoefficients,
    agent: int,
    has_value: bool,
) -> Loss:
    r"""Clipped surrogate of one agent, and the value loss where it is asked for.

    .. math:: L_m = -\mathbb{E}[\min(\rho_m M,\ \mathrm{clip}(\rho_m, 1-\epsilon, 1+\epsilon) M)]
              - c_e\, \mathbb{E}[H_m]\ (+ c_v L_V)

    with :math:`\rho_m` the ratio of agent m's own probabilities (Kuba et al. 2022,
    arXiv:2109.11251, eq. 9). ``batch`` holds M in place of advantages. Rows in which the agent
    takes no part do not count.
    """
    targets = batch.targets
    output = team(batch.inputs, batch.hidden, batch.actions)
    log_prob = output.joint.agent_log_prob(batch.actions)[..., agent]
    old_log_prob = targets.log_prob[..., agent]
    counts = batch.valid & batch.inputs.alive[..., agent]
    policy_loss = losses.clipped_policy_loss(
        log_prob, old_log_prob, targets.advantages, counts, clip_param=weights.clip_param
    )
    entropy = losses.valid_mean(output.joint.agent_entropy()[..., agent], counts)
    old_joint = team.policy_from_flat(batch.behaviour, batch.inputs)
    with torch.set_grad_enabled(weights.has_kl):
        kl = losses.valid_mean(old_joint.kl(output.joint), batch.valid)
    metrics = {"policy_loss": policy_loss, "entropy": entropy, "kl": kl}
    total = policy_loss
    if has_value:
        vf_loss, explained = value_loss(team, batch, clip=weights.vf_clip_param)
        total = total + weights.vf_loss_coeff * vf_loss
        metrics |= {"vf_loss": vf_loss, "explained_variance": explained}
    total = total - weights.entropy_coeff * entropy
    if weights.has_kl:
        total = total + weights.kl_coeff * kl
    metrics["total_loss"] = total
    metrics["clip_fraction"] = losses.clip_fraction(
        log_prob.detach(), old_log_prob, counts, clip_param=weights.clip_param
    )
    return Loss(total, {name: value.detach() for name, value in metrics.items()})


def ratio_factor(log_prob: Tensor, old_log_prob: Tensor, counts: Tensor) -> Tensor:
    r"""[T, B] :math:`\pi_m^{new}(a_m) / \pi_m^{old}(a_m)` where the agent takes part, else 1."""
    return torch.where(counts, (log_prob - old_log_prob).exp(), 1.0)


class AgentOptimizer:
    """Adam of one agent's slice of stacked parameters [N, ...].

    A step of an optimiser of all would move the other agents by their momentum. The slices share
    memory with the stacked parameters, which therefore must not be reallocated.

    Args:
        parameters: stacked along a first axis of agents.
        agent: index of the slice.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], agent: int) -> None:
        self.parameters = list(parameters)
        self.agent = agent
        self.slices = [nn.Parameter(p.data[agent]) for p in self.parameters]
        # Adam's epsilon 1e-5 as in the authors' code and MAPPO.
        self.optimizer = torch.optim.Adam(self.slices, eps=1e-5, fused=True)

    def step(self, norm: Tensor) -> Tensor:
        """One step by the gradients of the stacked parameters; [] 1 where it was skipped."""
        for own, parameter in zip(self.slices, self.parameters, strict=True):
            own.grad = None if parameter.grad is None else parameter.grad[self.agent]
        return take_step(self.optimizer, norm)


class HAPPOLearner(PPOLearner):
    """Differs from PPO: agents are updated one after the other, in a fresh random order.

    Agent m's advantages are multiplied by the ratios of all agents that were updated before it
    in this iteration, so that the joint surrogate improves monotonically. The critic learns in
    the passes of the first agent. With one agent this is PPO.

    Reference: Kuba et al. 2022, arXiv:2109.11251.
    """

    loss_function: ClassVar[Callable[..., Loss]] = staticmethod(agent_loss)

    settings: HAPPOSettings  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        team: ProductPolicy,
        settings: HAPPOSettings,
        rllib: OnPolicySettings,
        *,
        compiler: Compiler | None = None,
    ) -> None:
        super().__init__(team, settings, rllib, compiler=compiler)
        self.critic_optimizer = torch.optim.Adam(self.parts["critic"], eps=1e-5, fused=True)
        self.agents = [
            AgentOptimizer(self.parts["individual_policies"], agent)
            for agent in range(team.sizes.num_agents)
        ]
        self.follow_schedules(0)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.critic_optimizer, *(agent.optimizer for agent in self.agents)]

    def follow_schedules(self, env_steps: int) -> None:
        super().follow_schedules(env_steps)
        for optimizer in self.optimizers if hasattr(self, "agents") else ():
            for group in optimizer.param_groups:
                group["lr"] = self.current["lr"]

    def scaled(self, batch: Experience) -> Experience:
        """The batch as it is: every agent's advantages are scaled over its own steps."""
        return batch

    def loss_of(self, batch: Experience) -> Any:
        raise NotImplementedError(
            "agents are updated one after the other, without a single loss; call update()"
        )

    def fit(self, batch: Experience, generator: torch.Generator) -> dict[str, float]:
        self.observe_targets(batch)
        num_agents = len(self.agents)
        # Nothing is drawn for one agent, whose updates are PPO's bit for bit.
        order = torch.randperm(num_agents, generator=generator).tolist() if num_agents > 1 else [0]
        means, weights, num_epochs = MeanMetrics(), self.coefficients, 0
        factor = torch.ones_like(batch.targets.log_prob[..., 0])
        for position, agent in enumerate(order):
            step = partial(self.agent_step, weights=weights, agent=agent, has_value=position == 0)
            own = self._with_advantages(batch, factor, agent)
            num_epochs += self.run_epochs(own, generator, step, means)
            if position + 1 < num_agents:
                factor = factor * self._ratio(batch, agent)
        return means.result() | {
            "num_epochs": num_epochs / num_agents,
            "num_updates": means.num_updates,
        }

    def agent_step(
        self, batch: Experience, *, weights: PPOCoefficients, agent: int, has_value: bool
    ) -> dict[str, Tensor]:
        """One gradient step of one agent, and of the critic where ``has_value``."""
        weights = weights.as_tensors() if self.is_compiled else weights
        self.team.zero_grad()
        loss = self.loss(self.team, batch, weights, agent, has_value)
        loss.total.backward()
        norms = self.clip_gradients()
        skipped = self.agents[agent].step(norms["grad_norm"])
        if has_value:
            take_step(self.critic_optimizer, norms["grad_norm"])
        return loss.metrics | norms | {SKIPPED: skipped}

    def _with_advantages(self, batch: Experience, factor: Tensor, agent: int) -> Experience:
        """The batch with M of one agent in place of advantages, scaled over its own steps."""
        advantages = batch.targets.advantages
        own = advantages[..., agent] if advantages.ndim > factor.ndim else advantages
        counts = batch.valid & batch.inputs.alive[..., agent]
        scaled = ADVANTAGE_SCALES[self.settings.advantage_scale](own, counts)
        return replace(batch, targets=replace(batch.targets, advantages=scaled * factor))

    @torch.no_grad()
    def _ratio(self, batch: Experience, agent: int) -> Tensor:
        """Ratio of the new to the old probability of the agent's actions."""
        joint = self.team(batch.inputs, batch.hidden, batch.actions).joint
        new = joint.agent_log_prob(batch.actions)[..., agent]
        counts = batch.valid & batch.inputs.alive[..., agent]
        return ratio_factor(new, batch.targets.log_prob[..., agent], counts)
