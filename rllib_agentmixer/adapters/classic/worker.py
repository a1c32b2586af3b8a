"""The vectorised RolloutWorker: RLlib's actor around the array loop of ``rollouts``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from ray.rllib.evaluation.metrics import RolloutMetrics
from ray.rllib.evaluation.rollout_worker import RolloutWorker
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID, SampleBatch

from rllib_agentmixer.adapters.classic.base_env import vector_facade
from rllib_agentmixer.adapters.classic.callbacks import EpisodeCallbacks, rollout_metrics
from rllib_agentmixer.adapters.classic.obs_filter import TeamMeanStdFilter
from rllib_agentmixer.adapters.classic.policy import TeamPolicy
from rllib_agentmixer.adapters.classic.resume import restore_sampler, sampler_state
from rllib_agentmixer.adapters.classic.sample_batches import to_sample_batch
from rllib_agentmixer.adapters.compilation import compiler
from rllib_agentmixer.core.cpu import keep_freed_memory
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.generators import seeded
from rllib_agentmixer.envs.team_gym import TeamEnvCreator
from rllib_agentmixer.envs.vector_env import TeamSpec, TeamStep, VectorTeamEnv
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.rollouts.actor import PolicyKind, RolloutState, TeamActor, start
from rllib_agentmixer.rollouts.collect import Collected, collect
from rllib_agentmixer.rollouts.episodes import EpisodeRecord, EpisodeTracker
from rllib_agentmixer.rollouts.open_episodes import OpenEpisodes
from rllib_agentmixer.rollouts.play import play
from rllib_agentmixer.rollouts.saved_team import RLLIB_SETTINGS
from rllib_agentmixer.rollouts.team import Team, team_scaling


@dataclass(frozen=True, eq=False)
class SampledEpisodes:
    """Episodes that ended in a round of sampling, and the steps of the round."""

    episodes: list[Experience]
    num_steps: int


class TeamRolloutWorker(RolloutWorker):
    """RLlib rollout worker that steps B sub-environments as arrays with one forward pass.

    Policy map, weight sync, filters, callbacks, output writers, metrics and fault tolerance
    behave as RLlib documents them. ``num_envs_per_env_runner`` is B.
    """

    env: Any
    config: Any
    policy_map: Any

    def __init__(self, *, env_creator: Any, config: Any, **kwargs: Any) -> None:
        self._check(env_creator, config)
        keep_freed_memory()
        worker_index, num_workers = kwargs.get("worker_index", 0), kwargs.get("num_workers")
        # The driver of remote workers needs spaces and evaluation, not B sub-environments.
        is_driver_only = worker_index == 0 and bool(num_workers)
        num_envs = 1 if is_driver_only else config.num_envs_per_env_runner
        super().__init__(
            env_creator=partial(vector_facade, env_creator, num_envs), config=config, **kwargs
        )
        # What a restart of this worker is given: the creator as it came.
        self._original_kwargs["env_creator"] = env_creator
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
    def _check(env_creator: Any, config: Any) -> None:
        if not isinstance(env_creator, TeamEnvCreator):
            raise ConfigError(
                f"the vectorised worker needs a TeamEnvCreator, got {env_creator!r}; "
                "use config.environment(name or function)"
            )
        if config.input_ != "sampler":
            raise ConfigError(f"input_ must be 'sampler' here, got {config.input_!r}")

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
        policy = self.team_policy
        config = self.config
        return Team(
            entry=policy.entry,
            settings=policy.module.settings,
            spec=self.team_spec,
            module=policy.module,
            layout=policy.model.layout,
            scaling=team_scaling(
                self.team_spec,
                normalize_actions=config.normalize_actions,
                clip_actions=config.clip_actions,
            ),
            obs_filter=self.team_filter,
            env_creator=self.team_env_creator,
            env_config=self.env_context,
            stamp=config.environment_stamp(self.team_spec),
            env_steps=policy.global_timestep,
            rllib={name: getattr(config, name) for name in RLLIB_SETTINGS},
        )

    def _update_filter_dict(self, policy_dict: dict[str, Any]) -> None:
        """RLlib's hook: the team's own filter, since RLlib's would standardise masks as well."""
        kind = self.config.observation_filter
        if kind not in ("NoFilter", "MeanStdFilter"):
            raise ConfigError(
                f"observation_filter must be 'NoFilter' or 'MeanStdFilter', got {kind!r}"
            )
        if kind == "MeanStdFilter":
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
        if self.actor is None:
            raise ConfigError(
                "this worker has no environment to sample from; set num_env_runners to 0 or "
                "sample on the remote workers"
            )
        if self.config.fake_sampler and self.last_batch is not None:
            return cast(SampleBatch, self.last_batch)
        batch = self._collect(self.actor)
        self.callbacks.on_sample_end(worker=self, samples=batch)
        self.output_writer.write(batch)
        if self.config.compress_observations:
            batch.compress(bulk=self.config.compress_observations == "bulk")
        if self.config.fake_sampler:
            self.last_batch = batch
        return batch

    def _collect_fragment(self, actor: TeamActor, *, whole_episodes: bool) -> Collected:
        """Step all sub-environments on; callbacks and metrics follow."""
        rollout = self._rollout or self.start_episodes(self.seed)
        self._follow_episodes(rollout, whole_episodes)
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
            on_step=self._on_step,
            max_episode_steps=self.config.evaluation_max_steps if needs_ends else None,
        )

    def _collect(self, actor: TeamActor) -> SampleBatch:
        whole_episodes = self.config.batch_mode == "complete_episodes"
        collected = self._collect_fragment(actor, whole_episodes=whole_episodes)
        fragment = collected.fragment
        if self.team_filter is not None:
            self.team_filter.observe(collected.raw_rows[fragment.steps.valid.numpy()])
        batch = to_sample_batch(
            self.team_policy.postprocess(fragment),
            fragment.hidden,
            actor.layout,
            max_seq_len=self.config.model["max_seq_len"],
            first_episode_id=self._num_episodes,
        )
        self._num_episodes += self.vector_env.num_envs * (1 + len(fragment.steps.valid))
        return batch

    def sample_episodes(self) -> SampledEpisodes:
        """A round of steps of all sub-environments; the episodes that ended, as a whole.

        Running ones are stored until they end. Metrics remain for RLlib's collection.
        """
        if self.actor is None:
            raise ConfigError(
                "this worker has no environment to sample from; set num_env_runners to 0 or "
                "sample on the remote workers"
            )
        fragment = self._collect_fragment(self.actor, whole_episodes=False).fragment
        if self._open_episodes is None:
            self._open_episodes = OpenEpisodes(self.vector_env.num_envs)
        episodes = self._open_episodes.take(fragment)
        return SampledEpisodes(episodes, fragment.steps.valid.numel())

    def _follow_episodes(self, rollout: RolloutState, start_afresh: bool) -> None:
        if self._episode_callbacks is None:
            self._episode_callbacks = EpisodeCallbacks(self, self.callbacks, self.team_spec.agents)
            self._episode_callbacks.begin(rollout.tracker)
        elif start_afresh:
            tracker = rollout.tracker
            fresh = EpisodeTracker(tracker.num_envs, tracker.num_agents)
            self._episode_callbacks.begin(fresh)

    def _on_step(self, step: TeamStep, records: dict[int, EpisodeRecord]) -> None:
        callbacks = self._episode_callbacks
        if callbacks is None:
            return
        callbacks.on_step(step, records)
        for index, record in records.items():
            episode = callbacks.finish(index)
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
        """Evaluation episodes in sub-environments of their own; training's state is unchanged."""
        if num_episodes == 0 or self.actor is None:
            return []
        env = self._evaluation_env
        if env is None or env.num_envs != num_envs:
            env = self._evaluation_env = self.team_env_creator.vector(self.env_context, num_envs)
        return play(
            self.team.actor(seeded(seed)),
            env,
            num_episodes,
            policy=policy,
            explore=explore,
            seed=seed,
            row_filter=self.team_filter,
            max_steps=self.config.evaluation_max_steps,
        )

    def start_episodes(self, seed: int | None = None) -> RolloutState:
        """Fresh episodes in all sub-environments."""
        if self.actor is None:
            raise RuntimeError(f"worker {self.worker_index} has no environment")
        self._rollout = start(self.actor, self.vector_env, seed)
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
