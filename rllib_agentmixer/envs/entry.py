"""Registry entry of a named environment."""

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
    """Builds an environment from keyword arguments, or from one dictionary as in RLlib."""

    vector: str | Callable[..., VectorTeamEnv] | None = None
    """Builds the batched form: ``vector(num_envs, name=..., **config)``; None if there is none."""

    extra: str | None = None
    """Extra of this package that installs what the constructor imports."""

    summary: str = ""
    version: str = "1"
    """Version of the rules: results under different versions are not comparable."""

    fixed: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Arguments fixed by the name, which the user cannot change."""

    team_reward: TeamReward = "shared"
    """Default combination of the agents' rewards into the team reward."""

    actions: Literal["discrete", "continuous", "either", "unknown"] = "discrete"
    """``either``: an argument chooses."""

    state: Literal["env", "concatenated", "unknown"] = "env"
    """True if the environment has a global state; else the observations are concatenated."""

    is_reproducible: bool = True
    """True if a seed determines all randomness."""

    install: str | None = None
    """Installation instructions where no extra installs the package, for error messages."""

    @property
    def description(self) -> str:
        """Summary and extra, for listings."""
        return f"{self.summary} (extra: {self.extra})" if self.extra else self.summary
