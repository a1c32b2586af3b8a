"""Algorithms to measure, and their timed workloads."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed.measure import Work


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One algorithm on one environment.

    Attributes:
        algo: name in ``ALGORITHMS``.
        env: name in ``ENVS``, or ``fake_team``.
        env_config: arguments of the environment.
        team_reward: how the agents' rewards are combined; None for the environment's default.
        num_envs: B of each worker.
        fragment: steps of each sub-environment in one batch.
        num_workers: remote workers; with 0 the driver samples.
        epochs: passes over a batch, each one minibatch.
        training: other training settings.
        max_seq_len: length at which recurrent sequences are cut; None for RLlib's default.
    """

    algo: str
    env: str
    env_config: Mapping[str, Any] = field(default_factory=dict)
    team_reward: str | None = "shared"
    num_envs: int = 32
    fragment: int = 64
    num_workers: int = 0
    epochs: int = 15
    training: Mapping[str, Any] = field(default_factory=dict)
    max_seq_len: int | None = None

    @property
    def batch(self) -> int:
        """Joint steps of one training iteration."""
        return self.num_envs * self.fragment * max(1, self.num_workers)

    def settings(self) -> dict[str, Any]:
        """Settings recorded in a row."""
        names = ("env_config", "num_envs", "fragment", "num_workers", "epochs", "batch")
        shown = {name: getattr(self, name) for name in names}
        extra = {} if self.max_seq_len is None else {"max_seq_len": self.max_seq_len}
        return shown | dict(self.training) | extra

    def build(self) -> Any:
        """Build the algorithm; the caller has to ``stop()`` it."""
        config = _config_class(self)()
        config.environment(self.env, env_config=dict(self.env_config), team_reward=self.team_reward)
        config.env_runners(
            num_env_runners=self.num_workers,
            num_envs_per_env_runner=self.num_envs,
            rollout_fragment_length=self.fragment,
        )
        config.training(
            train_batch_size=self.batch,
            minibatch_size=self.batch,
            num_epochs=self.epochs,
            **self.training,
        )
        if self.max_seq_len is not None:
            config.training(model={"max_seq_len": self.max_seq_len})
        return config.debugging(seed=0).build_algo()


def _config_class(setup: Setup) -> Callable[[], Any]:
    if setup.env == "fake_team":
        from benchmarks.speed.fake_configs import FAKE_CONFIGS

        return FAKE_CONFIGS[setup.algo]
    from rllib_agentmixer.adapters.classic.algorithms import algorithm_class

    return algorithm_class(setup.algo).config_class


def sampling(algorithm: Any, steps: int) -> Work:
    """Sample at least this number of joint steps in this process."""
    worker = algorithm.team_worker

    def work() -> int:
        sampled = 0
        while sampled < steps:
            sampled += worker.sample().count
        worker.get_metrics()
        return sampled

    return work


def remote_sampling(algorithm: Any) -> Work:
    """Sample one fragment on every remote worker and gather the batches."""
    group = algorithm.workers_group

    def work() -> int:
        batches = group.foreach_env_runner(sample_fragment, local_env_runner=False)
        return sum(batch.count for batch in batches)

    return work


def sample_fragment(worker: Any) -> Any:
    """A worker's next batch; the metrics of ended episodes are discarded."""
    batch = worker.sample()
    worker.get_metrics()
    return batch


def training(algorithm: Any) -> Work:
    """One training iteration, ``algo.train()``."""

    def work() -> int:
        before = algorithm.num_env_steps
        algorithm.train()
        return algorithm.num_env_steps - before

    return work


def learning(algorithm: Any, epochs: int) -> Work:
    """All epochs over one presampled batch; a step is one row in one epoch."""
    batch = algorithm.team_worker.sample()
    policy = algorithm.team_policy

    def work() -> int:
        policy.update(batch)
        return batch.count * epochs

    return work


@contextmanager
def quiet_ray(num_workers: int = 0) -> Iterator[None]:
    """A private Ray without terminal output; a running one is reused."""
    import ray
    import torch

    from rllib_agentmixer.runs.local_ray import start_ray

    if ray.is_initialized():
        yield
        return
    torch.set_num_threads(1)
    for name in ("ray", "ray.rllib", "ray.rllib.algorithms.algorithm_config"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore", UserWarning)  # gymnasium, about names that RLlib reuses
    start_ray(num_workers)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def built(setups: Mapping[str, Setup]) -> Iterator[dict[str, Any]]:
    """Algorithms by name, stopped at the end, in the running Ray or a private one."""
    with quiet_ray(sum(setup.num_workers for setup in setups.values())):
        algorithms: dict[str, Any] = {}
        try:
            for name, setup in setups.items():
                algorithms[name] = setup.build()
            yield algorithms
        finally:
            for algorithm in algorithms.values():
                algorithm.stop()
