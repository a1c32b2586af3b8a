"""Configurations from the command line, and teams from folders, for several commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.runs.checkpoints import find_checkpoint

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.classic.config import ClassicConfig
    from rllib_agentmixer.rollouts.team import Team


def draft_config(
    env: str, algo: str, seed: int, workers: int, settings: Mapping[str, Any]
) -> ClassicConfig:
    """A configuration from the command line, not yet validated."""
    from rllib_agentmixer.runs.settings import apply_settings

    name = import_algorithm(algo)
    from rllib_agentmixer.adapters.classic.algorithms import config_of

    config = config_of(name)
    config.environment(env)
    config.env_runners(num_env_runners=workers)
    config.evaluation(evaluation_interval=5)
    config.debugging(seed=seed)
    apply_settings(config, settings)
    return config


def check_config(config: ClassicConfig) -> ClassicConfig:
    """Check settings, spaces and arguments of the environment before any worker starts."""
    config.validate()
    config.env_creator().vector(config.env_config, 1).close()
    return config


def make_config(
    env: str, algo: str, seed: int, workers: int, settings: tuple[str, ...]
) -> ClassicConfig:
    """A checked configuration from the command line."""
    from rllib_agentmixer.runs.settings import parse_settings

    return check_config(draft_config(env, algo, seed, workers, parse_settings(settings)))


def next_command(*words: object, env: str | None = None, algo: str | None = None) -> str:
    """Suggested command that can be pasted into a shell as it stands.

    Args:
        words: of the command; quoted where needed.
        env: of the run; named in the command where a file may not choose it.
        algo: of the run; named where it is not one of the package's.
    """
    from rllib_agentmixer.envs.registry import find_entry

    if env is not None and find_entry(env) is None:
        words = (*words, "--env", env)
    if algo is not None and ":" in algo:
        words = (*words, "--algo", algo)
    return f"next: {shlex.join(map(str, words))}"


def import_algorithm(given: str) -> str:
    """Name of an algorithm, after importing the module in front of it, as in ``module:name``.

    Raises:
        ConfigError: the module cannot be imported, or registers no such algorithm.
    """
    from rllib_agentmixer.core.algorithms.registry import ALGORITHMS

    module, separator, name = given.rpartition(":")
    if separator:
        try:
            import_module(module)
        except ImportError as error:
            raise ConfigError(f"cannot import {module!r} of --algo {given}: {error}") from error
    return ALGORITHMS[name].name


def load_team(
    path: Path, *, best: bool = False, env: str | None = None, algo: str | None = None
) -> Team:
    """A team that plays, from a checkpoint or the folder of its run; nothing is unpickled."""
    from rllib_agentmixer.rollouts import saved_team

    if algo is not None:
        import_algorithm(algo)
    return saved_team.load_team(find_checkpoint(path, best=best), env)
