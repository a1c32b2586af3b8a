"""TorchPolicyV2 around the core: schedules and batches in, metrics out."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo.ppo import PPOConfig
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.policy.torch_mixins import KLCoeffMixin
from ray.rllib.policy.torch_policy_v2 import TorchPolicyV2
from ray.rllib.utils.metrics.learner_info import LEARNER_STATS_KEY
from ray.rllib.utils.schedules import PiecewiseSchedule
from torch import Tensor

from rllib_agentmixer.adapters.classic.sample_batches import (
    hidden_from_rllib,
    hidden_to_rllib,
    to_team_batch,
)
from rllib_agentmixer.adapters.compilation import compiler
from rllib_agentmixer.core.functional.advantages import ADVANTAGE_SCALES
from rllib_agentmixer.core.learners.policy_gradient import PPOLearner, UpdatePlan
from rllib_agentmixer.core.learners.policy_losses import PPOCoefficients, team_loss

# Checkpoints hold the policy class by reference to this package; RLlib warns at every save
# that it is none of its own.
logging.getLogger("ray.rllib.policy.policy").addFilter(
    lambda record: "durable policy name" not in record.getMessage()
)

SCHEDULED = ("lr", "modifier_lr", "entropy_coeff", "temperature")
"""Settings that may be RLlib schedules over sampled environment steps."""


def schedule(setting: float | list[list[float]], legacy: list | None = None) -> PiecewiseSchedule:
    """RLlib's piecewise-linear schedule from a constant, a list, or the ``*_schedule`` setting."""
    points = legacy or setting
    if not isinstance(points, (list, tuple)):
        points = [[0, points]]
    points = [(int(step), float(value)) for step, value in points]
    return PiecewiseSchedule(points, framework=None, outside_value=points[-1][1])


class TeamPolicy(KLCoeffMixin, TorchPolicyV2):
    """The joint policy of a team and its learner, as RLlib's policy.

    Differs from PPOTorchPolicy: two learning rates, V normalised and clipped in normalised
    units, minibatches of shuffled sequences, an optional stop of the epochs at a divergence,
    and diagnostics of how joint and individual policies agree.
    """

    learner: PPOLearner
    model: Any
    kl_coeff: Any

    def __init__(self, observation_space: Any, action_space: Any, config: Any) -> None:
        config = dict(PPOConfig().to_dict(), **config)
        self.compiler = compiler(config, "learner")
        self.is_compiled = config["torch_compile_learner"] or config["torch_compile_worker"]
        config["torch_compile_learner"] = False  # RLlib would compile a model that nobody calls
        # Algorithms without a policy modifier have neither its rate nor a temperature.
        self.schedules = {
            name: schedule(config[name], config.get(f"{name}_schedule"))
            for name in SCHEDULED
            if name in config
        }
        self.current = {name: s.value(0) for name, s in self.schedules.items()}
        self.generator = torch.Generator()
        if config["seed"] is not None:
            self.generator.manual_seed(config["seed"])
        TorchPolicyV2.__init__(
            self,
            observation_space,
            action_space,
            config,
            max_seq_len=config["model"]["max_seq_len"],
        )
        KLCoeffMixin.__init__(self, config)
        self._follow_schedules()

    @property
    def network(self) -> Any:
        """The team's networks."""
        return self.model.network

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam with one group for individual policies and critic, one for the modifier."""
        self.learner = PPOLearner(
            self.network,
            lr=self.current["lr"],
            modifier_lr=self.current.get("modifier_lr", 0.0),
            compiler=self.compiler,
        )
        return self.learner.optimizer

    def update(self, batch: SampleBatch) -> dict[str, Any]:
        """All epochs over one train batch."""
        team_batch = to_team_batch(batch, self.model.layout, self.device)
        scale = ADVANTAGE_SCALES[self.config["advantage_scale"]]
        advantages = team_batch.advantages
        scaled = scale(advantages, team_batch.counts(advantages))
        team_batch = replace(team_batch, advantages=scaled)
        plan = UpdatePlan(
            num_epochs=self.config["num_epochs"],
            minibatch_size=self.config["minibatch_size"],
            grad_clip=self.config["grad_clip"],
            kl_stop=self.config["kl_stop"],
            non_finite=self.config.get("non_finite", "raise"),  # absent in earlier checkpoints
        )
        self.model.train()
        custom_metrics: dict[str, Any] = {}
        self.callbacks.on_learn_on_batch(policy=self, train_batch=batch, result=custom_metrics)
        metrics = self.learner.update(team_batch, self._coefficients(), plan, self.generator)
        self.num_grad_updates += int(metrics["num_updates"])
        if self.config["use_kl_loss"]:
            self.update_kl(metrics["kl"])
        return {
            LEARNER_STATS_KEY: metrics | self._rates(),
            "custom_metrics": custom_metrics,
            "num_agent_steps_trained": batch.count,
            "num_grad_updates_lifetime": self.num_grad_updates,
        }

    def action_sampler_fn(
        self,
        model: Any,
        *,
        obs_batch: Any,
        state_batches: Any,
        explore: bool = True,
        **_unused: Any,
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """RLlib's hook behind ``compute_actions``: joint actions of any form of correlation.

        Its own way, an action distribution, knows products over agents alone.
        """
        rows = obs_batch[SampleBatch.CUR_OBS].float()
        hidden = hidden_from_rllib(state_batches) if state_batches else None
        noise = torch.default_generator
        inputs = self.network.sample_latents(
            model.inputs_of(rows, len(rows)), noise, explore=explore
        )
        decision = self.network.decide(inputs, hidden, explore=explore, generator=noise)
        policy, actions = decision.policy, decision.actions
        return (
            actions[0].flatten(1),
            policy.log_prob(actions)[0],
            policy.flat()[0],
            hidden_to_rllib(decision.hidden) if decision.hidden else [],
        )

    def compute_log_likelihoods(
        self,
        actions: Any,
        obs_batch: Any,
        state_batches: Any = None,
        **_unused: Any,
    ) -> Tensor:
        """[R] log-probability of joint actions in the policy's own units.

        What a correlated form samples is not among the arguments: the signal is taken as 0 and
        the order of agents as 0..N-1.
        """
        rows = torch.as_tensor(np.asarray(obs_batch), device=self.device).float()
        taken = torch.as_tensor(np.asarray(actions), device=self.device)
        states = [torch.as_tensor(np.asarray(s), device=self.device) for s in state_batches or []]
        with torch.inference_mode():
            inputs = self.model.inputs_of(rows, len(rows))
            inputs = self.network.sample_latents(inputs, torch.default_generator, explore=False)
            if self.model.layout.sizes.action_kind == "continuous":
                taken = taken.unflatten(-1, (self.model.layout.sizes.num_agents, -1))
            hidden = hidden_from_rllib(states) if states else None
            given = taken.unsqueeze(0)
            return self.network(inputs, hidden, given).joint.log_prob(given)[0]

    def loss(self, model: Any, dist_class: Any, train_batch: SampleBatch) -> Tensor:
        """Loss of one batch as it comes, for RLlib's gradient API; advantages are not scaled."""
        batch = to_team_batch(train_batch, model.layout, self.device)
        loss = team_loss(model.network, batch, self._coefficients())
        model.tower_stats.update(loss.metrics)
        return loss.total

    def stats_fn(self, train_batch: SampleBatch) -> dict[str, Any]:
        """Metrics of the last :meth:`loss`."""
        return {name: float(value) for name, value in self.model.tower_stats.items()}

    def on_global_var_update(self, global_vars: dict[str, Any]) -> None:
        """Move all schedules to the number of environment steps sampled so far."""
        super().on_global_var_update(global_vars)
        self._follow_schedules()

    def get_state(self) -> dict[str, Any]:
        """RLlib's policy state, the count of gradient steps, and what shuffles minibatches."""
        return super().get_state() | {
            "shuffle_state": self.generator.get_state().numpy(),
            "num_grad_updates": self.num_grad_updates,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what was learned; settings stay this policy's own.

        RLlib would bring back the settings of the checkpoint: a trial that takes over another
        one's weights to go on with perturbed settings would train with the old ones. Schedules
        stand where the restored step count puts them.
        """
        shuffle_state = state.get("shuffle_state")
        own_settings = self.config
        super().set_state(state)
        self.config = own_settings
        self.num_grad_updates = state.get("num_grad_updates", 0)
        if shuffle_state is not None:
            self.generator.set_state(torch.from_numpy(np.asarray(shuffle_state)))
        self._follow_schedules()

    def _follow_schedules(self) -> None:
        step = self.global_timestep
        self.current = {name: s.value(step) for name, s in self.schedules.items()}
        temperature = float(self.current.get("temperature", 1.0))
        # A number would be compiled in, and a schedule have everything compiled every time.
        is_tensor = self.is_compiled and isinstance(self.config.get("temperature"), (list, tuple))
        self.network.temperature = torch.tensor(temperature) if is_tensor else temperature
        modifier_lr = self.current.get("modifier_lr", 0.0)
        self.learner.set_learning_rates(self.current["lr"], modifier_lr)

    def _coefficients(self) -> PPOCoefficients:
        return PPOCoefficients(
            clip_param=self.config["clip_param"],
            vf_clip_param=self.config["vf_clip_param"],
            vf_loss_coeff=self.config["vf_loss_coeff"],
            entropy_coeff=self.current["entropy_coeff"],
            kl_coeff=self.kl_coeff if self.config["use_kl_loss"] else 0.0,
        )

    def _rates(self) -> dict[str, float]:
        names = {"lr": "cur_lr", "modifier_lr": "cur_modifier_lr"}
        current = {names.get(name, name): value for name, value in self.current.items()}
        return current | {"cur_kl_coeff": self.kl_coeff}
