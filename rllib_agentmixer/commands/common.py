"""What several commands do: a configuration from words, an algorithm from a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.run_checkpoints import find_checkpoint

if TYPE_CHECKING:
    from rllib_agentmixer.algorithms.team_algorithm import TeamAlgorithm
    from rllib_agentmixer.algorithms.team_config import TeamConfig


def draft_config(
    env: str, algo: str, seed: int, workers: int, settings: Mapping[str, Any]
) -> TeamConfig:
    """A configuration from the command line's words, not yet validated."""
    from rllib_agentmixer.algorithms import ALGORITHMS
    from rllib_agentmixer.settings import apply_settings
    from rllib_agentmixer.suggest import unknown_name

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
    from rllib_agentmixer.settings import parse_settings

    return check_config(draft_config(env, algo, seed, workers, parse_settings(settings)))


def load_algorithm(place: Path, *, best: bool = False) -> TeamAlgorithm:
    """An algorithm from a checkpoint (or the folder of its run), with local workers only."""
    from rllib_agentmixer.local_ray import start_ray

    folder = find_checkpoint(place, best=best)
    from rllib_agentmixer.algorithms.team_algorithm import load_locally

    start_ray(0)
    algorithm: TeamAlgorithm = load_locally(folder)
    return algorithm
