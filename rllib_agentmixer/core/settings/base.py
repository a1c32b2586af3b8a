"""Settings that every algorithm of a team shares.

The RLlib configuration, the command line and the networks are all fed from here, so a
number is defined once. Sources: [paper] arXiv:2401.08728; [authors] the published
code's computation; [MAPPO] arXiv:2103.01955; [ours] a choice of this package, numbered in
``docs/algorithms/agentmixer.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from rllib_agentmixer.core.settings.ranges import (
    Range,
    boolean,
    groups,
    integer,
    one_of,
    optional,
    width,
)
from rllib_agentmixer.errors import ConfigError

MOST_THREADS = 256
"""PyTorch aborts the process when it cannot start as many threads as it is asked for."""

Settings = TypeVar("Settings", bound="CheckedSettings")

NonFinite = Literal["raise", "skip", "warn"]

Schedule = float | list[list[float]]
"""A constant, or RLlib's piecewise-linear ``[[env_steps, value], ...]``."""


def setting(default: Any, allowed: Range) -> Any:
    """Field of a settings class: its default and the values that it may take."""
    return field(default=default, metadata={"range": allowed})


def scheduled_value(schedule: Schedule, env_steps: int) -> float:
    """Value of a schedule after some sampled environment steps; its last one from there on."""
    if not isinstance(schedule, (list, tuple)):
        return float(schedule)
    import numpy as np  # not at the top: deployed policies read settings with PyTorch alone

    steps, values = zip(*schedule, strict=True)
    return float(np.interp(env_steps, steps, values))


@dataclass(frozen=True, kw_only=True)
class CheckedSettings:
    """Settings whose values are checked against the range of each field.

    Raises:
        ConfigError: names the setting, its value and the values that it may take.
    """

    def __post_init__(self) -> None:
        for entry in fields(self):
            if "range" in entry.metadata:  # an entry of a user may leave it out
                entry.metadata["range"].check(entry.name, getattr(self, entry.name))

    @classmethod
    def from_mapping(cls: type[Settings], settings: Mapping[str, Any]) -> Settings:
        """Build from a dictionary; unknown names raise ConfigError with the nearest one."""
        from rllib_agentmixer.utils.suggest import unknown_name

        known = cls.names()
        kind = f"{cls.__name__.removesuffix('Settings')} setting"
        for name in settings:
            if name not in known:
                raise ConfigError(unknown_name(kind, name, known))
        return cls(**settings)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of all settings."""
        return tuple(entry.name for entry in fields(cls))


@dataclass(frozen=True, kw_only=True)
class TeamSettings(CheckedSettings):
    """Settings of the individual policies, and of learning in general."""

    hidden_size: int = setting(64, width)
    """H: width of every torso and of the GRU [paper]."""

    num_hidden_layers: int = setting(1, integer(0, 8))
    """Hidden layers after the first [authors: 1; 2 on MA-MuJoCo]."""

    input_layer_norm: bool = setting(True, boolean)
    """LayerNorm on observations and state [paper]; inputs of fewer than 4 features pass as
    they are [ours 9]."""

    use_gru: bool = setting(False, boolean)
    """Whether the networks that read observations carry a recurrent state."""

    parameter_sharing: Any = setting("separate", groups)
    """Own parameters per agent, one set for all, or one per group such as [[0, 1], [2]]."""

    non_finite: NonFinite = setting("raise", one_of("raise", "skip", "warn"))
    """Handling of non-finite gradients, whose steps are always skipped: ``raise`` then stops,
    ``warn`` logs, ``skip`` only counts them (``skipped_steps``)."""

    learner_threads: int | None = setting(1, optional(integer(1, MOST_THREADS)))
    """Torch threads of the process that learns; None leaves PyTorch's default. At these
    widths one is fastest: two took 1.7 to 8 times as long on two busy cores."""
