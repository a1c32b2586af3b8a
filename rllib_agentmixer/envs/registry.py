"""The registry behind :data:`ENVS`: environments by name, built on demand.

Nothing third-party is imported before an environment is built: an entry names its
constructor as ``"module:callable"``.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.envs.catalogue import CATALOGUE, penalty_game
from rllib_agentmixer.envs.entry import EnvEntry
from rllib_agentmixer.errors import ConfigError

if TYPE_CHECKING:
    from pettingzoo import ParallelEnv

    from rllib_agentmixer.envs.vector_env import TeamReward, VectorTeamEnv

    EnvLike = str | Callable[..., ParallelEnv]


ENVS: dict[str, EnvEntry] = {entry.name: entry for entry in CATALOGUE}
"""Environments by name; :func:`register_env` adds to it."""


def register_env(
    name: str,
    constructor: str | Callable[..., ParallelEnv],
    *,
    vector: str | Callable[..., VectorTeamEnv] | None = None,
    extra: str | None = None,
    summary: str = "",
    version: str = "1",
    team_reward: TeamReward = "shared",
) -> None:
    """Register an environment under a name.

    Args:
        name: as given to ``.environment(name)`` and to the command line.
        constructor: builds a PettingZoo ``ParallelEnv`` from the entries of ``env_config`` as
            keyword arguments, or from the whole dictionary if it takes a single ``config``.
        vector: batched form, called as ``vector(num_envs, name=name, **env_config)``.
        extra: extra of this package that installs what the constructor imports.
        summary: one line for listings.
        version: of the rules; recorded in results.
        team_reward: default combination of the agents' rewards into the team reward.

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
    ENVS[name] = EnvEntry(
        name,
        constructor,
        vector,
        extra,
        summary,
        version,
        team_reward=team_reward,
        actions="unknown",
        state="unknown",
    )


def find_entry(name: str) -> EnvEntry | None:
    """Entry of a name, or None; ``penalty_<number>`` is accepted for any number."""
    if name in ENVS:
        return ENVS[name]
    penalty = re.fullmatch(r"penalty_(\d+(?:\.\d+)?)", name)
    return penalty_game(name, float(penalty[1])) if penalty else None


def resolve_env(env: EnvLike) -> EnvEntry:
    """Entry of a name, an import path, or a constructor.

    A path is ``module:function``, or a dotted module that has PettingZoo's ``parallel_env``.

    Raises:
        ConfigError: no such name or import path, or not a constructor.
    """
    if callable(env):
        name = getattr(env, "__name__", type(env).__name__)
        return _unlisted(name, env)
    if not isinstance(env, str):
        raise ConfigError(
            "an environment must be a name, 'module:function', a function or a ParallelEnv "
            f"class, got {env!r}; pass the class or a function instead of an instance"
        )
    entry = find_entry(env)
    if entry is not None:
        return entry
    if is_import_path(env):
        return _unlisted(env, env)
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", env):
        return _unlisted(env, f"{env}:parallel_env")  # a module, as PettingZoo names them
    raise ConfigError(
        f"unknown environment {env!r}{nearest(env, ENVS)}; known names: "
        f"{', '.join(sorted(ENVS))}; or give 'module:function', a PettingZoo module or a function"
    )


def env_name(env: EnvLike | None) -> str:
    """Name of an environment in stamps: as given, or ``module:name`` of a class or function.

    Functions without an import path, and partial ones, are told apart by what they hold.
    """
    if env is None or isinstance(env, str):
        return str(env)
    if isinstance(env, functools.partial):
        words = [env_name(env.func), *map(repr, env.args)]
        words += [f"{name}={value!r}" for name, value in env.keywords.items()]
        return f"partial({', '.join(words)})"
    module = getattr(env, "__module__", "custom")
    name = getattr(env, "__qualname__", type(env).__name__)
    code = getattr(env, "__code__", None)
    if code is None or "<" not in name:
        return f"{module}:{name}"
    digest = hashlib.sha256(repr(_contents(code, getattr(env, "__closure__", None))).encode())
    return f"{module}:{name}#{digest.hexdigest()[:8]}"


def _contents(code: Any, closure: Any) -> list[Any]:
    """Instructions, constants and plain enclosed values of a function, of any process."""
    held: list[Any] = [code.co_code, code.co_names]
    for constant in code.co_consts:
        is_code = hasattr(constant, "co_code")
        held.append(_contents(constant, None) if is_code else constant)
    for cell in closure or ():
        with contextlib.suppress(ValueError):  # a cell that is not filled yet
            if isinstance(cell.cell_contents, (bool, int, float, str, bytes, tuple, type(None))):
                held.append(cell.cell_contents)
    return held


def trusted_environment(recorded: str, named: str | None = None) -> str:
    """The environment to evaluate in, without letting a file choose which code runs.

    Args:
        recorded: training environment recorded in a checkpoint or an export.
        named: given by the user; used unchanged.

    Raises:
        ConfigError: the recorded one is not in the registry, and the user named none.
    """
    if named is not None:
        return named
    if find_entry(recorded) is not None:
        return recorded
    raise ConfigError(
        f"these policies were trained in {recorded!r}, which is not an environment of this "
        "package; playing them would import and call what the file names. If you know where "
        f"they come from, name it yourself: --env {recorded} (env={recorded!r} in Python)"
    )


def _unlisted(name: str, constructor: str | Callable[..., ParallelEnv]) -> EnvEntry:
    return EnvEntry(name, constructor, version="0", actions="unknown", state="unknown")


def is_import_path(text: Any) -> bool:
    """True if this is a string of the form ``module:function``."""
    return isinstance(text, str) and re.fullmatch(r"[\w.]+:[\w.]+", text) is not None


def nearest(name: str, known: Iterable[str]) -> str:
    """Message suffix that suggests the closest known name, if any."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""
