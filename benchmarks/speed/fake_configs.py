"""Configurations for training on :class:`FakeTeam`, also with remote workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.speed.teams import FakeTeam
from rllib_agentmixer import AgentMixerConfig, MAPPOConfig
from rllib_agentmixer.adapters.team_config import TeamConfig
from rllib_agentmixer.envs.team_gym import TeamEnvCreator


class FakeTeamCreator(TeamEnvCreator):
    """Creator of :class:`FakeTeam`.

    The environment registry is per process, so that a name registered here would be unknown
    to remote workers.
    """

    def vector(self, env_config: dict[str, Any], num_envs: int) -> FakeTeam:
        return FakeTeam(num_envs, **env_config)


class FakeAgentMixerConfig(AgentMixerConfig):
    """AgentMixer on :class:`FakeTeam`, with its arguments in ``env_config``."""

    def env_creator(self) -> FakeTeamCreator:
        return FakeTeamCreator("fake_team")


class FakeMAPPOConfig(MAPPOConfig):
    """MAPPO on :class:`FakeTeam`, with its arguments in ``env_config``."""

    def env_creator(self) -> FakeTeamCreator:
        return FakeTeamCreator("fake_team")


FAKE_CONFIGS: dict[str, Callable[[], TeamConfig]] = {
    "agentmixer": FakeAgentMixerConfig,
    "mappo": FakeMAPPOConfig,
}
"""Algorithm -> its configuration on the synthetic team."""
