"""Joint and decentralised evaluation, side by side on the same seeds.

Results of ``evaluate()`` (and of every training result at the evaluation interval):

``individual/...``, ``joint/...``
    Deterministic play (modes): return mean, std, minimum, maximum, episode length, and
    ``agent_return_mean/<agent>``, and the mean of each of the environment's own diagnostics
    at the end of an episode, such as ``diagnostics/won_mean``.
``individual_sampled/...``, ``joint_sampled/...``
    The same with sampled actions.
``central_gap``
    Joint minus individual mean return, deterministic: what decentralisation costs.
"""

from __future__ import annotations

from typing import Any

from ray.rllib.evaluation.metrics import summarize_episodes

from rllib_agentmixer.adapters.classic.callbacks import rollout_metrics
from rllib_agentmixer.envs.vector_env import TeamSpec
from rllib_agentmixer.rollouts.episodes import EpisodeRecord
from rllib_agentmixer.rollouts.evaluation import POLICY_VARIANTS, PolicyVariant, compare, share


class SideBySideEvaluation:
    """Mixin for RLlib algorithms: evaluate() calls these hooks and does all around them.

    Weight and filter sync, callbacks, health checks and intervals remain RLlib's.
    """

    config: Any
    evaluation_config: Any
    eval_env_runner_group: Any
    team_spec: TeamSpec
    team_policy: Any

    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Play joint and individual policies; see this module for the results' keys."""
        results = super().evaluate(parallel_train_future)  # type: ignore[misc]
        return results | results["env_runners"].pop("team", {})

    def _evaluate_on_local_env_runner(self, env_runner: Any) -> tuple:
        def play(variant: PolicyVariant) -> list[EpisodeRecord]:
            duration = self.config.evaluation_duration
            return _play_share(variant, duration, self._evaluation_seed(0))(env_runner)

        return self._compare(play)

    def _evaluate_with_fixed_duration(self) -> tuple:
        return self._compare(lambda c: self._play_remotely(c, self.config.evaluation_duration, 0))

    def _evaluate_with_auto_duration(self, parallel_train_future: Any) -> tuple:
        """Rounds of one episode per sub-environment until training's iteration is over."""
        group = self.eval_env_runner_group
        per_round = self.evaluation_config.num_envs_per_env_runner * max(
            1, group.num_healthy_remote_workers()
        )
        records: dict[PolicyVariant, list[EpisodeRecord]] = {c: [] for c in POLICY_VARIANTS}
        round_index = 0
        while round_index == 0 or not parallel_train_future.done():
            for variant, played in records.items():
                played += self._play_remotely(variant, per_round, round_index)
            round_index += 1
        return self._compare(records.__getitem__)

    def _compare(self, play: Any) -> tuple:
        """(results, environment steps, agent steps, batches), as RLlib's evaluate() expects."""
        metrics: list[Any] = []

        def play_and_keep(variant: PolicyVariant) -> list[EpisodeRecord]:
            records = play(variant)
            if variant == PolicyVariant("individual", explore=False):
                metrics.extend(rollout_metrics(r, self.team_spec.agents) for r in records)
            return records

        is_product = self.team_policy.module.is_product
        team, num_steps = compare(play_and_keep, self.team_spec.agents, is_product=is_product)
        # RLlib's own keys describe what would be deployed.
        results = summarize_episodes(metrics, metrics) | {"team": team}
        return results, num_steps, num_steps, []

    def _play_remotely(
        self, variant: PolicyVariant, num_episodes: int, round_index: int
    ) -> list[EpisodeRecord]:
        group = self.eval_env_runner_group
        quotas = share(num_episodes, sorted(group.healthy_env_runner_ids()))
        played = group.foreach_env_runner(
            [
                _play_share(variant, quota, self._evaluation_seed(1000 * round_index + worker))
                for worker, quota in quotas.items()
            ],
            remote_worker_ids=list(quotas),
            local_env_runner=False,
            timeout_seconds=self.config.evaluation_sample_timeout_s,
        )
        return [record for records in played for record in records]

    def _evaluation_seed(self, offset: int) -> int | None:
        seed = self.config.evaluation_seed
        return None if seed is None else seed + offset


def _play_share(variant: PolicyVariant, quota: int, seed: int | None) -> Any:
    """Function of a worker that plays its share."""

    def play(worker: Any) -> list[EpisodeRecord]:
        num_envs = min(quota, worker.config.num_envs_per_env_runner)
        return worker.play_episodes(
            quota,
            policy=variant.policy,
            explore=variant.explore,
            seed=seed,
            num_envs=num_envs,
        )

    return play
