"""B sub-environments of any ParallelEnv as one batched team, stepped one after the other.

Sub-environments that crash can be replaced in flight; what they cost is marked, never hidden.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.stepping import snapshots
from rllib_agentmixer.envs.stepping.outcomes import CRASHES
from rllib_agentmixer.envs.stepping.recordings import Recording
from rllib_agentmixer.envs.stepping.step_timer import StepTimer
from rllib_agentmixer.envs.stepping.team_env import TeamEnv, TeamOutcome, diagnostics_of
from rllib_agentmixer.envs.stepping.team_rows import new_buffer
from rllib_agentmixer.envs.vector_env import (
    TeamObs,
    TeamReward,
    TeamStep,
    VectorTeamEnv,
)
from rllib_agentmixer.errors import AgentMixerError, EnvContractError

logger = logging.getLogger(__name__)


class LoopVectorEnv(VectorTeamEnv):
    """B :class:`TeamEnv` s stepped in a loop, with automatic resets.

    The arrays are double-buffered, so that a sub-environment that fails halfway through a step
    leaves its last valid observation behind.

    Args:
        make_one: builds a sub-environment.
        num_envs: B.
        name: for messages and metadata.
        team_reward: as in :class:`TeamEnv`.
        restart_failed: replace a sub-environment that raises by a fresh one. Its row is then
            marked ``faulty`` and ``truncated``; one that fails in an automatic reset is replaced
            too, but the episode that it had finished counts.
        max_restarts: give up after this many replacements.
        version: of the environment, for metadata.
        step_time_limit_s: duration of a sub-environment's step or reset beyond which it counts
            as failed; None for no limit. See :class:`StepTimer` for what it cannot interrupt.
        agents: order of the team; None for that of the first sub-environment.
        is_indexed: ``make_one`` takes the sub-environment's index.
    """

    def __init__(
        self,
        make_one: Callable[..., ParallelEnv],
        num_envs: int,
        name: str = "env",
        team_reward: TeamReward = "shared",
        restart_failed: bool = False,
        max_restarts: int = 1000,
        version: str = "0",
        step_time_limit_s: float | None = None,
        agents: Sequence[str] | None = None,
        is_indexed: bool = False,
    ) -> None:
        self._make_one = make_one
        self._is_indexed = is_indexed
        first = TeamEnv(self._made(0), name, team_reward, version=version, agents=agents)
        self.spec = first.spec
        self.num_envs = num_envs
        self._layout = first.layout
        self._team_reward: TeamReward = team_reward
        self._envs = [first, *(self._new_env(index) for index in range(1, num_envs))]
        # ``_now`` holds the returned observations; the next step writes ``_next``.
        self._now, self._next = (new_buffer(self._layout, num_envs) for _ in range(2))
        self._restart_failed = restart_failed
        self._max_restarts = max_restarts
        self._num_restarts = 0
        self._seeds = np.random.SeedSequence()
        self._seed_sources = _seed_sources(self._seeds, num_envs)
        self._timer = StepTimer(step_time_limit_s)
        self._sizes = np.asarray(self.spec.action_sizes)
        self._outcomes: list[TeamOutcome] = []
        self._reset_infos: list[Mapping[Any, Any]] = [{} for _ in range(num_envs)]

    def reset(self, seed: int | None = None) -> TeamObs:
        if seed is not None:
            self._seeds = np.random.SeedSequence(seed)
            self._seed_sources = _seed_sources(self._seeds, self.num_envs)
        with self._timer:
            for index in range(self.num_envs):
                self._reset_env(index)
        return self._now.arrays

    def step(self, actions: np.ndarray) -> TeamStep:
        per_env = self._checked(actions)
        self._now, self._next = self._next, self._now
        B = self.num_envs
        crashes: dict[int, BaseException] = {}
        with self._timer:
            outcomes = [
                self._step_env(index, actions, crashes) for index, actions in enumerate(per_env)
            ]
        self._outcomes = outcomes
        terminated = np.fromiter((outcome.terminated for outcome in outcomes), np.bool_, B)
        truncated = np.fromiter((outcome.truncated for outcome in outcomes), np.bool_, B)
        faulty = np.zeros(B, np.bool_)
        faulty[list(crashes)] = True
        return TeamStep(
            final_observation=self._restart_ended(terminated | truncated, crashes),
            observation=self._now.arrays,
            reward=np.fromiter((outcome.reward for outcome in outcomes), np.float32, B),
            agent_rewards=self._now.agent_rewards,
            terminated=terminated,
            truncated=truncated,
            faulty=faulty,
            info=diagnostics_of(outcomes),
        )

    def _step_env(
        self, index: int, actions: list | np.ndarray, crashes: dict[int, BaseException]
    ) -> TeamOutcome:
        row = self._now.rows[index]
        self._timer.restart()
        try:
            return self._envs[index].step(row, actions)
        except CRASHES as cause:
            if not self._restart_failed:
                raise self._failure(index, cause) from cause
            crashes[index] = cause
        row.copy_from(self._next.rows[index])
        row.agent_rewards[:] = 0.0
        return TeamOutcome(reward=0.0, truncated=True)

    @property
    def names(self) -> list[Any]:
        """[N] the agents as the environment names them, in the team's order."""
        return list(self._layout.agents)

    def actions_by_agent(self, actions: np.ndarray) -> list[dict[Any, Any]]:
        """[B] what each sub-environment takes for joint actions [B, N] or [B, N, A]."""
        per_env = self._checked(actions)
        return [team_env.by_name(own) for team_env, own in zip(self._envs, per_env, strict=True)]

    def sub_environments(self) -> list[Any]:
        return [team_env.given for team_env in self._envs]

    def last_infos(self, env_index: int) -> Mapping[Any, Any]:
        return self._outcomes[env_index].infos if self._outcomes else {}

    def reset_infos(self, env_index: int) -> Mapping[Any, Any]:
        return self._reset_infos[env_index]

    def get_state(self) -> bytes | None:
        seeds = (self._seeds, self._seed_sources)
        snapshot = (self._envs, self._now.arrays, seeds, self._num_restarts)
        try:
            dumped = snapshots.dump(snapshot)
        except Exception as error:  # objects in third-party environments may not be picklable
            logger.info("%s cannot be copied (%r): it will start afresh", self.spec.name, error)
            return None
        snapshots.report_size(dumped, self.spec.name, self.num_envs)
        return dumped

    def set_state(self, snapshot: bytes | None) -> None:
        if snapshot is None:
            return
        # Snapshots come from get_state of this class, inside the user's own checkpoints.
        envs, arrays, seeds, self._num_restarts = pickle.loads(snapshot)  # noqa: S301
        if len(envs) != self.num_envs:
            raise EnvContractError(
                f"{self.spec.name}: the snapshot holds {len(envs)} sub-environments, "
                f"this environment {self.num_envs}; use the same number"
            )
        self.close()
        self._envs = envs
        self._seeds, self._seed_sources = seeds
        for name in ("obs", "state", "action_mask", "alive"):
            getattr(self._now.arrays, name)[...] = getattr(arrays, name)

    def render(self, env_index: int = 0) -> np.ndarray | None:
        env = self._envs[env_index].env
        if getattr(env, "render_mode", None) != "rgb_array":
            return None
        picture = env.render()
        return picture if isinstance(picture, np.ndarray) else None

    def close(self) -> None:
        for index, team_env in enumerate(self._envs):
            try:
                team_env.env.close()
            except CRASHES as error:  # the others still have to be closed
                logger.warning(
                    "sub-environment %d of %s: close() raised %r", index, self.spec.name, error
                )

    def _made(self, index: int) -> ParallelEnv:
        return self._make_one(index) if self._is_indexed else self._make_one()

    def _new_env(self, index: int) -> TeamEnv:
        return TeamEnv(self._made(index), self.spec.name, self._team_reward, layout=self._layout)

    def _checked(self, actions: np.ndarray) -> list:
        """Actions of each sub-environment as :meth:`TeamEnv.step` takes them."""
        B, N, A = self.num_envs, self.spec.num_agents, self.spec.num_actions
        if self.spec.action_kind == "continuous":
            if actions.shape != (B, N, A) or not np.isfinite(actions).all():
                raise EnvContractError(
                    f"{self.spec.name}: actions must be finite numbers of shape {(B, N, A)}, "
                    f"got shape {actions.shape}: {actions}"
                )
            return list(np.clip(actions, self.spec.action_low, self.spec.action_high))
        if actions.shape != (B, N) or actions.dtype.kind not in "iu":
            raise EnvContractError(
                f"{self.spec.name}: actions must be integers of shape {(B, N)}, "
                f"got shape {actions.shape} of {actions.dtype}"
            )
        if actions.min() < 0 or (actions >= self._sizes).any():
            raise EnvContractError(
                f"{self.spec.name}: actions must lie below {self.spec.action_sizes}, got {actions}"
            )
        # As Discrete.sample() gives them: environments call .item() on NumPy integers.
        return list(actions.astype(np.int64, copy=False))

    def _restart_ended(self, ended: np.ndarray, crashes: dict[int, BaseException]) -> TeamObs:
        """Reset or replace sub-environments that ended; returns the observation before that."""
        now = self._now.arrays
        if not ended.any():
            return now
        final = TeamObs(now.obs.copy(), now.state.copy(), now.action_mask.copy(), now.alive.copy())
        with self._timer:
            for index in np.flatnonzero(ended).tolist():
                if index in crashes:
                    self._replace(index, crashes[index])
                else:
                    self._reset_env(index)
        return final

    def _reset_env(self, index: int) -> None:
        """Start an episode with its own seed, so that it can be reproduced alone."""
        self._timer.restart()
        try:
            seed = int(self._seed_sources[index].integers(2**31))
            self._reset_infos[index] = self._envs[index].reset(self._now.rows[index], seed)
        except CRASHES as cause:
            if not self._restart_failed:
                raise self._failure(index, cause) from cause
            self._replace(index, cause)

    def _replace(self, index: int, cause: BaseException) -> None:
        """Replace a failed sub-environment by a fresh one and reset it."""
        while True:
            failure = self._failure(index, cause)
            self._num_restarts += 1
            if self._num_restarts > self._max_restarts:
                raise EnvContractError(
                    f"{failure}; gave up after {self._max_restarts} restarts of sub-environments"
                ) from cause
            logger.warning("%s; the sub-environment is replaced", failure)
            self._timer.restart()
            with contextlib.suppress(*CRASHES):
                self._envs[index].env.close()
            self._timer.restart()
            try:
                self._envs[index] = self._new_env(index)
                seed = int(self._seed_sources[index].integers(2**31))
                self._reset_infos[index] = self._envs[index].reset(self._now.rows[index], seed)
            except CRASHES as next_cause:
                cause = next_cause
            else:
                break
        if self.on_replaced is not None:
            self.on_replaced(index)

    def _failure(self, index: int, cause: BaseException) -> EnvContractError:
        """An error that states how to reproduce it."""
        team_env = self._envs[index]
        if isinstance(cause, EnvContractError):
            problem = f"sub-environment {index} of {cause}"
        elif isinstance(cause, AgentMixerError):
            problem = f"sub-environment {index} of {self.spec.name}: {cause}"
        else:
            problem = (
                f"sub-environment {index} of {self.spec.name}, step {team_env.num_steps}: "
                f"the environment raised {cause!r}"
            )
        path = Recording(self.spec.name, team_env.seed, team_env.actions, str(cause)).save()
        repeat = "" if path is None else f"; reproduce it with check-env --replay {path}"
        return EnvContractError(f"{problem} (episode seed {team_env.seed}{repeat})")


def _seed_sources(seeds: np.random.SeedSequence, num_envs: int) -> list[np.random.Generator]:
    """Generators of each sub-environment's episode seeds."""
    return [np.random.default_rng(child) for child in seeds.spawn(num_envs)]
