"""Off-policy training of a team from replayed episodes."""

from __future__ import annotations

from typing import Any

from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID
from ray.rllib.utils.metrics import (
    NUM_AGENT_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED,
    SAMPLE_TIMER,
)
from ray.rllib.utils.metrics.learner_info import LEARNER_STATS_KEY

from rllib_agentmixer.adapters.classic.algorithm import TeamAlgorithm
from rllib_agentmixer.adapters.classic.config import ReplayConfig
from rllib_agentmixer.adapters.classic.sampling import SampledEpisodes
from rllib_agentmixer.core.data.replay import EpisodeReplay
from rllib_agentmixer.core.generators import seeded
from rllib_agentmixer.core.learners.optimization import MeanMetrics
from rllib_agentmixer.core.settings.value_based import ReplaySettings, ValueSettings
from rllib_agentmixer.errors import CheckpointError


class ReplayAlgorithm(TeamAlgorithm):
    """Algorithm that stores the episodes of each sampling round and learns from replayed ones.

    Gradient steps are counted by episodes: ``updates_per_episode`` for each one that ended,
    whose remainder is carried over. Weights are sent once a round.
    """

    config: ReplayConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self, config: Any) -> None:
        """Set-up of the parent, and an empty replay."""
        super().setup(config)
        self.replay = EpisodeReplay(self.value_settings.replay_capacity, self.team.layout)
        self.replay_generator = seeded(self.config.seed)
        self._due_updates = 0.0

    @property
    def value_settings(self) -> ValueSettings:
        """The algorithm's own settings."""
        return self.team_policy.learner.settings

    @property
    def replay_settings(self) -> ReplaySettings:
        """RLlib's settings."""
        return self.team_policy.learner.rllib

    def training_step(self) -> dict[str, Any]:
        """One round of sampling, all gradient steps that are due, new weights to the workers."""
        with self._timers[SAMPLE_TIMER]:
            rounds = self._sample()
        if not rounds:
            self.patience.check()
            return {}
        self.patience.renew()
        for sampled in rounds:
            self._counters[NUM_ENV_STEPS_SAMPLED] += sampled.num_steps
            self._counters[NUM_AGENT_STEPS_SAMPLED] += sampled.num_steps
            for episode in sampled.episodes:
                self.replay.add(episode)
                self._due_updates += self.value_settings.updates_per_episode
        if self.num_env_steps < self.replay_settings.num_steps_sampled_before_learning_starts:
            self._due_updates = 0.0
        updates: list[dict[str, Any]] = []
        while self._due_updates >= 1 and len(self.replay):
            updates.append(self._learn())
            self._due_updates -= 1
        self.broadcast()
        return {DEFAULT_POLICY_ID: self._summary(updates)} if updates else {}

    def _sample(self) -> list[SampledEpisodes]:
        """A round of steps of all workers, by worker, since the order of arrival may differ."""

        def sample(worker: Any) -> SampledEpisodes:
            return worker.sample_episodes()

        group = self.workers_group
        return group.foreach_env_runner(
            sample,
            local_env_runner=group.num_remote_workers() == 0,
            timeout_seconds=self.config.sample_timeout_s,
        )

    def _learn(self) -> dict[str, Any]:
        size = self.replay_settings.train_batch_size
        batch = self.replay.sample(size, self.replay_generator).to(self.team_policy.device)
        num_steps = int(batch.valid.sum())
        return self.learn_on(batch, num_steps)

    def _summary(self, updates: list[dict[str, Any]]) -> dict[str, Any]:
        """RLlib's learner results of a round: metrics are means over its gradient steps."""
        means = MeanMetrics()
        for update in updates:
            means.add(update[LEARNER_STATS_KEY])
        counts = {"num_updates": len(updates), "num_replayed_episodes": len(self.replay)}
        return updates[-1] | {LEARNER_STATS_KEY: means.result() | counts}

    def data_state(self) -> Any:
        state = {"due_updates": self._due_updates, "generator": self.replay_generator.get_state()}
        if self.replay_settings.store_buffer_in_checkpoints:
            state["replay"] = self.replay.state_dict()
        return state

    def restore_data(self, state: Any) -> None:
        self._due_updates = state["due_updates"]
        self.replay_generator.set_state(state["generator"])
        if "replay" in state:
            try:
                self.replay.load_state_dict(state["replay"])
            except ValueError as error:
                raise CheckpointError(str(error)) from error
