"""A team as trained so far: all that playing, exporting and analysing need."""

from __future__ import annotations

from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.envs.vector_env import TeamSpec


def team_sizes(spec: TeamSpec) -> TeamSizes:
    """What the networks need to know of a team."""
    return TeamSizes(spec.obs_sizes, spec.state_size, spec.action_kind, spec.action_sizes)
