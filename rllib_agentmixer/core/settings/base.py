"""Settings that every policy-gradient algorithm of a team shares.

The RLlib configuration, the command line and the networks are all fed from here, so a
number stands in one place. Sources: [paper] arXiv:2401.08728; [authors] the published
code's computation; [MAPPO] arXiv:2103.01955; [ours] a choice of this package, numbered in
``docs/algorithms/agentmixer.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from rllib_agentmixer.core.settings.ranges import (
    Range,
    boolean,
    groups,
    integer,
    number,
    one_of,
    optional,
    widths,
)
from rllib_agentmixer.errors import ConfigError

Settings = TypeVar("Settings", bound="TeamSettings")


Schedule = float | list[list[float]]
"""A constant, or RLlib's piecewise-linear ``[[env_steps, value], ...]``."""


def setting(default: Any, allowed: Range) -> Any:
    """Field of a settings class: its default and the values that it may take."""
    return field(default=default, metadata={"range": allowed})


@dataclass(frozen=True, kw_only=True)
class TeamSettings:
    """What every policy-gradient algorithm of a team adds to RLlib's PPO settings."""

    policy_modifier: ClassVar[Any] = "none"
    correlation: ClassVar[Any] = "state"
    sample_std_from_joint: ClassVar[bool] = False
    distillation_coeff: ClassVar[float] = 0.0
    individual_rewards: ClassVar[bool] = False

    learner: str = setting("ppo", one_of("ppo", "a2c"))
    """``ppo``: clipped ratio, several epochs. ``a2c``: log-probability times advantage, one
    pass over each batch [Mnih et al. 2016]."""

    ratio: str = setting("joint", one_of("joint", "agent"))
    """Whose probability is compared with what it was: the whole team's at once, or each
    agent's on its own [MAPPO]."""

    critic_input: str = setting("state", one_of("state", "obs"))
    """``state``: V(s) for the team. ``obs``: V_i(h_i), one per agent from its own history."""

    hidden_size: int = setting(64, integer(1))
    """H: width of every torso and of the GRU [paper]."""

    num_hidden_layers: int = setting(1, integer(0, 8))
    """Hidden layers after the first [authors: 1; 2 on MA-MuJoCo]."""

    input_layer_norm: bool = setting(True, boolean)
    """LayerNorm on observations and state [paper]; inputs of fewer than 4 features pass as
    they are [ours 9]."""

    use_gru: bool = setting(False, boolean)
    """Whether individual policies, the modifier and V_i(h_i) carry a recurrent state."""

    parameter_sharing: Any = setting("separate", groups)
    """Own parameters per agent, one set for all, or one per group such as [[0, 1], [2]]."""

    critic_hidden: tuple[int, ...] = setting((64, 64), widths)
    """Hidden widths of V(s)."""

    huber_delta: float = setting(10.0, number(0, open_low=True))
    """Where the value loss turns linear, in normalised value units [authors]."""

    normalize_values: bool = setting(True, boolean)
    """Whether the critic learns standardised targets (outputs preserved, PopArt) [ours 6]."""

    advantage_scale: str = setting("standard", one_of("standard", "hysteretic", "robust"))
    """``standard``: zero mean, unit deviation [paper]. ``hysteretic``: negative ones weigh 0.3.
    ``robust``: median and inter-quartile range, clipped [ours 8]."""

    bootstrap_truncated: bool = setting(True, boolean)
    """Whether a time limit is followed by the value of what would have come [ours 3]. False
    counts it as an end [authors]: right where agents see the limit coming, wrong where not."""

    kl_stop: float | None = setting(None, optional(number(0, open_low=True)))
    """Stop this iteration's epochs once mean KL(old || new) in nats exceeds it; None: never."""

    non_finite: str = setting("raise", one_of("raise", "skip", "warn"))
    """Where gradients are NaN or infinite no weight takes them in; ``raise`` then stops, ``warn``
    logs, ``skip`` only counts them (``skipped_steps``)."""

    learner_threads: int | None = setting(1, optional(integer(1)))
    """Torch threads of the process that learns; None leaves torch's own choice. At these
    widths one is fastest: two took 1.7 to 8 times as long on two busy cores."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            entry.metadata["range"].check(entry.name, getattr(self, entry.name))
        if self.critic_input == "obs" and self.ratio == "joint":
            raise ConfigError(
                "critic_input='obs' gives each agent an advantage of its own, and ratio='joint' "
                "needs one for the whole team; choose ratio='agent' or critic_input='state'"
            )

    @classmethod
    def from_mapping(cls: type[Settings], settings: Mapping[str, Any]) -> Settings:
        """Build from a dictionary; unknown names raise ConfigError with the nearest one."""
        from rllib_agentmixer.utils.suggest import unknown_name

        known = [entry.name for entry in fields(cls)]
        kind = f"{cls.__name__.removesuffix('Hyperparameters')} setting"
        for name in settings:
            if name not in known:
                raise ConfigError(unknown_name(kind, name, known))
        return cls(**settings)
