"""The vectorised RolloutWorker: RLlib's actor around the array loop of ``rollouts``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, cast

from ray.rllib.evaluation.metrics import RolloutMetrics
from ray.rllib.evaluation.rollout_worker import RolloutWorker
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID, SampleBatch

from rllib_agentmixer.adapters.classic.base_env import vector_facade
from rllib_agentmixer.adapters.classic.callbacks import (
    EpisodeCallbacks,
    rollout_metrics,
)
from rllib_agentmixer.adapters.classic.obs_filter import TeamMeanStdFilter
from rllib_agentmixer.adapters.classic.policy import TeamPolicy
from rllib_agentmixer.adapters.classic.resume import restore_sampler, sampler_state
from rllib_agentmixer.adapters.classic.sample_batches import to_sample_batch
from rllib_agentmixer.adapters.classic.sampling import SampledEpisodes
from rllib_agentmixer.adapters.classic.sub_environments import (
    SubEnvironmentCallbacks,
    num_sub_environments,
    report_created,
)
from rllib_agentmixer.adapters.classic.trained_team import trained_team
from rllib_agentmixer.adapters.compilation import compiler
from rllib_agentmixer.core.cpu import keep_freed_memory
from rllib_agentmixer.core.generators import seeded
from rllib_agentmixer.envs.team_gym import TeamEnvCreator
from rllib_agentmixer.envs.vector_env import TeamSpec, TeamStep, VectorTeamEnv
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.rollouts.actor import PolicyKind, RolloutState, TeamActor, start
from rllib_agentmixer.rollouts.collect import Collected, collect
from rllib_agentmixer.rollouts.episodes import EpisodeRecord
from rllib_agentmixer.rollouts.open_episodes import OpenEpisodes
from rllib_agentmixer.rollouts.play import play
from rllib_agentmixer.rollouts.team import Team


class TeamRolloutWorker(RolloutWorker):
    """RLlib rollout worker that steps B sub-environments as arrays with one forward pass.

    Policy map, weight sync, filters, callbacks, output writers, metrics and fault tolerance
    behave as RLlib documents them. ``num_envs_per_env_runner`` is B.
    """

    env: Any
    config: Any
    policy_map: Any

    def __init__(self, *, env_creator: Any, config: Any, **kwargs: Any) -> None:
        self._check(env_creator)
        keep_freed_memory()
        worker_index, num_workers = kwargs.get("worker_index", 0), kwargs.get("num_workers")
        num_envs = num_sub_environments(config, worker_index, num_workers)
        super().__init__(
            env_creator=partial(vector_facade, env_creator, num_envs), config=config, **kwargs
        )
        # What a restart of this worker is given: the creator as it came.
        self._original_kwargs["env_creator"] = env_creator
        self._callbacks = cast(SubEnvironmentCallbacks, self._callbacks).wrapped
        if self.env is not None:
            self.vector_env.on_replaced = partial(self._report_created, self.vector_env)
        # Environments that are built later list their agents in the same order.
        agents = None if self.env is None else self.team_spec.agents
        self.team_env_creator: TeamEnvCreator = replace(env_creator, agents=agents)
        self._rollout: RolloutState | None = None
        self._open_episodes: OpenEpisodes | None = None
        self._evaluation_env: VectorTeamEnv | None = None
        self._metrics: list[RolloutMetrics] = []
        self._num_episodes = 0
        self.actor = self.team.actor(seeded(self.seed)) if self.env is not None else None
        compile_ = compiler(config, "worker")
        if self.actor is not None and compile_ is not None:
            self.actor.forward = compile_(self.actor.module.forward)
        self._episode_callbacks: EpisodeCallbacks | None = None

    @staticmethod
    def _check(env_creator: Any) -> None:
        if not isinstance(env_creator, TeamEnvCreator):
            raise ConfigError(
                f"the vectorised worker needs a TeamEnvCreator, got {env_creator!r}; "
                "use config.environment(name or function)"
            )

    @property
    def callbacks(self) -> Any:
        """The user's callbacks."""
        return self._callbacks

    @callbacks.setter
    def callbacks(self, callbacks: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._callbacks: Any = SubEnvironmentCallbacks(callbacks)  # until the worker is built

    @property
    def team_spec(self) -> TeamSpec:
        """Names and sizes of the team."""
        return self.vector_env.spec

    @property
    def vector_env(self) -> VectorTeamEnv:
        """Sub-environments of training."""
        return self.env.vector_env

    @property
    def team_policy(self) -> TeamPolicy:
        """The team's policy."""
        return self.policy_map[DEFAULT_POLICY_ID]

    @property
    def team(self) -> Team:
        """The team as trained so far; its networks continue to change."""
        return trained_team(self)

    def get_spaces(self) -> dict[str, Any]:
        """RLlib's hook: spaces of the facade, since sub-environments have one for each agent."""
        spaces = (self.env.observation_space, self.env.action_space)
        return {DEFAULT_POLICY_ID: spaces, "__env__": spaces}

    def _update_filter_dict(self, policy_dict: dict[str, Any]) -> None:
        """RLlib's hook: the team's own filter, since RLlib's would standardise masks as well."""
        if self.config.observation_filter == "MeanStdFilter":
            for name in policy_dict:
                self.filters[name] = TeamMeanStdFilter(self.policy_map[name].model.layout)

    @property
    def team_filter(self) -> TeamMeanStdFilter | None:
        """The observation filter, if any."""
        return cast("TeamMeanStdFilter | None", self.filters.get(DEFAULT_POLICY_ID))

    def apply(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """RLlib's call of a function on this actor.

        RLlib lets the actor exit on every error. Where nothing restarts or ignores it, the
        error ends training, and travels to the driver with its cause instead.
        """
        if self.config.restart_failed_env_runners or self.config.ignore_env_runner_failures:
            return super().apply(func, *args, **kwargs)
        return func(self, *args, **kwargs)

    def sample(self, **kwargs: Any) -> SampleBatch:
        """One fragment of experience from all sub-environments, postprocessed."""
        if self.config.fake_sampler and self.last_batch is not None:
            return cast(SampleBatch, self.last_batch)
        batch = self._collect(self._sampling_actor())
        self.callbacks.on_sample_end(worker=self, samples=batch)
        self.output_writer.write(batch)
        if self.config.compress_observations:
            batch.compress(bulk=self.config.compress_observations == "bulk")
        if self.config.fake_sampler:
            self.last_batch = batch
        return batch

    def _sampling_actor(self) -> TeamActor:
        if self.actor is None:
            raise ConfigError(
                "this worker has no environment to sample from; set num_env_runners to 0 or "
                "sample on the remote workers"
            )
        return self.actor

    def _collect_fragment(self, actor: TeamActor, *, whole_episodes: bool) -> Collected:
        """Step all sub-environments on; callbacks and metrics follow."""
        rollout = self._rollout or self.start_episodes(self.seed)
        if self._episode_callbacks is None and not whole_episodes:
            self._begin_episodes(rollout)
        settings = self.team_policy.module.settings
        # Whole episodes are learned from at their end, which an endless one has to have.
        needs_ends = whole_episodes or self.team_policy.entry.data == "replay"
        return collect(
            actor,
            self.vector_env,
            rollout,
            self.config.get_rollout_fragment_length(worker_index=self.worker_index),
            limits_are_ends=not getattr(settings, "bootstrap_truncated", True),
            explore=self.config.explore,
            complete_episodes=whole_episodes,
            row_filter=self.team_filter,
            on_start=self._begin_episodes,
            on_step=self._on_step,
            max_episode_steps=self.config.evaluation_max_steps if needs_ends else None,
        )

    def _collect(self, actor: TeamActor) -> SampleBatch:
        whole_episodes = self.config.batch_mode == "complete_episodes"
        collected = self._collect_fragment(actor, whole_episodes=whole_episodes)
        fragment = collected.fragment
        if self.team_filter is not None:
            self.team_filter.observe(collected.raw_rows[fragment.steps.valid.numpy()])
        first_id = self._num_episodes
        self._num_episodes += self.vector_env.num_envs * (1 + len(fragment.steps.valid))
        batch = to_sample_batch(
            self.team_policy.postprocess(fragment),
            fragment.hidden,
            actor.layout,
            max_seq_len=self.config.model["max_seq_len"],
            first_episode_id=first_id,
        )
        updates = self.global_vars["num_grad_updates_per_policy"]
        batch.num_grad_updates = updates[DEFAULT_POLICY_ID]
        callbacks = self._episode_callbacks
        return batch if callbacks is None else callbacks.postprocess(batch, first_id)

    def sample_episodes(self) -> SampledEpisodes:
        """A round of steps of all sub-environments; the episodes that ended, as a whole.

        Running ones are stored until they end. Metrics remain for RLlib's collection.
        """
        fragment = self._collect_fragment(self._sampling_actor(), whole_episodes=False).fragment
        if self._open_episodes is None:
            self._open_episodes = OpenEpisodes(self.vector_env.num_envs)
        episodes = self._open_episodes.take(fragment)
        return SampledEpisodes(episodes, fragment.steps.valid.numel())

    def _begin_episodes(self, rollout: RolloutState) -> None:
        """Report the running episodes to callbacks."""
        if self._episode_callbacks is None:
            self._episode_callbacks = EpisodeCallbacks(self, self.callbacks, self.vector_env)
        self._episode_callbacks.begin(rollout.tracker, rollout.observation.obs)

    def _on_step(self, step: TeamStep, records: dict[int, EpisodeRecord]) -> None:
        callbacks = self._episode_callbacks
        if callbacks is None:
            return
        callbacks.on_step(step, records)
        for index, record in records.items():
            episode = callbacks.finish(index, step.observation.obs)
            self._metrics.append(rollout_metrics(record, self.team_spec.agents, episode))

    def get_metrics(self) -> list[RolloutMetrics]:
        """Episodes that ended since the last call."""
        metrics, self._metrics = self._metrics, []
        return metrics

    def play_episodes(
        self,
        num_episodes: int,
        *,
        policy: PolicyKind,
        explore: bool,
        seed: int | None,
        num_envs: int,
    ) -> list[EpisodeRecord]:
        """Evaluation episodes; training's state is unchanged."""
        if num_episodes == 0 or self.actor is None:
            return []
        return play(
            self.team.actor(seeded(seed)),
            self._playing_env(num_envs),
            num_episodes,
            policy=policy,
            explore=explore,
            seed=seed,
            row_filter=self.team_filter,
            max_steps=self.config.evaluation_max_steps,
        )

    def _playing_env(self, num_envs: int) -> VectorTeamEnv:
        """Sub-environments of evaluation: a training worker has some apart from training's."""
        if self.config.in_evaluation and num_envs == self.vector_env.num_envs:
            return self.vector_env
        env = self._evaluation_env
        if env is None or env.num_envs != num_envs:
            env = self._evaluation_env = self.team_env_creator.vector(self.env_context, num_envs)
            self._report_created(env)
        return env

    def _report_created(self, env: VectorTeamEnv, only: int | None = None) -> None:
        report_created(self.callbacks, self, env, self.env_context, only)

    def start_episodes(self, seed: int | None = None) -> RolloutState:
        """Fresh episodes in all sub-environments."""
        self._rollout = start(self._sampling_actor(), self.vector_env, seed)
        return self._rollout

    def get_sampler_state(self) -> dict[str, Any]:
        """State from which :meth:`set_sampler_state` continues bit for bit."""
        return sampler_state(self)

    def set_sampler_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_sampler_state` of this worker or of a predecessor."""
        restore_sampler(self, state)

    def assert_healthy(self) -> None:
        """Raise unless policies and environment exist."""
        if not self.policy_map or self.actor is None:
            raise RuntimeError(f"worker {self.worker_index} has no policy or no environment")

    def stop(self) -> None:
        """Close all sub-environments."""
        super().stop()
        if self._evaluation_env is not None:
            self._evaluation_env.close()
