"""Search spaces: default spaces of the algorithms, spaces in files, and their validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.errors import AgentMixerError, ConfigError
from rllib_agentmixer.runs.settings import apply_settings
from rllib_agentmixer.search.domains import LISTED, Domain, parse_domain

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.classic.config import ClassicConfig

Space = dict[str, Domain]

SHIPPED = "shipped"

BRANCHES = {"env": "env_config", "model": "model"}
RENAMED = {"lambda_": "lambda"}
"""Attributes of RLlib's configuration that have a different key in its dictionary."""

PERTURBABLE = (
    "lr",
    "modifier_lr",
    "entropy_coeff",
    "temperature",
    "clip_param",
    "vf_clip_param",
    "vf_loss_coeff",
    "gamma",
    "lambda_",
    "grad_clip",
    "num_epochs",
    "advantage_scale",
    "dispersion_gain",
)
"""Settings that population based training may change during a trial: those that affect
neither weight shapes, batch layout nor environments."""


def shipped_space(
    algorithm: str, *, fixed: Iterable[str] = (), perturbable_only: bool = False
) -> Space:
    """Default space of an algorithm, without settings that are already fixed."""
    return {
        name: parse_domain(name, text)
        for name, text in ALGORITHMS[algorithm].search_space.items()
        if name not in fixed and (name in PERTURBABLE or not perturbable_only)
    }


def read_space(
    specs: Iterable[str],
    algorithm: str,
    *,
    fixed: Iterable[str] = (),
    perturbable_only: bool = False,
) -> Space:
    """Search space given on the command line.

    Args:
        specs: each ``key=range``, a YAML or JSON file of such pairs, or ``shipped``; later
            ones take precedence. Empty means ``shipped``.
        algorithm: whose default space is used.
        fixed: settings with a fixed value; the default space omits them.
        perturbable_only: restrict the default space to what population based training may change.

    Raises:
        ConfigError: neither a pair nor a file, an unreadable file, or an invalid range.
    """
    space: Space = {}
    for spec in list(specs) or [SHIPPED]:
        if spec == SHIPPED:
            space |= shipped_space(algorithm, fixed=fixed, perturbable_only=perturbable_only)
            continue
        name, separator, text = spec.partition("=")
        if separator:
            space[name] = parse_domain(name, text)
        else:
            space |= _read_file(Path(spec))
    if not space:
        raise ConfigError(
            "the search space is empty; give --space key=range, such as "
            "--space 'lr=loguniform(1e-4, 1e-2)'"
        )
    return space


def _read_file(path: Path) -> Space:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"--space takes key=range, a file, or {SHIPPED!r}; {str(path)!r} is none of them"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the search space {path}: {error}") from error
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"{path} must map settings to ranges, got {content!r}")
    return {str(name): parse_domain(str(name), text) for name, text in content.items()}


def check_space(config: ClassicConfig, space: Space, fixed: Mapping[str, Any]) -> None:
    """Reject a space with values that no trial could train with, before any trial starts.

    Args:
        config: configuration shared by all trials, not yet validated.
        space: searched hyperparameters.
        fixed: settings that the user fixed.

    Raises:
        ConfigError: a setting is both fixed and searched, unknown, or out of its valid range.
    """
    for name, found in space.items():
        if name in fixed:
            raise ConfigError(
                f"{name} is both set ({name}={fixed[name]}) and searched ({found}); leave out one"
            )
        for value in found.extremes:
            trial = config.copy(copy_frozen=False)
            try:
                apply_settings(trial, {name: value})
                trial.validate()
                if name.startswith("env."):
                    trial.env_creator().vector(trial.env_config, 1).close()
            except AgentMixerError as error:
                raise ConfigError(f"search space {name}={found}: {error}") from error


def check_perturbable(space: Space) -> None:
    """Reject settings that cannot change during a trial.

    Raises:
        ConfigError: the message lists these settings and those that can change.
    """
    others = [name for name in space if name not in PERTURBABLE]
    grids = [name for name, found in space.items() if found.is_grid]
    if others or grids:
        raise ConfigError(
            f"--scheduler pbt changes settings of running trials; "
            f"{', '.join(others or grids)} cannot be changed during a trial. It supports "
            f"{', '.join(PERTURBABLE)}, and no grid_search"
        )


def config_path(name: str) -> tuple[str, ...]:
    """Keys of a setting in RLlib's configuration dictionary, which trials receive."""
    branch, _, leaf = name.partition(".")
    if leaf:
        return BRANCHES[branch], leaf
    return (RENAMED.get(name, name),)


def param_space(config: ClassicConfig, space: Space) -> dict[str, Any]:
    """RLlib's configuration dictionary with Ray Tune domains in it."""
    settings: dict[str, Any] = dict(config.to_dict())
    for name, found in space.items():
        *branch, leaf = config_path(name)
        if branch:
            settings[branch[0]] = {**settings[branch[0]], leaf: found.to_tune()}
        else:
            settings[leaf] = found.to_tune()
    return settings


def stay_inside(settings: dict[str, Any], space: Space) -> dict[str, Any]:
    """Clip perturbed values to their domains: PBT multiplies by 0.8 or 1.2 unconditionally."""
    for name, found in space.items():
        (key,) = config_path(name)
        if found.kind not in LISTED:
            low, high = found.extremes
            settings[key] = min(max(settings[key], low), high)
    return settings
