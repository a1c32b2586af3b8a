"""Configurations that train on :class:`FakeTeam`, also on remote workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.speed.teams import FakeTeam
from rllib_agentmixer import AgentMixerConfig, MAPPOConfig
from rllib_agentmixer.adapters.team_config import TeamConfig
from rllib_agentmixer.envs.team_gym import TeamEnvCreator


class FakeTeamCreator(TeamEnvCreator):
    """Builds :class:`FakeTeam` directly.

    The registry of environments belongs to one process, so a name that is registered here
    would be unknown to remote workers.
    """

    def vector(self, env_config: dict[str, Any], num_envs: int) -> FakeTeam:
        return FakeTeam(num_envs, **env_config)


class FakeAgentMixerConfig(AgentMixerConfig):
    """AgentMixer on :class:`FakeTeam`; ``env_config`` holds its arguments."""

    def env_creator(self) -> FakeTeamCreator:
        return FakeTeamCreator("fake_team")


class FakeMAPPOConfig(MAPPOConfig):
    """MAPPO on :class:`FakeTeam`; ``env_config`` holds its arguments."""

    def env_creator(self) -> FakeTeamCreator:
        return FakeTeamCreator("fake_team")


FAKE_CONFIGS: dict[str, Callable[[], TeamConfig]] = {
    "agentmixer": FakeAgentMixerConfig,
    "mappo": FakeMAPPOConfig,
}
"""Algorithm -> its configuration on the synthetic team."""
