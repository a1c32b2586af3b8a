"""Search spaces: those that ship, those in files, and the check that all of a space is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.errors import AgentMixerError, ConfigError
from rllib_agentmixer.runs.settings import apply_settings
from rllib_agentmixer.search.domains import LISTED, Range, parse_range

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.classic.config import ClassicConfig

Space = dict[str, Range]

SHIPPED = "shipped"

BRANCHES = {"env": "env_config", "model": "model"}
RENAMED = {"lambda_": "lambda"}
"""Attributes of RLlib's configuration that have another name in its dictionary."""

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
"""Settings that population based training may change in the middle of a trial: those that
leave weights, rows and environments as they are."""


def shipped_space(
    algorithm: str, *, fixed: Iterable[str] = (), perturbable_only: bool = False
) -> Space:
    """The space that comes with an algorithm, without settings that have a value already."""
    return {
        name: parse_range(name, text)
        for name, text in ALGORITHMS[algorithm].search_space.items()
        if name not in fixed and (name in PERTURBABLE or not perturbable_only)
    }


def read_space(
    words: Iterable[str],
    algorithm: str,
    *,
    fixed: Iterable[str] = (),
    perturbable_only: bool = False,
) -> Space:
    """The space that the command line names.

    Args:
        words: each ``key=range``, a YAML or JSON file of such pairs, or ``shipped``; later
            ones win. Nothing means ``shipped``.
        algorithm: whose space ships.
        fixed: settings that have one value; the shipped space leaves them out.
        perturbable_only: of the shipped space, take what population based training may change.

    Raises:
        ConfigError: neither a pair nor a file, an unreadable file, a range that is none.
    """
    space: Space = {}
    for word in list(words) or [SHIPPED]:
        if word == SHIPPED:
            space |= shipped_space(algorithm, fixed=fixed, perturbable_only=perturbable_only)
            continue
        name, separator, text = word.partition("=")
        if separator:
            space[name] = parse_range(name, text)
        else:
            space |= _read_file(Path(word))
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
    return {str(name): parse_range(str(name), text) for name, text in content.items()}


def check_space(config: ClassicConfig, space: Space, fixed: Mapping[str, Any]) -> None:
    """Refuse a space that holds what no trial could train with, before any trial starts.

    Args:
        config: what all trials share, not yet validated.
        space: what they differ in.
        fixed: settings that the user gave one value.

    Raises:
        ConfigError: a setting that is both fixed and searched, is unknown, or would be out of
            its range somewhere.
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
    """Refuse what cannot be changed in the middle of a trial.

    Raises:
        ConfigError: names the settings and what can be changed.
    """
    others = [name for name in space if name not in PERTURBABLE]
    grids = [name for name, found in space.items() if found.is_grid]
    if others or grids:
        raise ConfigError(
            f"--scheduler pbt changes settings of trials that are under way; "
            f"{', '.join(others or grids)} cannot be changed so. It takes "
            f"{', '.join(PERTURBABLE)}, and no grid_search"
        )


def config_path(name: str) -> tuple[str, ...]:
    """Where a setting lies in RLlib's dictionary of settings, which is what trials get."""
    branch, _, leaf = name.partition(".")
    if leaf:
        return BRANCHES[branch], leaf
    return (RENAMED.get(name, name),)


def param_space(config: ClassicConfig, space: Space) -> dict[str, Any]:
    """RLlib's dictionary of settings with Ray Tune's ranges in it."""
    settings: dict[str, Any] = dict(config.to_dict())
    for name, found in space.items():
        *branch, leaf = config_path(name)
        if branch:
            settings[branch[0]] = {**settings[branch[0]], leaf: found.to_tune()}
        else:
            settings[leaf] = found.to_tune()
    return settings


def stay_inside(settings: dict[str, Any], space: Space) -> dict[str, Any]:
    """Bring perturbed values back into their ranges: PBT multiplies by 0.8 or 1.2 blindly."""
    for name, found in space.items():
        (key,) = config_path(name)
        if found.word not in LISTED:
            low, high = found.extremes
            settings[key] = min(max(settings[key], low), high)
    return settings
