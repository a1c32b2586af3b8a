"""Building environments: names and import paths to ParallelEnvs and batched teams."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.envs.entry import EnvEntry
from rllib_agentmixer.envs.env_config import EnvConfig, at_index
from rllib_agentmixer.envs.registry import ENVS, nearest, resolve_env
from rllib_agentmixer.envs.signatures import parameters_of, separate_arguments, takes_config_dict
from rllib_agentmixer.envs.stepping.outcomes import CRASHES, explained
from rllib_agentmixer.envs.stepping.supersuit_wrappers import is_supersuit_error
from rllib_agentmixer.errors import ConfigError, EnvContractError, MissingExtraError

if TYPE_CHECKING:
    from pettingzoo import ParallelEnv

    from rllib_agentmixer.envs.registry import EnvLike
    from rllib_agentmixer.envs.vector_env import TeamReward, VectorTeamEnv

_RLLIB_ENV = "ray.rllib.env.multi_agent_env.MultiAgentEnv"  # by name: RLlib is not imported here
_INTERFACE = ("possible_agents", "observation_space", "action_space", "reset", "step")


def make_env(env: EnvLike, **config: Any) -> ParallelEnv:
    """A single environment as a PettingZoo ``ParallelEnv``.

    An AECEnv whose agents may act at once is converted, and so are RLlib's ``MultiAgentEnv``
    and ``ParallelPettingZooEnv``.

    Args:
        env: registered name, import path ``module:function``, function, or class.
        config: arguments of its constructor.

    Raises:
        ConfigError: unknown environment or argument.
        MissingExtraError: a third-party package is not installed.
        EnvContractError: the constructor raised, or returned something else.
    """
    return build_env(env, EnvConfig(config))


def build_env(env: EnvLike, config: Mapping[str, Any]) -> ParallelEnv:
    """:func:`make_env` with the arguments as RLlib's ``EnvContext``, or as :class:`EnvConfig`."""
    entry = resolve_env(env)
    try:
        with explained(entry.name, "its constructor raised"):
            built = _call_constructor(entry, _load(entry.constructor), config)
    except ImportError as error:
        raise _import_failure(entry, error) from error
    except EnvContractError as error:
        cause = error.__cause__
        if cause is None or not is_supersuit_error(cause):
            raise
        raise EnvContractError(
            f"environment {entry.name!r}: a SuperSuit wrapper rejects it ({cause}); its wrappers "
            "take plain Box observations, so send action masks in infos and not in observations"
        ) from cause
    if _RLLIB_ENV in {f"{kind.__module__}.{kind.__name__}" for kind in type(built).__mro__}:
        built = _from_rllib(built)
    if hasattr(built, "agent_iter"):
        built = _in_parallel(entry, built)
    missing = [part for part in _INTERFACE if not hasattr(built, part)]
    if missing:
        raise EnvContractError(
            f"environment {entry.name!r}: the constructor must return a PettingZoo ParallelEnv, "
            f"got {type(built).__name__} (missing: {', '.join(missing)})"
        )
    return built


def _from_rllib(env: Any) -> Any:
    """A ``MultiAgentEnv`` converted; of RLlib's wrapper of a ParallelEnv, what it holds."""
    if hasattr(env, "par_env"):
        return env.par_env
    from rllib_agentmixer.envs.stepping.rllib_env import MultiAgentParallelEnv

    return MultiAgentParallelEnv(env)


def _in_parallel(entry: EnvEntry, env: Any) -> Any:
    """An AECEnv (agents act in turn) converted to a ParallelEnv (agents act at once)."""
    if not getattr(env, "metadata", {}).get("is_parallelizable", False):
        raise EnvContractError(
            f"environment {entry.name!r}: the AECEnv {type(env).__name__} does not say that its "
            "agents may act at once (metadata['is_parallelizable']); a team acts at once"
        )
    from pettingzoo.utils.conversions import aec_to_parallel

    return aec_to_parallel(env)


def make_vector_env(
    env: EnvLike,
    num_envs: int,
    *,
    config: Mapping[str, Any] | None = None,
    team_reward: TeamReward | None = None,
    restart_failed: bool = False,
    step_time_limit_s: float | None = None,
    agents: Sequence[str] | None = None,
) -> VectorTeamEnv:
    """A vectorized environment: B sub-environments as team arrays, stepped together.

    The environment's own batched form is used where there is one; else the sub-environments
    are stepped in a loop.

    Args:
        env: as in :func:`make_env`.
        num_envs: B.
        config: arguments of the environment's constructor.
        team_reward: how the agents' rewards are combined: ``"shared"`` (they must be equal),
            ``"sum"`` or ``"mean"``; None for the environment's default.
        restart_failed: replace a sub-environment that raises by a fresh one, instead of stopping.
        step_time_limit_s: time limit of a sub-environment's step or reset; None for no limit.
            Batched forms are not limited.
        agents: order of the team; None for that of ``possible_agents``. Row i of every array
            belongs to ``agents[i]``, in whatever order the environment lists its agents.

    Raises:
        EnvContractError: the environment has other agents.
    """
    if not isinstance(num_envs, int) or num_envs < 1:
        raise ConfigError(f"num_envs must be an integer of at least 1, got {num_envs!r}")
    entry, config = resolve_env(env), {} if config is None else config
    team_reward = team_reward or entry.team_reward
    batched = _batched_form(entry, num_envs, config, team_reward)
    if batched is not None:
        _check_agents(batched, agents)
        return batched
    from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv

    return LoopVectorEnv(
        lambda index: build_env(env, at_index(config, index)),
        num_envs,
        is_indexed=True,
        name=entry.name,
        team_reward=team_reward,
        restart_failed=restart_failed,
        version=entry.version,
        step_time_limit_s=step_time_limit_s,
        agents=agents,
    )


def listed_agents(env: EnvLike, config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Agents in the order in which an instance in this process lists them.

    The order of a set differs from process to process; a driver asks once and tells its workers.

    Args:
        env: as in :func:`make_env`; an instance is built and closed.
        config: arguments of its constructor.

    Returns:
        None where there is a batched form, which names its agents in one order.
    """
    entry = resolve_env(env)
    if entry.vector is not None:
        return None
    from rllib_agentmixer.envs.stepping.team_spaces import agents_of

    built = build_env(env, at_index(config, 0))
    try:
        return tuple(str(agent) for agent in agents_of(built, entry.name))
    finally:
        with contextlib.suppress(*CRASHES):
            built.close()


def package_of(env: EnvLike) -> str:
    """Package of an environment's constructor, which is imported."""
    constructor = _load(resolve_env(env).constructor)
    return str(getattr(constructor, "__module__", "")).partition(".")[0]


def _check_agents(vector_env: VectorTeamEnv, agents: Sequence[str] | None) -> None:
    """Batched forms name their agents themselves, in one order."""
    spec = vector_env.spec
    if agents is not None and tuple(agents) != spec.agents:
        raise EnvContractError(
            f"environment {spec.name!r} has the agents {list(spec.agents)}, but the team's are "
            f"{list(agents)}; use the environment that the team was trained in"
        )


def _batched_form(
    entry: EnvEntry, num_envs: int, config: Mapping[str, Any], team_reward: TeamReward
) -> VectorTeamEnv | None:
    """The environment's own batched form, unless it does not support ``team_reward``."""
    if entry.vector is None:
        return None
    try:
        vector, how = _load(entry.vector), {}
        if "team_reward" in {parameter.name for parameter in parameters_of(vector) or ()}:
            how = {"team_reward": team_reward, "version": entry.version}
        elif team_reward != entry.team_reward:
            return None
        constructor = _load(entry.constructor)
        if not takes_config_dict(constructor, config):
            _check_arguments(entry, constructor, config)
        return vector(num_envs, name=entry.name, **how, **config, **entry.fixed)
    except ImportError as error:
        raise _import_failure(entry, error) from error


def _import_failure(entry: EnvEntry, error: ImportError) -> Exception:
    """Error for a failed import, with installation instructions."""
    if entry.install is not None:
        return MissingExtraError(
            f"environment {entry.name!r} needs a package that is not installed ({error}); "
            f"{entry.install}"
        )
    if entry.extra is not None:
        return MissingExtraError(
            f"environment {entry.name!r} needs a package that is not installed ({error}); "
            f"run: pip install rllib_agentmixer[{entry.extra}]"
        )
    if isinstance(entry.constructor, str) and error.name is not None:
        module = entry.constructor.partition(":")[0]
        if f"{module}.".startswith(f"{error.name}."):
            return ConfigError(
                f"environment {entry.constructor!r}: there is no module {error.name!r}; "
                "install it or correct the path"
            )
    return error


def _call_constructor(
    entry: EnvEntry, constructor: Callable[..., Any], config: Mapping[str, Any]
) -> Any:
    if takes_config_dict(constructor, config):
        return constructor(config, **separate_arguments(constructor, config))
    _check_arguments(entry, constructor, config)
    try:
        return constructor(**config, **entry.fixed)
    except TypeError as error:  # from a constructor that passes its arguments on
        unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unexpected is None or unexpected[1] not in config:
            raise
        raise ConfigError(
            f"environment {entry.name!r} has no argument {unexpected[1]!r} ({error})"
        ) from error


def _check_arguments(
    entry: EnvEntry, constructor: Callable[..., Any], config: Mapping[str, Any]
) -> None:
    for name in config:
        if name in entry.fixed:
            raise ConfigError(
                f"environment {entry.name!r} stands for {name}={entry.fixed[name]!r}, "
                f"got {name}={config[name]!r}; to choose it, use {_generic_name(entry)!r}"
            )
    parameters = parameters_of(constructor)
    if parameters is None:
        return
    rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [p for p in parameters if p.kind not in rest and p.name not in entry.fixed]
    passes_on = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = [p.name for p in named]
    for name in config:
        if name not in known and not passes_on:
            raise ConfigError(
                f"environment {entry.name!r} has no argument {name!r}{nearest(name, known)}; "
                f"its arguments: {', '.join(known) or 'none'}"
            )
    for parameter in named:
        if parameter.default is parameter.empty and parameter.name not in config:
            raise ConfigError(f"environment {entry.name!r} needs the argument {parameter.name!r}")


def _generic_name(entry: EnvEntry) -> str:
    """Name of the entry that leaves this one's fixed arguments open, if there is one."""
    same = [other for other in ENVS.values() if other.constructor == entry.constructor]
    return min(same, key=lambda other: len(other.fixed), default=entry).name


def _load(target: str | Callable[..., Any]) -> Callable[..., Any]:
    if callable(target):
        return target
    module_name, _, path = target.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            hint = nearest(part, dir(found))
            raise ConfigError(f"{target!r}: {module_name!r} has no {part!r}{hint}")
        found = getattr(found, part)
    return found
