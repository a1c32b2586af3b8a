"""State of workers that RLlib leaves out: with it training goes on bit for bit."""

from __future__ import annotations

from typing import Any, Protocol

import ray
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED


class Algorithm(Protocol):
    """What resuming needs of an algorithm."""

    _episode_history: list[Any]

    @property
    def team_worker(self) -> Any: ...

    @property
    def team_policy(self) -> Any: ...

    @property
    def workers_group(self) -> Any: ...


def workers_state(algorithm: Algorithm) -> dict[str, Any]:
    """State of every worker, which decides what it would sample next."""
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
    """Put schedules of all workers where the restored step count says."""
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
