"""What several commands do: a configuration from words, an algorithm from a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.runs.checkpoints import find_checkpoint

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.classic.algorithm import TeamAlgorithm
    from rllib_agentmixer.adapters.team_config import TeamConfig


def draft_config(
    env: str, algo: str, seed: int, workers: int, settings: Mapping[str, Any]
) -> TeamConfig:
    """A configuration from the command line's words, not yet validated."""
    from rllib_agentmixer.adapters import ALGORITHMS
    from rllib_agentmixer.runs.settings import apply_settings
    from rllib_agentmixer.utils.suggest import unknown_name

    if algo not in ALGORITHMS:
        raise ConfigError(unknown_name("algorithm", algo, ALGORITHMS))
    config = ALGORITHMS[algo]()()
    config.environment(env)
    config.env_runners(num_env_runners=workers)
    config.evaluation(evaluation_interval=5)
    config.debugging(seed=seed)
    apply_settings(config, settings)
    return config


def check_config(config: TeamConfig) -> TeamConfig:
    """Check settings, spaces and arguments of the environment before any worker starts."""
    config.validate()
    config.env_creator().vector(config.env_config, 1).close()
    return config


def make_config(
    env: str, algo: str, seed: int, workers: int, settings: tuple[str, ...]
) -> TeamConfig:
    """A checked configuration from the command line's words."""
    from rllib_agentmixer.runs.settings import parse_settings

    return check_config(draft_config(env, algo, seed, workers, parse_settings(settings)))


def load_algorithm(place: Path, *, best: bool = False, env: str | None = None) -> TeamAlgorithm:
    """A team that plays, from a checkpoint or the folder of its run; nothing is unpickled."""
    from rllib_agentmixer.runs.local_ray import start_ray

    folder = find_checkpoint(place, best=best)
    from rllib_agentmixer.rollouts.saved_team import load_for_play

    start_ray(0)
    return load_for_play(folder, env)
