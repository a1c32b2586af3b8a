"""On-policy training of a team: each batch is learned from once it is sampled."""

from __future__ import annotations

from typing import Any

from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID
from ray.rllib.utils.metrics import (
    NUM_AGENT_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED,
    SAMPLE_TIMER,
)

from rllib_agentmixer.adapters.classic.algorithm import TeamAlgorithm
from rllib_agentmixer.adapters.classic.config import OnPolicyConfig
from rllib_agentmixer.adapters.classic.memory import warn_of_memory
from rllib_agentmixer.adapters.classic.sampling import AsynchronousSampler, Sampler


class OnPolicyAlgorithm(TeamAlgorithm):
    """Algorithm that learns from each batch once, at most one update late (``sample_async``)."""

    config: OnPolicyConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self, config: Any) -> None:
        """Set-up of the parent, and of the sampler."""
        super().setup(config)
        warn_of_memory(self.team.layout, self.config)
        kind = AsynchronousSampler if self.config.sample_async else Sampler
        self.sampler = kind(self.workers_group, self.config)

    def training_step(self) -> dict[str, Any]:
        """One batch from all workers, all epochs over it, new weights back to the workers."""
        with self._timers[SAMPLE_TIMER]:
            batch = self.sampler.next_batch()
        if batch is None:
            self.patience.check()
            return {}
        self.patience.renew()
        self._counters[NUM_ENV_STEPS_SAMPLED] += batch.count
        self._counters[NUM_AGENT_STEPS_SAMPLED] += batch.count
        batch.decompress_if_needed()
        update = self.learn_on(batch, batch.count)
        self.broadcast()
        return {DEFAULT_POLICY_ID: update}

    def broadcast(self) -> None:
        super().broadcast()
        self.sampler.send_filters()

    def _sync_filters_if_needed(self, *, workers: EnvRunnerGroup, **settings: Any) -> None:
        """RLlib's hook; filters of workers that sample asynchronously are sent with batches."""
        if workers is not self.env_runner_group or not self.config.sample_async:
            super()._sync_filters_if_needed(workers=workers, **settings)

    def _compile_iteration_results_old_api_stack(
        self, *, episodes_this_iter: list[Any], **others: Any
    ) -> dict[str, Any]:
        """RLlib's results, with the episodes that came with batches."""
        episodes = self.sampler.take_episodes() + episodes_this_iter
        return super()._compile_iteration_results_old_api_stack(
            episodes_this_iter=episodes, **others
        )

    def data_state(self) -> Any:
        return self.sampler.get_state()

    def restore_data(self, state: Any) -> None:
        self.sampler.set_state(state)
