"""RLlib's multi-agent environments as PettingZoo ParallelEnvs; RLlib is not imported."""

from __future__ import annotations

from typing import Any

from pettingzoo import ParallelEnv

ALL = "__all__"
"""Key under which RLlib's environments report the end of the episode."""


class MultiAgentParallelEnv(ParallelEnv):
    """A ``MultiAgentEnv`` of RLlib as a ParallelEnv.

    An agent acts when it was given an observation; one that gets none is absent until it gets
    one again. ``"__all__"`` ends the episode for everybody.

    Args:
        env: with ``possible_agents``, and spaces for each of them.
    """

    def __init__(self, env: Any) -> None:
        self.env = env
        self.metadata = {"name": type(env).__name__, **(getattr(env, "metadata", None) or {})}
        self.render_mode = getattr(env, "render_mode", None)
        self.possible_agents = list(env.possible_agents)
        self.agents: list[Any] = []

    def observation_space(self, agent: Any) -> Any:
        return self.env.get_observation_space(agent)

    def action_space(self, agent: Any) -> Any:
        return self.env.get_action_space(agent)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start an episode."""
        outcome = self.env.reset(seed=seed, options=options)
        self.agents = [agent for agent in self.possible_agents if agent in outcome[0]]
        return outcome

    def step(self, actions: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:
        acted = self.agents
        obs, rewards, terminated, truncated, infos = self.env.step(actions)
        is_terminal, is_cut = bool(terminated.get(ALL)), bool(truncated.get(ALL))
        ended = is_terminal or is_cut
        self.agents = (
            []
            if ended
            else [a for a in self.possible_agents if _goes_on(a, obs, terminated, truncated)]
        )
        named = {*acted, *obs}
        return (
            obs,
            {agent: rewards.get(agent, 0.0) for agent in named},
            {agent: is_terminal or bool(terminated.get(agent)) for agent in named},
            {agent: is_cut or bool(truncated.get(agent)) for agent in named},
            {agent: infos.get(agent, {}) for agent in named},
        )

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()


def _goes_on(agent: Any, obs: dict, terminated: dict, truncated: dict) -> bool:
    return agent in obs and not terminated.get(agent) and not truncated.get(agent)
