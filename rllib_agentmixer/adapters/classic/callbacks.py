"""Episodes and sub-environments as RLlib's callbacks see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.evaluation.metrics import RolloutMetrics
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID, SampleBatch, concat_samples

from rllib_agentmixer.envs.vector_env import TeamSpec, TeamStep, VectorTeamEnv
from rllib_agentmixer.rollouts.episodes import EpisodeRecord, EpisodeTracker

POSTPROCESS = "on_postprocess_trajectory"

EPISODE_HOOKS = (
    "on_episode_created",
    "on_episode_start",
    "on_episode_step",
    "on_episode_end",
    POSTPROCESS,
)

TEAM_AGENT = "agent0"
"""Name that RLlib gives the only agent of a single-agent environment, here the team."""


def overrides(callbacks: Any, *hooks: str) -> bool:
    """Whether callbacks, or one of several that RLlib combines, define any of the hooks."""
    parts = getattr(callbacks, "_callback_list", [callbacks])
    return any(
        getattr(type(part), hook) is not getattr(RLlibCallback, hook)
        for part in parts
        for hook in hooks
    )


@dataclass
class TeamEpisode:
    """One running episode, with the fields and methods of RLlib's classic episodes.

    Attributes:
        episode_id: number, unique within its worker.
        env_id: index of the sub-environment.
        worker: the rollout worker.
        spec: of the team.
        length: steps so far.
        total_reward: team reward so far.
        agent_rewards: own reward of every agent so far, by agent name.
        user_data: the user's own, dropped with the episode.
        custom_metrics: values that appear in results as mean, minimum and maximum.
        hist_data: lists that appear in results as they are.
        media: media for loggers.
    """

    episode_id: int
    env_id: int
    worker: Any = field(default=None, repr=False)
    spec: TeamSpec | None = field(default=None, repr=False)
    length: int = 0
    total_reward: float = 0.0
    agent_rewards: dict[str, float] = field(default_factory=dict)
    user_data: dict[str, Any] = field(default_factory=dict)
    custom_metrics: dict[str, float] = field(default_factory=dict)
    hist_data: dict[str, list] = field(default_factory=dict)
    media: dict[str, Any] = field(default_factory=dict)
    last_obs: np.ndarray | None = field(default=None, repr=False)
    """[N, O] the agents' newest observations, zero-padded."""
    last_infos: Mapping[Any, Any] = field(default_factory=dict, repr=False)
    """Newest infos by agent, as the environment gave them."""

    @property
    def policy_map(self) -> Any:
        """Policies of the worker."""
        return self.worker.policy_map

    def get_agents(self) -> list[str]:
        """Names of the agents."""
        return list(self.spec.agents) if self.spec else []

    def policy_for(self, agent_id: Any = None, policy_mapping_fn: Any = None) -> str:
        """The team's policy, whichever the agent."""
        return DEFAULT_POLICY_ID

    def last_info_for(self, agent_id: Any = None) -> Mapping[str, Any] | None:
        """An agent's newest info; without a name, the first agent's that has one."""
        if agent_id is None:
            return next(iter(self.last_infos.values()), None)
        if agent_id in self.last_infos:
            return self.last_infos[agent_id]
        return {str(name): info for name, info in self.last_infos.items()}.get(str(agent_id))

    def last_observation_for(self, agent_id: Any = None) -> np.ndarray | None:
        """[O] an agent's newest observation as its policy sees it; by default the first one's.

        Raises:
            KeyError: there is no such agent.
        """
        if self.last_obs is None or self.spec is None:
            return None
        agents = self.spec.agents
        if agent_id is not None and str(agent_id) not in agents:
            raise KeyError(f"no agent {agent_id!r}; the agents are {', '.join(agents)}")
        index = 0 if agent_id is None else agents.index(str(agent_id))
        return self.last_obs[index, : self.spec.obs_sizes[index]].copy()


class EpisodeCallbacks:
    """Episode hooks of the user's callbacks over B sub-environments; idle if none is overridden.

    Args:
        worker: passed on to the callbacks.
        callbacks: the user's callbacks.
        env: the worker's sub-environments.
    """

    def __init__(self, worker: Any, callbacks: RLlibCallback, env: VectorTeamEnv) -> None:
        self.worker = worker
        self.callbacks = callbacks
        self.env = env
        self.agents = env.spec.agents
        self.is_active = overrides(callbacks, *EPISODE_HOOKS)
        self.postprocesses = overrides(callbacks, POSTPROCESS)
        self.next_id = 0
        self.episodes: list[TeamEpisode] = []
        self.ended: list[list[TeamEpisode]] = [[] for _ in range(env.num_envs)]
        """Episodes that ended in the fragment under way, by sub-environment."""

    def begin(self, tracker: EpisodeTracker, obs: np.ndarray | None = None) -> None:
        """Follow the running episodes of B sub-environments from their current steps.

        Args:
            tracker: of the running episodes.
            obs: [B, N, O] the newest observations.
        """
        if not self.is_active:
            return
        self.episodes = [self._begin(index, obs) for index in range(tracker.num_envs)]
        for env_index, episode in enumerate(self.episodes):
            episode.length = int(tracker.lengths[env_index])
            episode.total_reward = float(tracker.returns[env_index])
            if episode.length:
                own = tracker.agent_returns[env_index].tolist()
                episode.agent_rewards = dict(zip(self.agents, own, strict=True))

    def on_step(self, step: TeamStep, records: dict[int, EpisodeRecord]) -> None:
        """Follow one step of all sub-environments, ending and starting episodes."""
        for episode in self.episodes:
            env_index = episode.env_id
            episode.length += 1
            episode.total_reward += float(step.reward[env_index])
            for agent, reward in zip(self.agents, step.agent_rewards[env_index], strict=True):
                episode.agent_rewards[agent] = episode.agent_rewards.get(agent, 0.0) + float(reward)
            episode.last_obs = step.final_observation.obs[env_index]
            episode.last_infos = self.env.last_infos(env_index) or self._team_info(step, env_index)
            self._call("on_episode_step", episode)
        for env_index in records if self.is_active else ():
            self._call("on_episode_end", self.episodes[env_index])

    def finish(self, env_index: int, obs: np.ndarray) -> TeamEpisode | None:
        """The episode that just ended in a sub-environment; the next one begins.

        Args:
            env_index: of the sub-environment.
            obs: [B, N, O] first observations of what begins.
        """
        if not self.is_active:
            return None
        ended = self.episodes[env_index]
        self.ended[env_index].append(ended)
        self.episodes[env_index] = self._begin(env_index, obs)
        return ended

    def postprocess(self, batch: SampleBatch, first_episode_id: int) -> SampleBatch:
        """The batch after ``on_postprocess_trajectory`` of each episode's rows.

        Args:
            batch: of one fragment.
            first_episode_id: of the first sub-environment's first episode.
        """
        played = [[*ended, self.episodes[b]] for b, ended in enumerate(self.ended) if self.episodes]
        self.ended = [[] for _ in range(self.env.num_envs)]
        if not self.postprocesses:
            return batch
        pieces = batch.split_by_episode()
        policy = self.worker.policy_map[DEFAULT_POLICY_ID]
        for piece in pieces:
            offset = int(piece[SampleBatch.EPS_ID][0]) - first_episode_id
            order, env_index = divmod(offset, self.env.num_envs)
            self.callbacks.on_postprocess_trajectory(
                worker=self.worker,
                episode=played[env_index][min(order, len(played[env_index]) - 1)],
                agent_id=TEAM_AGENT,
                policy_id=DEFAULT_POLICY_ID,
                policies=self.worker.policy_map,
                postprocessed_batch=piece,
                original_batches={TEAM_AGENT: (policy, piece.copy())},
            )
        return cast(SampleBatch, concat_samples(cast(list, pieces)))

    def _team_info(self, step: TeamStep, env_index: int) -> dict[str, dict[str, float]]:
        """Diagnostics of a batched form, which are the team's."""
        row = {name: float(values[env_index]) for name, values in step.info.items()}
        info = {name: value for name, value in row.items() if np.isfinite(value)}
        return dict.fromkeys(self.agents, info)

    def _begin(self, env_index: int, obs: np.ndarray | None) -> TeamEpisode:
        episode = TeamEpisode(self.next_id, env_index, self.worker, self.env.spec)
        episode.last_obs = None if obs is None else obs[env_index]
        episode.last_infos = self.env.reset_infos(env_index)
        self.next_id += 1
        self._call("on_episode_created", episode)
        self._call("on_episode_start", episode)
        return episode

    def _call(self, hook: str, episode: TeamEpisode) -> None:
        getattr(self.callbacks, hook)(
            worker=self.worker,
            base_env=self.worker.async_env,
            policies=self.worker.policy_map,
            episode=episode,
            env_runner=self.worker,
            env=self.worker.env,
            env_index=episode.env_id,
        )


def rollout_metrics(
    record: EpisodeRecord, agents: tuple[str, ...], episode: TeamEpisode | None = None
) -> RolloutMetrics:
    """RLlib's record of one episode; ``policy_reward_*`` results are per agent.

    The environment's diagnostics become the custom metrics ``diagnostics/<name>``: mean,
    minimum and maximum of each.
    """
    diagnostics = {f"diagnostics/{name}": value for name, value in record.diagnostics.items()}
    return RolloutMetrics(  # pyright: ignore[reportCallIssue] - the others have defaults
        episode_length=record.length,
        episode_reward=record.episode_return,
        agent_rewards={
            (agent, agent): float(value)
            for agent, value in zip(agents, record.agent_returns, strict=True)
        },
        custom_metrics=diagnostics | (episode.custom_metrics if episode else {}),
        hist_data=episode.hist_data if episode else {},
        media=episode.media if episode else {},
        episode_faulty=record.is_faulty,
    )
