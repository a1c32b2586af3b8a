"""What RLlib's state leaves out: with it training goes on bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.classic.algorithm import TeamAlgorithm


def sampling_state(algorithm: TeamAlgorithm) -> dict[str, Any]:
    """What is sampled but not yet learned from, and what every worker would sample next."""
    # First what is under way: a worker tells its state after it has answered.
    worker_samples = algorithm.sampler.get_state()
    samplers = {0: algorithm.team_worker.get_sampler_state()}
    if algorithm.workers_group.num_remote_workers() > 0:
        remote = algorithm.workers_group.foreach_env_runner(
            _indexed_sampler_state,
            local_env_runner=False,
        )
        samplers |= dict(remote)
    return {
        "worker_samples": worker_samples,
        "samplers": samplers,
        "episode_history": algorithm._episode_history,
    }


def restore_sampling(algorithm: TeamAlgorithm, state: dict[str, Any]) -> None:
    """Restore; with another number of workers they start fresh episodes."""
    algorithm._episode_history = list(state.get("episode_history", []))
    samplers = state.get("samplers", {})
    _restore_steps(algorithm, state)
    algorithm.sampler.set_state(state.get("worker_samples", []))
    if len(samplers) != 1 + algorithm.workers_group.num_remote_workers():
        return
    algorithm.team_worker.set_sampler_state(samplers[0])
    if len(samplers) > 1:
        reference = ray.put(samplers)

        def restore(worker: Any) -> None:
            worker.set_sampler_state(ray.get(reference)[worker.worker_index])

        algorithm.workers_group.foreach_env_runner(restore, local_env_runner=False)


def _restore_steps(algorithm: TeamAlgorithm, state: dict[str, Any]) -> None:
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
