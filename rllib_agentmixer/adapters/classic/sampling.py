"""Samplers of training batches: workers sample before the driver learns, or meanwhile."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, cast

import ray
from ray.exceptions import RayError
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.evaluation.metrics import RolloutMetrics
from ray.rllib.evaluation.rollout_worker import RolloutWorker
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.policy.sample_batch import SampleBatch, concat_samples
from ray.rllib.utils.filter import Filter

from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.errors import EnvContractError

logger = logging.getLogger(__name__)

REQUEST = "sample"
"""Tag of requests for experience in RLlib's actor manager."""


@dataclass(frozen=True, eq=False)
class SampledEpisodes:
    """Episodes that ended in a round of sampling, and the steps of the round."""

    episodes: list[Experience]
    num_steps: int


STARVATION_RESTARTS = 3
"""Restarts that workers get, all of them failing, before training gives up."""


class Patience:
    """How long training waits for workers that sample nothing, with time for their restarts.

    RLlib would continue indefinitely with results that hold no episodes.

    Args:
        config: of the algorithm.
    """

    def __init__(self, config: Any) -> None:
        restart_s = config.delay_between_env_runner_restarts_s or 0.0
        self._limit_s = (config.sample_timeout_s or 0.0) + STARVATION_RESTARTS * restart_s
        self._env = config.env
        self.renew()

    def renew(self) -> None:
        """Note that something was sampled."""
        self._last_sample_at = time.monotonic()

    def check(self) -> None:
        """Check that the wait since the last sample is within the limit.

        Raises:
            EnvContractError: it is over.
        """
        waited = time.monotonic() - self._last_sample_at
        if waited > self._limit_s:
            raise EnvContractError(
                f"no rollout worker has sampled anything for {waited:.0f} s (environment "
                f"{self._env!r}); train with num_env_runners=0 to see what it raises, or raise "
                "sample_timeout_s if it is slow"
            )


class Sampler:
    """Synchronous sampler: the driver waits, so a batch is always of the newest policy.

    Args:
        group: all training workers.
        config: of the algorithm.
    """

    def __init__(self, group: EnvRunnerGroup, config: Any) -> None:
        self._group = group
        self._config = config

    @property
    def _driver(self) -> RolloutWorker:
        return cast(RolloutWorker, self._group.local_env_runner)

    def next_batch(self) -> SampleBatch | None:
        """At least ``train_batch_size`` steps, or None if no worker has answered in time."""
        sampled: Any = synchronous_parallel_sample(
            worker_set=self._group,
            max_env_steps=self._config.total_train_batch_size,
            sample_timeout_s=self._config.sample_timeout_s,
        )
        return sampled or None

    def send_filters(self) -> None:
        """Bring the driver's observation filters to the workers; RLlib does so itself here."""

    def take_episodes(self) -> list[RolloutMetrics]:
        """Episodes that came with batches, once; RLlib collects them from the workers here."""
        return []

    def get_state(self) -> list[WorkerSample]:
        """Samples not yet learned from."""
        return []

    def set_state(self, worker_samples: list[WorkerSample]) -> None:
        """Continue from :meth:`get_state`; requests under way are dropped."""


@dataclass(frozen=True, eq=False)
class WorkerSample:
    """Response of a worker to one request.

    Attributes:
        batches: fragments of experience, in the order of sampling.
        episodes: metrics of the episodes that ended in them.
        filters: observation filters, whose buffers hold what these fragments have added.
    """

    batches: list[SampleBatch]
    episodes: list[RolloutMetrics]
    filters: dict[str, Filter]

    @property
    def num_steps(self) -> int:
        """Joint environment steps."""
        return sum(batch.count for batch in self.batches)


def sample_fragments(worker: Any, num_fragments: int) -> WorkerSample:
    """Sample on a worker, with the metrics and filters of the sample.

    Metrics and filters are sent with their batch. RLlib requests them in separate calls,
    which would wait behind the next request and lose both when they run out of time.
    """
    batches = [worker.sample() for _ in range(num_fragments)]
    return WorkerSample(batches, worker.get_metrics(), worker.get_filters(flush_after=True))


class AsynchronousSampler(Sampler):
    """Asynchronous sampler: workers sample the next batch while the driver learns.

    Every batch but the first was therefore sampled with the weights, filters and schedules
    before the last update. Each worker has at most one request under way, which remains under
    way when an iteration ends or runs out of time; all that arrives is learned from, once.
    """

    def __init__(self, group: EnvRunnerGroup, config: Any) -> None:
        super().__init__(group, config)
        self._worker_samples: list[WorkerSample] = []
        self._episodes: list[RolloutMetrics] = []
        self._failure: RayError | None = None

    def next_batch(self) -> SampleBatch | None:
        """The batch requested an iteration ago; the next one is requested.

        When workers have died, those that remain sample the rest of the batch.
        """
        if self._failure is not None:
            raise self._failure
        while self._num_steps < self._config.total_train_batch_size:
            self._request()
            if not self._receive(self._config.sample_timeout_s):
                logger.warning("No samples from remote workers; raise sample_timeout_s if slow.")
                return None
        worker_samples, self._worker_samples = self._worker_samples, []
        self._request()
        for worker_sample in worker_samples:
            self._episodes += worker_sample.episodes
            self._merge_filters(worker_sample.filters)
        batches = [batch for worker_sample in worker_samples for batch in worker_sample.batches]
        return concat_samples(batches)  # type: ignore[return-value]

    @property
    def _num_steps(self) -> int:
        return sum(worker_sample.num_steps for worker_sample in self._worker_samples)

    def _request(self) -> None:
        """Ask every healthy worker that is idle for its share of a batch.

        RLlib skips those that have ``max_requests_in_flight_per_env_runner`` = 1 under way.
        """
        config = self._config
        workers = range(1, config.num_env_runners + 1)
        per_round = config.num_envs_per_env_runner * sum(
            config.get_rollout_fragment_length(worker_index=index) for index in workers
        )
        num_fragments = math.ceil(config.total_train_batch_size / per_round)
        self._group.foreach_env_runner_async(
            partial(sample_fragments, num_fragments=num_fragments), tag=REQUEST
        )

    def _receive(self, timeout_s: float | None) -> bool:
        """Wait for all requests under way; whether something has arrived.

        Raises:
            RayError: a worker has failed, and nothing restarts or ignores it.
        """
        arrived = self._group.fetch_ready_async_reqs(tags=REQUEST, timeout_seconds=timeout_s)
        # By worker, because the order of arrival would not repeat.
        self._worker_samples += [
            worker_sample for _, worker_sample in sorted(arrived, key=itemgetter(0))
        ]
        return bool(arrived)

    def _merge_filters(self, filters: dict[str, Filter]) -> None:
        if self._config.use_worker_filter_stats:
            for name, own in self._driver.filters.items():
                own.apply_changes(filters[name], with_buffer=False)

    def send_filters(self) -> None:
        """Let the workers standardise as the driver does, from their next request on."""
        filters = self._driver.get_filters()
        if filters and self._config.update_worker_filter_stats:
            reference = ray.put(filters)

            def follow(worker: Any) -> None:
                worker.sync_filters(ray.get(reference))

            self._group.foreach_env_runner(
                follow,
                local_env_runner=False,
                timeout_seconds=0.0,  # like RLlib's weights: sent, not waited for
            )

    def take_episodes(self) -> list[RolloutMetrics]:
        episodes, self._episodes = self._episodes, []
        return episodes

    def get_state(self) -> list[WorkerSample]:
        """Samples not yet learned from, after waiting for pending requests."""
        try:
            self._receive(None)
        except RayError as error:
            # Saving must not fail for it: training does, at the next batch.
            self._failure = error
        return list(self._worker_samples)

    def set_state(self, worker_samples: list[WorkerSample]) -> None:
        self.get_state()
        self._failure = None
        self._episodes = []
        self._worker_samples = list(worker_samples)


def release_stuck_workers(group: EnvRunnerGroup, timeout_s: float | None) -> None:
    """Kill workers that still step an environment after a time; RLlib would wait indefinitely."""
    manager = group._worker_manager
    asked = set(manager.healthy_actor_ids())
    answers: Any = manager.foreach_actor(lambda worker: worker.ping(), timeout_seconds=timeout_s)
    for index in asked - {answer.actor_id for answer in answers}:
        logger.warning("Worker %d has not answered for %s s and is killed.", index, timeout_s)
        ray.kill(manager.remove_actor(index))
