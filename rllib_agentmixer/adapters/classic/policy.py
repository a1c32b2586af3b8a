"""TorchPolicyV2 around a team and its learner."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo.ppo import PPOConfig
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.policy.torch_policy_v2 import TorchPolicyV2
from ray.rllib.utils.metrics.learner_info import LEARNER_STATS_KEY
from torch import Tensor

from rllib_agentmixer.adapters.classic.model import state_list
from rllib_agentmixer.adapters.classic.rllib_methods import POLICY_METHODS, refuses
from rllib_agentmixer.adapters.classic.sample_batches import to_experience
from rllib_agentmixer.adapters.compilation import compiler
from rllib_agentmixer.adapters.team_config import rllib_settings
from rllib_agentmixer.core.algorithms.entry import AlgorithmEntry
from rllib_agentmixer.core.data.experience import Experience, Fragment
from rllib_agentmixer.core.generators import seeded
from rllib_agentmixer.core.learners.learner import Learner
from rllib_agentmixer.core.teams.team_module import TeamModule
from rllib_agentmixer.errors import CheckpointError

# Checkpoints hold the policy class by reference to this package; RLlib warns at every save
# that it is none of its own.
logging.getLogger("ray.rllib.policy.policy").addFilter(
    lambda record: "durable policy name" not in record.getMessage()
)


@refuses(POLICY_METHODS)
class TeamPolicy(TorchPolicyV2):
    """The policy of a team and its learner, as RLlib's policy: columns in, metrics out."""

    learner: Learner
    model: Any

    def __init__(self, observation_space: Any, action_space: Any, config: Any) -> None:
        config = dict(PPOConfig().to_dict(), **config)
        self.compiler = compiler(config, "learner")
        self.is_compiled = config["torch_compile_learner"] or config["torch_compile_worker"]
        _keep_spec(config, observation_space)
        config["torch_compile_learner"] = False  # RLlib would compile an unused model
        self.generator = seeded(config["seed"])
        TorchPolicyV2.__init__(
            self,
            observation_space,
            action_space,
            config,
            max_seq_len=config["model"]["max_seq_len"],
        )
        self.learner.follow_schedules(self.global_timestep)

    @property
    def module(self) -> TeamModule:
        """Networks of the team."""
        return self.model.module

    @property
    def entry(self) -> AlgorithmEntry:
        """Entry of the algorithm."""
        return self.model.entry

    @property
    def cur_lr(self) -> float:
        """Learning rate of the learner's first optimiser."""
        return float(self.learner.optimizers[0].param_groups[0]["lr"])

    def optimizer(self) -> list[torch.optim.Optimizer]:
        """RLlib's hook: make the learner.

        RLlib is given the learner's optimisers where they are of the module's own parameters;
        its gradient API works with these alone.
        """
        settings = self.module.settings
        self.learner = self.entry.learner(settings)(
            self.module,
            settings,
            rllib_settings(self.entry, self.config),
            compiler=self.compiler,
        )
        self.learner.keeps_tensors = self.is_compiled
        own = {id(parameter) for parameter in self.module.parameters()}
        optimizers = self.learner.optimizers
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        is_own = all(id(p) in own for group in groups for p in group["params"])
        return optimizers if is_own else []

    def postprocess(self, fragment: Fragment) -> Experience:
        """Experience with the learner's targets, from a fragment as it was collected."""
        learner = self.learner
        return learner.postprocess(self.module, fragment, learner.settings, learner.rllib)

    def experience(self, batch: SampleBatch) -> Experience:
        """A batch as the learner reads it."""
        return to_experience(
            batch,
            self.model.layout,
            targets=self.learner.targets,
            like=self.module.initial_state(1),
            device=self.device,
        )

    def update(self, batch: SampleBatch | Experience) -> dict[str, Any]:
        """One update from a batch of rows, or from experience; RLlib's learner results."""
        custom_metrics: dict[str, Any] = {}
        if isinstance(batch, SampleBatch):
            self.callbacks.on_learn_on_batch(policy=self, train_batch=batch, result=custom_metrics)
        experience = self.experience(batch) if isinstance(batch, SampleBatch) else batch
        num_steps = batch.count if isinstance(batch, SampleBatch) else int(batch.valid.sum())
        metrics = self.learner.update(
            experience, env_steps=self.global_timestep, generator=self.generator
        )
        sampled_by = getattr(batch, "num_grad_updates", None)
        lag = 0 if sampled_by is None else self.num_grad_updates - sampled_by
        num_updates = int(metrics["num_updates"])
        self.num_grad_updates += num_updates
        return {
            LEARNER_STATS_KEY: metrics,
            "custom_metrics": custom_metrics,
            "num_agent_steps_trained": num_steps,
            "num_grad_updates_lifetime": self.num_grad_updates,
            # As RLlib counts: a mean over the gradient steps of this update.
            "diff_num_grad_updates_vs_sampler_policy": lag + max(0, num_updates - 1) / 2,
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

        Its default, an action distribution, represents only products over agents.
        """
        rows = obs_batch[SampleBatch.CUR_OBS].float()
        noise = torch.default_generator
        inputs = model.inputs_of(rows, len(rows))
        inputs = self.module.sample_latents(inputs, noise, explore=explore)
        hidden = model.hidden_of(state_batches)
        decision = self.module.act(inputs, hidden, explore=explore, generator=noise)
        policy, actions = decision.policy, decision.actions
        return (
            actions[0].flatten(1),
            policy.log_prob(actions)[0],
            policy.flat()[0],
            state_list(decision.hidden) if decision.hidden else [],
        )

    def _compute_action_helper(self, *args: Any, **kwargs: Any) -> Any:
        """RLlib's helper, without its count of steps: acting moves no schedule of training."""
        timestep = self.global_timestep
        try:
            return super()._compute_action_helper(*args, **kwargs)
        finally:
            self.global_timestep = timestep

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
            inputs = self.module.sample_latents(inputs, torch.default_generator, explore=False)
            if not self.module.sizes.is_discrete:
                taken = taken.unflatten(-1, (self.module.sizes.num_agents, -1))
            given = taken.unsqueeze(0)
            return self.module(inputs, self.model.hidden_of(states), given).joint.log_prob(given)[0]

    def loss(self, model: Any, dist_class: Any, train_batch: SampleBatch) -> Tensor:
        """Loss of one batch as it comes, for RLlib's gradient API; advantages are not scaled."""
        loss = self.learner.loss_of(self.experience(train_batch))
        model.tower_stats.update(loss.metrics)
        return loss.total

    def stats_fn(self, train_batch: SampleBatch) -> dict[str, Any]:
        """Metrics of the last :meth:`loss`."""
        return {name: float(value) for name, value in self.model.tower_stats.items()}

    def on_global_var_update(self, global_vars: dict[str, Any]) -> None:
        """Move all schedules to the number of environment steps sampled so far."""
        super().on_global_var_update(global_vars)
        self.learner.follow_schedules(self.global_timestep)

    def get_state(self) -> dict[str, Any]:
        """RLlib's policy state, the learner's, and the state of the shuffling of minibatches."""
        state = super().get_state()
        state.pop("_optimizer_variables", None)  # the learner's state has them
        return state | {
            "learner": self.learner.state_dict(),
            "shuffle_state": self.generator.get_state().numpy(),
            "num_grad_updates": self.num_grad_updates,
        }

    def _check_shapes(self, weights: dict[str, Any]) -> None:
        """Refuse weights of networks of other sizes, which PyTorch would with all of them."""
        own = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
        given = {name: tuple(np.shape(value)) for name, value in weights.items()}
        if own == given:
            return
        name = next(n for n in {**own, **given} if own.get(n) != given.get(n))
        raise CheckpointError(
            f"the checkpoint's networks have other sizes: {name} is {given.get(name)}, here "
            f"{own.get(name)}; use its settings (hidden_size, use_gru, parameter_sharing and other "
            "such), or Algorithm.from_checkpoint, which takes them from it"
        )

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore learned state; settings remain this policy's own.

        RLlib would restore the settings of the checkpoint: a trial that takes over another
        one's weights to continue with perturbed settings would train with the old ones. Schedules
        continue from the restored step count.
        """
        own_settings = self.config
        self._check_shapes(state["weights"])
        super().set_state(state)
        self.config = own_settings
        self.num_grad_updates = state["num_grad_updates"]
        self.generator.set_state(torch.from_numpy(np.asarray(state["shuffle_state"])))
        self.learner.load_state_dict(state["learner"])
        self.learner.follow_schedules(self.global_timestep)


def _keep_spec(config: dict[str, Any], observation_space: Any) -> None:
    """Keep the team's spec with the model's settings: RLlib writes spaces without it."""
    spec = getattr(getattr(observation_space, "original_space", None), "spec", None)
    if spec is not None:
        given = config["model"].get("custom_model_config", {})
        model = config["model"] | {"custom_model_config": given | {"team_spec": spec}}
        config["model"] = model
