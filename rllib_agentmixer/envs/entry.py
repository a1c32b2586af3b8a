"""What the package knows about an environment that has a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pettingzoo import ParallelEnv

    from rllib_agentmixer.envs.vector_env import TeamReward, VectorTeamEnv


@dataclass(frozen=True)
class EnvEntry:
    """One row of the registry."""

    name: str
    constructor: str | Callable[..., ParallelEnv]
    """Builds one copy from keyword arguments, or from one dictionary as in RLlib."""

    vector: str | Callable[..., VectorTeamEnv] | None = None
    """Builds the batched form: ``vector(num_envs, name=..., **config)``; None if there is none."""

    extra: str | None = None
    """Extra of this package that brings what the constructor imports."""

    summary: str = ""
    version: str = "1"
    """Of the rules: results under different versions are not comparable."""

    fixed: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Arguments that the name stands for and the user cannot change."""

    team_reward: TeamReward = "shared"
    """How the agents' rewards become the team's unless the user says otherwise."""

    actions: Literal["discrete", "continuous", "either", "unknown"] = "discrete"
    """``either``: an argument chooses."""

    state: Literal["env", "concatenated", "unknown"] = "env"
    """Whether the environment has a global state, or all observations in a row serve."""

    is_reproducible: bool = True
    """Whether a seed fixes everything random."""

    install: str | None = None
    """What to do where no extra can bring a package; ends the message of its absence."""

    @property
    def description(self) -> str:
        """Summary and what to install, for listings."""
        return f"{self.summary} (extra: {self.extra})" if self.extra else self.summary
