"""Episodes as RLlib's callbacks see them, made only where a hook is overridden."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.evaluation.metrics import RolloutMetrics

from rllib_agentmixer.envs.vector_env import TeamStep
from rllib_agentmixer.rollouts.episodes import EpisodeRecord, EpisodeTracker

EPISODE_HOOKS = ("on_episode_created", "on_episode_start", "on_episode_step", "on_episode_end")


@dataclass
class TeamEpisode:
    """One running episode, with the fields of RLlib's classic episodes that callbacks use.

    Attributes:
        episode_id: number, unique within its worker.
        env_id: index of the sub-environment.
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
    length: int = 0
    total_reward: float = 0.0
    agent_rewards: dict[str, float] = field(default_factory=dict)
    user_data: dict[str, Any] = field(default_factory=dict)
    custom_metrics: dict[str, float] = field(default_factory=dict)
    hist_data: dict[str, list] = field(default_factory=dict)
    media: dict[str, Any] = field(default_factory=dict)


class EpisodeCallbacks:
    """Episode hooks of the user's callbacks over B sub-environments; idle if none is overridden.

    Args:
        worker: passed on to the callbacks.
        callbacks: the user's callbacks.
        agents: names of the agents.
    """

    def __init__(self, worker: Any, callbacks: RLlibCallback, agents: tuple[str, ...]) -> None:
        self.worker = worker
        self.callbacks = callbacks
        self.agents = agents
        self.is_active = any(
            getattr(type(callbacks), hook) is not getattr(RLlibCallback, hook)
            for hook in EPISODE_HOOKS
        )
        self.next_id = 0
        self.episodes: list[TeamEpisode] = []

    def begin(self, tracker: EpisodeTracker) -> None:
        """Follow the running episodes of B sub-environments from their current steps."""
        if not self.is_active:
            return
        self.episodes = [self._begin(env_index) for env_index in range(tracker.num_envs)]
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
            self._call("on_episode_step", episode)
        for env_index in records if self.is_active else ():
            self._call("on_episode_end", self.episodes[env_index])

    def finish(self, env_index: int) -> TeamEpisode | None:
        """The episode that just ended in a sub-environment; the next one begins."""
        if not self.is_active:
            return None
        ended = self.episodes[env_index]
        self.episodes[env_index] = self._begin(env_index)
        return ended

    def _begin(self, env_index: int) -> TeamEpisode:
        episode = TeamEpisode(self.next_id, env_index)
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
