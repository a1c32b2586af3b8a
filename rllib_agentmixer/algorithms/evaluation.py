"""Joint and decentralised evaluation, side by side on the same seeds.

Results of ``evaluate()`` (and of every training result at the evaluation interval):

``individual/...``, ``joint/...``
    Deterministic play (modes): return mean, std, minimum, maximum, episode length, and
    ``agent_return_mean/<agent>``, and the mean of each of the environment's own diagnostics
    at the end of an episode, such as ``won_mean``.
``individual_sampled/...``, ``joint_sampled/...``
    The same with sampled actions.
``central_gap``
    Joint minus individual mean return, deterministic: what decentralisation costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.rllib.evaluation.metrics import summarize_episodes

from rllib_agentmixer.acting import EpisodeRecord, PolicyKind
from rllib_agentmixer.algorithms.episodes import rollout_metrics
from rllib_agentmixer.envs.vector_env import TeamSpec


@dataclass(frozen=True)
class Contestant:
    """One way to play: which policy, and whether its actions are sampled."""

    policy: PolicyKind
    explore: bool

    @property
    def key(self) -> str:
        """Name of its results."""
        return f"{self.policy}_sampled" if self.explore else self.policy


CONTESTANTS = (
    Contestant("individual", False),
    Contestant("joint", False),
    Contestant("individual", True),
    Contestant("joint", True),
)
"""Individual policies come first: a joint policy that is the same copies their results."""

PlayOnWorkers = Callable[[Contestant], list[EpisodeRecord]]


def summarize(records: list[EpisodeRecord], agents: tuple[str, ...]) -> dict[str, Any]:
    """Returns of some episodes in RLlib's words."""
    returns = np.array([record.episode_return for record in records])
    if not len(returns):
        returns = np.array([np.nan])
    diagnostics: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.diagnostics.items():
            diagnostics.setdefault(f"{name}_mean", []).append(value)
    own = np.array([record.agent_returns for record in records]).reshape(-1, len(agents))
    return {
        "episode_return_mean": float(returns.mean()),
        "episode_return_std": float(returns.std()),
        "episode_return_min": float(returns.min()),
        "episode_return_max": float(returns.max()),
        "episode_len_mean": float(np.mean([r.length for r in records])) if records else np.nan,
        "num_episodes": len(records),
        "agent_return_mean": dict(zip(agents, own.mean(0).tolist(), strict=True))
        if records
        else {},
    } | {name: float(np.mean(values)) for name, values in diagnostics.items()}


def compare(
    play: PlayOnWorkers, agents: tuple[str, ...], *, has_modifier: bool = True
) -> tuple[dict[str, Any], int]:
    """Let every contestant play; results by key, and the environment steps taken.

    Without a policy modifier the joint policy is the individual ones: they play once.
    """
    results: dict[str, Any] = {}
    num_steps = 0
    for contestant in CONTESTANTS:
        if contestant.policy == "joint" and not has_modifier:
            same = Contestant("individual", contestant.explore)
            results[contestant.key] = results[same.key]
            continue
        records = play(contestant)
        results[contestant.key] = summarize(records, agents)
        num_steps += sum(record.length for record in records)
    results["central_gap"] = (
        results["joint"]["episode_return_mean"] - results["individual"]["episode_return_mean"]
    )
    return results, num_steps


def share(total: int, workers: list[int]) -> dict[int, int]:
    """Split a number of episodes among workers as evenly as whole numbers allow."""
    return {
        worker: total // len(workers) + (place < total % len(workers))
        for place, worker in enumerate(workers)
    }


class SideBySideEvaluation:
    """Mixin for RLlib algorithms: evaluate() calls these hooks and does all around them.

    Weight and filter sync, callbacks, health checks and intervals stay RLlib's.
    """

    config: Any
    evaluation_config: Any
    eval_env_runner_group: Any
    team_spec: TeamSpec

    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Play joint and individual policies; see this module for the results' keys."""
        results = super().evaluate(parallel_train_future)  # type: ignore[misc]
        return results | results["env_runners"].pop("team", {})

    def _evaluate_on_local_env_runner(self, env_runner: Any) -> tuple:
        def play(contestant: Contestant) -> list[EpisodeRecord]:
            duration = self.config.evaluation_duration
            return _play_share(contestant, duration, self._evaluation_seed(0))(env_runner)

        return self._compare(play)

    def _evaluate_with_fixed_duration(self) -> tuple:
        return self._compare(lambda c: self._play_remotely(c, self.config.evaluation_duration, 0))

    def _evaluate_with_auto_duration(self, parallel_train_future: Any) -> tuple:
        """Rounds of one episode per copy until training's iteration is over."""
        group = self.eval_env_runner_group
        per_round = self.evaluation_config.num_envs_per_env_runner * max(
            1, group.num_healthy_remote_workers()
        )
        records: dict[Contestant, list[EpisodeRecord]] = {c: [] for c in CONTESTANTS}
        round_index = 0
        while round_index == 0 or not parallel_train_future.done():
            for contestant, played in records.items():
                played += self._play_remotely(contestant, per_round, round_index)
            round_index += 1
        return self._compare(records.__getitem__)

    def _compare(self, play: Any) -> tuple:
        """(results, environment steps, agent steps, batches), as RLlib's evaluate() expects."""
        kept: list[Any] = []

        def play_and_keep(contestant: Contestant) -> list[EpisodeRecord]:
            records = play(contestant)
            if contestant == Contestant("individual", explore=False):
                kept.extend(rollout_metrics(r, self.team_spec.agents) for r in records)
            return records

        has_modifier = self.config.hyperparameters().policy_modifier != "none"
        team, num_steps = compare(play_and_keep, self.team_spec.agents, has_modifier=has_modifier)
        # RLlib's own keys describe what would be deployed.
        results = summarize_episodes(kept, kept) | {"team": team}
        return results, num_steps, num_steps, []

    def _play_remotely(
        self, contestant: Contestant, num_episodes: int, round_index: int
    ) -> list[EpisodeRecord]:
        group = self.eval_env_runner_group
        quotas = share(num_episodes, sorted(group.healthy_env_runner_ids()))
        played = group.foreach_env_runner(
            [
                _play_share(contestant, quota, self._evaluation_seed(1000 * round_index + worker))
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


def _play_share(contestant: Contestant, quota: int, seed: int | None) -> Any:
    """A function of a worker that plays its share."""

    def play(worker: Any) -> list[EpisodeRecord]:
        num_envs = min(quota, worker.config.num_envs_per_env_runner)
        return worker.play_episodes(
            quota,
            policy=contestant.policy,
            explore=contestant.explore,
            seed=seed,
            num_envs=num_envs,
        )

    return play
