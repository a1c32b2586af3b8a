"""State of workers that RLlib omits: with it training resumes bit for bit."""

from __future__ import annotations

import copy
import random
from typing import Any, Protocol

import numpy as np
import ray
import torch
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED


class Algorithm(Protocol):
    """Interface of an algorithm that resumes."""

    _episode_history: list[Any]

    @property
    def team_worker(self) -> Any: ...

    @property
    def team_policy(self) -> Any: ...

    @property
    def workers_group(self) -> Any: ...


def workers_state(algorithm: Algorithm) -> dict[str, Any]:
    """State of every worker, which determines what it samples next."""
    samplers = {0: algorithm.team_worker.get_sampler_state()}
    if algorithm.workers_group.num_remote_workers() > 0:
        remote = algorithm.workers_group.foreach_env_runner(
            _indexed_sampler_state,
            local_env_runner=False,
        )
        samplers |= dict(remote)
    return {"samplers": samplers, "episode_history": algorithm._episode_history}


def restore_workers(algorithm: Algorithm, state: dict[str, Any]) -> None:
    """Restore workers; with another number of them they start fresh episodes."""
    samplers = state.get("samplers", {})
    if len(samplers) != 1 + algorithm.workers_group.num_remote_workers():
        return
    algorithm.team_worker.set_sampler_state(samplers[0])
    if len(samplers) > 1:
        reference = ray.put(samplers)

        def restore(worker: Any) -> None:
            worker.set_sampler_state(ray.get(reference)[worker.worker_index])

        algorithm.workers_group.foreach_env_runner(restore, local_env_runner=False)


def restore_steps(algorithm: Algorithm, state: dict[str, Any]) -> None:
    """Move schedules of all workers to the restored step count."""
    policy = algorithm.team_policy
    global_vars = {
        "timestep": state["counters"][NUM_ENV_STEPS_SAMPLED],
        "num_grad_updates_per_policy": {DEFAULT_POLICY_ID: policy.num_grad_updates},
    }

    def follow(worker: Any) -> None:
        worker.set_global_vars(global_vars)

    algorithm.workers_group.foreach_env_runner(follow, local_env_runner=True)


def _indexed_sampler_state(worker: Any) -> tuple[int, dict[str, Any]]:
    return worker.worker_index, worker.get_sampler_state()


def sampler_state(worker: Any) -> dict[str, Any]:
    """Complete sampling state of a worker: episodes, noise, global random states."""
    state: dict[str, Any] = {
        "random": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "num_episodes": worker._num_episodes,
        "metrics": worker._metrics,
    }
    if worker.actor is not None:
        state["noise"] = worker.actor.generator.get_state()
    if worker._rollout is not None:
        state["sub_environments"] = worker.vector_env.get_state()
        state["rollout"] = worker._rollout
        state["open_episodes"] = worker._open_episodes
    # Copied, because the next step changes the arrays.
    return copy.deepcopy(state)


def restore_sampler(worker: Any, state: dict[str, Any]) -> None:
    """Resume a worker bit for bit from :func:`sampler_state`.

    Environments whose state cannot be copied start fresh episodes instead.
    """
    # Copied, because arrays that came through Ray's object store are read-only.
    state = copy.deepcopy(state)
    random.setstate(state["random"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    worker._num_episodes = state["num_episodes"]
    worker._metrics = list(state["metrics"])
    worker._episode_callbacks = None
    if "noise" not in state or worker.actor is None:
        return
    worker.actor.generator.set_state(state["noise"])
    worker._rollout = worker._open_episodes = None
    if "rollout" in state and state["sub_environments"] is not None:
        worker.vector_env.set_state(state["sub_environments"])
        worker._rollout = state["rollout"]
        worker._open_episodes = state["open_episodes"]
    elif "rollout" in state:
        worker.start_episodes()
