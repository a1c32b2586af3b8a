"""RLlib's Algorithm with a team policy: learning, evaluation and exact checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID
from ray.rllib.utils.metrics import (
    LEARN_ON_BATCH_TIMER,
    NUM_AGENT_STEPS_TRAINED,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_TRAINED,
    SYNCH_WORKER_WEIGHTS_TIMER,
)
from ray.rllib.utils.metrics.learner_info import LEARNER_STATS_KEY

from rllib_agentmixer.adapters.classic.config import (
    ALGORITHM_CLASSES,
    ClassicConfig,
)
from rllib_agentmixer.adapters.classic.evaluation import SideBySideEvaluation
from rllib_agentmixer.adapters.classic.inference import TeamInference
from rllib_agentmixer.adapters.classic.model import register_model
from rllib_agentmixer.adapters.classic.policy import TeamPolicy
from rllib_agentmixer.adapters.classic.resume import (
    restore_steps,
    restore_workers,
    workers_state,
)
from rllib_agentmixer.adapters.classic.rllib_methods import ALGORITHM_METHODS, refuses
from rllib_agentmixer.adapters.classic.sampling import Patience, release_stuck_workers
from rllib_agentmixer.adapters.classic.trained_team import check_same_team, team_sizes_of
from rllib_agentmixer.adapters.classic.worker import TeamRolloutWorker
from rllib_agentmixer.analysis import games
from rllib_agentmixer.core.cpu import give_freed_memory_back
from rllib_agentmixer.envs.registry import env_name
from rllib_agentmixer.envs.team_gym import TeamEnvCreator
from rllib_agentmixer.envs.vector_env import TeamSpec
from rllib_agentmixer.errors import CheckpointError
from rllib_agentmixer.rollouts.saved_team import save_team
from rllib_agentmixer.rollouts.team import Team
from rllib_agentmixer.utils import manifests
from rllib_agentmixer.utils.files import replaced_atomically
from rllib_agentmixer.utils.nested import value_at


@refuses(ALGORITHM_METHODS)
class TeamAlgorithm(SideBySideEvaluation, TeamInference, Algorithm):
    """Algorithm of RLlib that trains a team on vectorised workers.

    ``evaluate()`` plays joint and individual policies side by side; checkpoints are atomic,
    checksummed, and resume bit for bit. A subclass names its configuration:
    ``config_class = MAPPOConfig``.
    """

    config: ClassicConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    config_class: ClassVar[type[ClassicConfig]]
    known: ClassVar[dict[str, type[TeamAlgorithm]]] = {}
    """Algorithm's name -> class, of every class that names its configuration."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "config_class" in vars(cls):
            ALGORITHM_CLASSES[cls.config_class] = cls
            TeamAlgorithm.known[cls.config_class.algorithm] = cls

    @classmethod
    def get_default_config(cls) -> ClassicConfig:
        return cls.config_class()

    @classmethod
    def get_default_policy_class(cls, config: Any) -> type[TeamPolicy]:
        return TeamPolicy

    @staticmethod
    def _get_env_id_and_creator(env_specifier: Any, config: Any) -> tuple[str, TeamEnvCreator]:
        """RLlib's hook: environments come from this package's registry."""
        return env_name(env_specifier), config.env_creator()

    def setup(self, config: Any) -> None:
        """RLlib's set-up, with the learner's thread count first."""
        threads = getattr(config, "learner_threads", None)
        if threads is not None:
            torch.set_num_threads(threads)
        self.patience = Patience(config)
        register_model()  # a Ray that was shut down took its registry along
        self.config.fix_agents()  # not on ``config``, a copy of which RLlib makes no use
        self.env_creator = replace(self.env_creator, agents=self.config.team_agents)
        super().setup(config)
        self._check_teams()
        give_freed_memory_back()  # what imports and set-up left behind

    def _check_teams(self) -> None:
        """Check that every worker's team is the driver's: rows belong to the same agents."""
        spec = self.team_spec
        self.config.remember_agents(spec.agents)
        for group in (self.workers_group, self.eval_env_runner_group):
            if group is None:
                continue
            for sizes in group.foreach_env_runner(team_sizes_of):
                check_same_team(spec.sizes, sizes)

    def cleanup(self) -> None:
        """RLlib's clean-up, without waiting indefinitely for an environment that hangs.

        Memory that was retained for learning is returned to the system.
        """
        if getattr(self, "env_runner_group", None) is not None:
            release_stuck_workers(self.workers_group, self.config.sample_timeout_s)
        super().cleanup()
        give_freed_memory_back()

    @property
    def team_worker(self) -> TeamRolloutWorker:
        """The driver's own worker, which learns and has the environment's spec."""
        return cast(TeamRolloutWorker, self.env_runner)

    @property
    def team_policy(self) -> TeamPolicy:
        """The joint policy with its learner."""
        return cast(TeamPolicy, self.get_policy())

    @property
    def workers_group(self) -> EnvRunnerGroup:
        """All training workers."""
        return cast(EnvRunnerGroup, self.env_runner_group)

    @property
    def team_spec(self) -> TeamSpec:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Names and sizes of the team."""
        return self.team_worker.team_spec

    @property
    def team(self) -> Team:
        """The team as trained so far; its networks continue to change."""
        stamp = self.config.environment_stamp(self.team_spec)
        return replace(self.team_worker.team, stamp=stamp, env_steps=self.num_env_steps)

    @property
    def num_env_steps(self) -> int:
        """Joint environment steps sampled so far."""
        return int(self._counters[NUM_ENV_STEPS_SAMPLED])

    def _compile_iteration_results_old_api_stack(self, **parts: Any) -> dict[str, Any]:
        """RLlib's results, with the environment that they are of."""
        results = super()._compile_iteration_results_old_api_stack(**parts)
        return results | {"environment": self.config.environment_stamp(self.team_spec)}

    def step(self) -> dict[str, Any]:
        """RLlib's iteration; a copy of the score lies flat in its results."""
        results = super().step()
        metric: str | None = self.config.score_metric
        score = None if metric is None else value_at(results, metric)
        return results if metric is None or score is None else {**results, metric: score}

    def learn_on(self, batch: Any, num_steps: int) -> dict[str, Any]:
        """One update of the policy from a batch of that many steps; RLlib's learner results."""
        with self._timers[LEARN_ON_BATCH_TIMER]:
            update = self.team_policy.update(batch)
        update[LEARNER_STATS_KEY] |= games.training_metrics(
            self.team_worker.vector_env, lambda: self.team
        )
        self._timers[LEARN_ON_BATCH_TIMER].push_units_processed(num_steps)
        self._counters[NUM_ENV_STEPS_TRAINED] += num_steps
        self._counters[NUM_AGENT_STEPS_TRAINED] += num_steps
        return update

    def broadcast(self) -> None:
        """New weights and step counts to all workers."""
        global_vars = {
            "timestep": self._counters[NUM_ENV_STEPS_SAMPLED],
            "num_grad_updates_per_policy": {DEFAULT_POLICY_ID: self.team_policy.num_grad_updates},
        }
        with self._timers[SYNCH_WORKER_WEIGHTS_TIMER]:
            if self.workers_group.num_remote_workers() > 0:
                self.workers_group.sync_weights(
                    policies=[DEFAULT_POLICY_ID], global_vars=global_vars
                )
        self.team_worker.set_global_vars(global_vars)

    def _before_evaluate(self) -> None:
        """RLlib's hook: bring filters and schedules to the evaluation workers.

        RLlib itself synchronises no filter with a local one, and no schedule with any. It merges
        the workers' filters after evaluation, which would play with those of an iteration before.
        """
        if self.eval_env_runner_group is None:
            return
        if not self.config.evaluation_parallel_to_training:
            self._sync_filters_if_needed(
                central_worker=self.team_worker, workers=self.workers_group, config=self.config
            )
        global_vars = {"timestep": self._counters[NUM_ENV_STEPS_SAMPLED]}
        filters = self.team_worker.get_filters()

        def follow(worker: Any) -> None:
            worker.set_global_vars(global_vars)
            worker.sync_filters(filters)

        self.eval_env_runner_group.foreach_env_runner(follow, local_env_runner=True)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write a checkpoint that is whole or absent, with a manifest of checksums.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written. An earlier
                checkpoint in the same folder is untouched.
        """
        target = Path(checkpoint_dir)
        try:
            with replaced_atomically(target) as folder:
                super().save_checkpoint(str(folder))
                self._make_relocatable(folder)
                save_team(folder, self.team)
                manifests.write_manifest(folder, self.stamp())
        except OSError as error:
            raise CheckpointError(
                f"could not save a checkpoint to {target}: {error}; free some space or choose "
                "another folder. Earlier checkpoints are untouched"
            ) from error

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Restore everything, after checking that all files exist and match this algorithm.

        Raises:
            CheckpointError: damaged, incomplete, of an earlier version, or of another
                environment or team.
        """
        folder = Path(checkpoint_dir)
        found = manifests.verify(folder, to_resume=True)
        manifests.check_stamp(folder, found, self.stamp())
        super().load_checkpoint(checkpoint_dir)

    @classmethod
    def from_checkpoint(cls, path: Any, *args: Any, **kwargs: Any) -> Algorithm:
        """A new algorithm from a checkpoint folder, after checking its files.

        Raises:
            CheckpointError: damaged, incomplete, or of an earlier version.
        """
        folder = path if isinstance(path, (str, Path)) else path.to_directory()
        manifests.verify(Path(folder), to_resume=True)
        return super().from_checkpoint(str(Path(folder).absolute()), *args, **kwargs)

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Raise: RLlib's method restores nothing on the classic stack, without an error."""
        raise CheckpointError(
            f"restore_from_path({path!r}) restores nothing on RLlib's classic API stack; use "
            "algo.restore(path) or Algorithm.from_checkpoint(path)"
        )

    def stamp(self) -> dict[str, Any]:
        """Stamp of a checkpoint: algorithm, environment, and shape of the team."""
        spec = self.team_spec
        environment = self.config.environment_stamp(spec)
        return {
            "algorithm": type(self).__name__,
            "environment name": environment.pop("name"),
            **spec.sizes,
            **{f"environment {name}": value for name, value in environment.items()},
        }

    @staticmethod
    def _make_relocatable(folder: Path) -> None:
        """Make RLlib's absolute paths relative, for the move out of the temporary folder."""
        for path in folder.rglob("rllib_checkpoint.json"):
            info = json.loads(path.read_text())
            if info.get("state_file"):
                info["state_file"] = Path(info["state_file"]).name
            path.write_text(json.dumps(info))

    def __getstate__(self) -> dict[str, Any]:
        """RLlib's state, and all state that determines future iterations."""
        # Pending requests come first: a worker reports its state after it has answered.
        return super().__getstate__() | {"data": self.data_state()} | workers_state(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore; with another number of workers they start fresh episodes."""
        super().__setstate__(state)
        self._episode_history = list(state.get("episode_history", []))
        restore_steps(self, state)
        self.restore_data(state["data"])
        restore_workers(self, state)

    def data_state(self) -> Any:
        """Experience that was sampled and is stored for learning."""

    def restore_data(self, state: Any) -> None:
        """Continue from :meth:`data_state`."""
