"""The registry behind :data:`ENVS`: environments by name, built on demand.

Nothing third-party is imported before an environment is built: an entry names its
constructor as ``"module:callable"``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import ConfigError

if TYPE_CHECKING:
    from pettingzoo import ParallelEnv

    from rllib_agentmixer.envs.vector_env import VectorTeamEnv

    EnvLike = str | Callable[..., ParallelEnv]


@dataclass(frozen=True)
class EnvEntry:
    """What the package knows about a named environment."""

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


def _matrix_game(name: str, summary: str, **fixed: Any) -> EnvEntry:
    return EnvEntry(
        name=name,
        constructor="rllib_agentmixer.envs.matrix_game:MatrixGame",
        vector="rllib_agentmixer.envs.matrix_game:VectorMatrixGame",
        summary=summary,
        fixed=MappingProxyType(fixed),
    )


def _penalty_game(name: str, k: float) -> EnvEntry:
    return _matrix_game(name, f"penalty game with k = {k:g}", game="penalty", k=k)


_NATIVE = (
    _matrix_game("matrix_game", "any matrix game: game=, k=, num_agents=, repeat="),
    _matrix_game("climbing", "optimum 11 shadowed by a safer 7", game="climbing"),
    _matrix_game("penalty", "two optima of 10, miscoordination costs k", game="penalty"),
    _penalty_game("penalty_0", 0),
    _penalty_game("penalty_25", 25),
    _penalty_game("penalty_100", 100),
    _matrix_game("nonmonotonic", "optimum 8 among penalties", game="nonmonotonic"),
    _matrix_game("permutation", "N agents must all choose differently", game="permutation"),
    EnvEntry(
        name="predator_prey",
        constructor="rllib_agentmixer.envs.predator_prey:PredatorPrey",
        vector="rllib_agentmixer.envs.predator_prey_vector:VectorPredatorPrey",
        summary="two predators that do not see each other must meet at the prey",
    ),
    EnvEntry(
        name="continuous_game",
        constructor="rllib_agentmixer.envs.continuous_game:ContinuousGame",
        vector="rllib_agentmixer.envs.continuous_game:VectorContinuousGame",
        summary="continuous actions, own targets, a coupled reward with optimum 1",
    ),
    EnvEntry(
        name="bridge",
        constructor="rllib_agentmixer.envs.bridge:Bridge",
        vector="rllib_agentmixer.envs.bridge_vector:VectorBridge",
        summary="two agents cross a single-file bridge, the right of way is hidden: visibility=",
    ),
    EnvEntry(
        name="memory_game",
        constructor="rllib_agentmixer.envs.memory_game:MemoryGame",
        vector="rllib_agentmixer.envs.memory_game:VectorMemoryGame",
        summary="answer with a cue that was seen delay= steps ago; 1/K without memory",
    ),
    EnvEntry(
        name="simple_spread",
        constructor="rllib_agentmixer.envs.mpe:simple_spread",
        extra="mpe",
        summary="agents cover landmarks and avoid collisions (mpe2 simple_spread_v3)",
        version="3",
    ),
)

ENVS: dict[str, EnvEntry] = {entry.name: entry for entry in _NATIVE}
"""Environments by name; :func:`register_env` adds to it."""


def register_env(
    name: str,
    constructor: str | Callable[..., ParallelEnv],
    *,
    vector: str | Callable[..., VectorTeamEnv] | None = None,
    extra: str | None = None,
    summary: str = "",
    version: str = "1",
) -> None:
    """Make an environment known by name.

    Args:
        name: as given to ``.environment(name)`` and to the command line.
        constructor: builds a PettingZoo ``ParallelEnv`` from the entries of ``env_config`` as
            keyword arguments, or from the whole dictionary if it takes a single ``config``.
        vector: batched form, called as ``vector(num_envs, name=name, **env_config)``.
        extra: extra of this package that brings what the constructor imports.
        summary: one line for listings.
        version: of the rules; stamped into results.

    Raises:
        ConfigError: the name already belongs to another constructor.
    """
    if not isinstance(name, str) or not name or ":" in name:
        raise ConfigError(f"an environment's name must be text without ':', got {name!r}")
    if not callable(constructor) and not is_import_path(constructor):
        raise ConfigError(
            f"constructor of {name!r} must be callable or 'module:function', got {constructor!r}"
        )
    known = find_entry(name)
    if known is not None and (known.constructor != constructor or known.fixed):
        raise ConfigError(
            f"environment {name!r} is already registered with {known.constructor!r}; "
            "choose another name"
        )
    ENVS[name] = EnvEntry(name, constructor, vector, extra, summary, version)


def find_entry(name: str) -> EnvEntry | None:
    """Entry of a name, or None; ``penalty_<number>`` is understood for any number."""
    if name in ENVS:
        return ENVS[name]
    penalty = re.fullmatch(r"penalty_(\d+(?:\.\d+)?)", name)
    return _penalty_game(name, float(penalty[1])) if penalty else None


def resolve_env(env: EnvLike) -> EnvEntry:
    """Entry of a name, an import path ``module:function``, or a constructor.

    Raises:
        ConfigError: no such name or import path, or not a constructor.
    """
    if callable(env):
        name = getattr(env, "__name__", type(env).__name__)
        return EnvEntry(name=name, constructor=env, version="0")
    if not isinstance(env, str):
        raise ConfigError(
            "an environment must be a name, 'module:function', a function or a ParallelEnv "
            f"class, got {env!r}; pass the class or a function instead of an instance"
        )
    entry = find_entry(env)
    if entry is not None:
        return entry
    if is_import_path(env):
        return EnvEntry(name=env, constructor=env, version="0")
    raise ConfigError(
        f"unknown environment {env!r}{nearest(env, ENVS)}; known names: "
        f"{', '.join(sorted(ENVS))}; or give 'module:function' or a function"
    )


def is_import_path(text: Any) -> bool:
    """Whether this is text of the form ``module:function``."""
    return isinstance(text, str) and re.fullmatch(r"[\w.]+:[\w.]+", text) is not None


def nearest(name: str, known: Iterable[str]) -> str:
    """End of a message that proposes the known name closest to an unknown one, if any."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""
