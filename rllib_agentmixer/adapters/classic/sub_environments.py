"""Sub-environments of a worker: how many there are, and their report to callbacks."""

from __future__ import annotations

from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_agentmixer.adapters.classic.callbacks import overrides
from rllib_agentmixer.envs.vector_env import VectorTeamEnv


def num_sub_environments(config: Any, worker_index: int, num_workers: int | None) -> int:
    """B, the sub-environments of a worker."""
    most: int = config.num_envs_per_env_runner
    if config.in_evaluation and config.evaluation_duration != "auto":
        workers = max(1, config.evaluation_num_env_runners)
        return min(most, -(-config.evaluation_duration // workers))
    # The driver of remote workers needs spaces and evaluation, not B sub-environments.
    return 1 if worker_index == 0 and num_workers else most


class SubEnvironmentCallbacks:
    """The user's callbacks while RLlib builds a worker.

    RLlib reports one environment, the facade of all: here every sub-environment is reported.

    Args:
        callbacks: the user's.
    """

    def __init__(self, callbacks: RLlibCallback) -> None:
        self.wrapped = callbacks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def on_sub_environment_created(
        self, *, worker: Any, sub_environment: Any, env_context: Any, **others: Any
    ) -> None:
        """RLlib's hook: report every sub-environment behind the facade."""
        report_created(self.wrapped, worker, sub_environment.vector_env, env_context)


def report_created(
    callbacks: Any,
    worker: Any,
    env: VectorTeamEnv,
    env_context: Any,
    only: int | None = None,
) -> None:
    """Call ``on_sub_environment_created`` for each sub-environment, or for ``only`` one."""
    if not overrides(callbacks, "on_sub_environment_created"):
        return
    for index, sub_environment in enumerate(env.sub_environments()):
        if only in (None, index):
            callbacks.on_sub_environment_created(
                worker=worker,
                sub_environment=sub_environment,
                env_context=env_context.copy_with_overrides(vector_index=index),
                env_index=index,
            )
