"""RLlib base environment over the sub-environments that a vectorised worker steps itself."""

from __future__ import annotations

from typing import Any

from ray.rllib.env.base_env import BaseEnv

from rllib_agentmixer.envs.team_gym import TeamEnvCreator, TeamGymEnv


class TeamBaseEnv(BaseEnv):
    """Base environment of RLlib, behind which the worker steps all sub-environments."""

    def __init__(self, env: TeamGymEnv) -> None:
        self.env = env

    def get_sub_environments(self, as_dict: bool = False) -> Any:
        """[B] the sub-environments as their creator returned them, or a dictionary by index."""
        found = self.env.vector_env.sub_environments()
        return dict(enumerate(found)) if as_dict else found

    @property
    def observation_space(self) -> Any:
        return self.env.observation_space

    @property
    def action_space(self) -> Any:
        return self.env.action_space

    def stop(self) -> None:
        """Close the sub-environments."""
        self.env.close()


def vector_facade(creator: TeamEnvCreator, num_envs: int, env_context: Any) -> TeamGymEnv:
    """Gymnasium facade of all sub-environments of a worker."""
    return TeamGymEnv(creator.vector(env_context, num_envs))
