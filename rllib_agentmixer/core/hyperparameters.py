"""Every setting that this package adds to RLlib's PPO: default, meaning, unit, source, range.

The RLlib configuration, the command line and the networks are all fed from here, so a
number stands in one place. Algorithms are points in one small space: what all share is
:class:`TeamHyperparameters`, and a baseline differs by its defaults. Sources: [paper]
arXiv:2401.08728; [authors] the published code's computation; [MAPPO] arXiv:2103.01955;
[ours] a choice of this package, numbered in ``docs/algorithms/agentmixer.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeVar

from rllib_agentmixer.core.inherited import INHERITED_DEFAULTS, INHERITED_RANGES
from rllib_agentmixer.core.ranges import (
    Range,
    boolean,
    groups,
    number,
    one_of,
    open_unit,
    optional,
    order,
    schedule,
    whole,
    widths,
)
from rllib_agentmixer.errors import ConfigError

Settings = TypeVar("Settings", bound="TeamHyperparameters")
Igc = Literal["strict", "gumbel", "none"]
Correlation = Literal["state", "signal", "autoregressive"]
ModifierKind = Literal["mixer", "linear", "hypernetwork", "attention", "none"]
Schedule = float | list[list[float]]
"""A constant, or RLlib's piecewise-linear ``[[env_steps, value], ...]``."""


def _setting(default: Any, allowed: Range) -> Any:
    return field(default=default, metadata={"range": allowed})


@dataclass(frozen=True, kw_only=True)
class TeamHyperparameters:
    """What every policy-gradient algorithm of a team adds to RLlib's PPO settings."""

    policy_modifier: ClassVar[Any] = "none"
    correlation: ClassVar[Any] = "state"
    sample_std_from_joint: ClassVar[bool] = False
    distillation_coeff: ClassVar[float] = 0.0
    individual_rewards: ClassVar[bool] = False

    learner: str = _setting("ppo", one_of("ppo", "a2c"))
    """``ppo``: clipped ratio, several epochs. ``a2c``: log-probability times advantage, one
    pass over each batch [Mnih et al. 2016]."""

    ratio: str = _setting("joint", one_of("joint", "agent"))
    """Whose probability is compared with what it was: the whole team's at once, or each
    agent's on its own [MAPPO]."""

    critic_input: str = _setting("state", one_of("state", "obs"))
    """``state``: V(s) for the team. ``obs``: V_i(h_i), one per agent from its own history."""

    hidden_size: int = _setting(64, whole(1))
    """H: width of every torso and of the GRU [paper]."""

    num_hidden_layers: int = _setting(1, whole(0, 8))
    """Hidden layers after the first [authors: 1; 2 on MA-MuJoCo]."""

    input_layer_norm: bool = _setting(True, boolean)
    """LayerNorm on observations and state [paper]; inputs of fewer than 4 features pass as
    they are [ours 9]."""

    use_gru: bool = _setting(False, boolean)
    """Whether individual policies, the modifier and V_i(h_i) carry a recurrent state."""

    parameter_sharing: Any = _setting("separate", groups)
    """Own parameters per agent, one set for all, or one per group such as [[0, 1], [2]]."""

    critic_hidden: tuple[int, ...] = _setting((64, 64), widths)
    """Hidden widths of V(s)."""

    huber_delta: float = _setting(10.0, number(0, open_low=True))
    """Where the value loss turns linear, in normalised value units [authors]."""

    normalize_values: bool = _setting(True, boolean)
    """Whether the critic learns standardised targets (outputs preserved, PopArt) [ours 6]."""

    advantage_scale: str = _setting("standard", one_of("standard", "hysteretic", "robust"))
    """``standard``: zero mean, unit deviation [paper]. ``hysteretic``: negative ones weigh 0.3.
    ``robust``: median and inter-quartile range, clipped [ours 8]."""

    bootstrap_truncated: bool = _setting(True, boolean)
    """Whether a time limit is followed by the value of what would have come [ours 3]. False
    counts it as an end [authors]: right where agents see the limit coming, wrong where not."""

    kl_stop: float | None = _setting(None, optional(number(0, open_low=True)))
    """Stop this iteration's epochs once mean KL(old || new) in nats exceeds it; None: never."""

    non_finite: str = _setting("raise", one_of("raise", "skip", "warn"))
    """Where gradients are NaN or infinite no weight takes them in; ``raise`` then stops, ``warn``
    logs, ``skip`` only counts them (``skipped_steps``)."""

    learner_threads: int | None = _setting(1, optional(whole(1)))
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
        from rllib_agentmixer.suggest import unknown_name

        known = [entry.name for entry in fields(cls)]
        kind = f"{cls.__name__.removesuffix('Hyperparameters')} setting"
        for name in settings:
            if name not in known:
                raise ConfigError(unknown_name(kind, name, known))
        return cls(**settings)


@dataclass(frozen=True, kw_only=True)
class MAPPOHyperparameters(TeamHyperparameters):
    """No modifier, per-agent ratios, V(s)."""

    ratio: str = _setting("agent", one_of("joint", "agent"))
    """Each agent's own clipped ratio [MAPPO]; ``joint`` compares the team's probability."""


@dataclass(frozen=True, kw_only=True)
class IPPOHyperparameters(MAPPOHyperparameters):
    """MAPPO whose critics see what their agents see."""

    critic_input: str = _setting("obs", one_of("state", "obs"))
    """V_i(h_i) [de Witt et al. 2020]; ``state`` is MAPPO."""

    individual_rewards: bool = _setting(False, boolean)  # type: ignore[misc]
    """Whether each agent learns from its own reward, until it leaves, instead of the team's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.individual_rewards and self.critic_input != "obs":
            raise ConfigError(
                "individual_rewards=True needs one value per agent: critic_input='obs', got "
                f"{self.critic_input!r}"
            )


@dataclass(frozen=True, kw_only=True)
class AgentMixerHyperparameters(TeamHyperparameters):
    """The policy modifier, and how it makes the joint policy."""

    igc: Igc = _setting("strict", one_of("strict", "gumbel", "none"))
    """How dispersion and individual policies make the joint policy. ``strict`` keeps every
    mode exactly [ours 1]; ``gumbel`` is the published form; ``none`` is the ablation."""

    distillation_coeff: float = _setting(0.0, number(0))  # type: ignore[misc]
    """Weight of KL(joint || individual) in the loss: the individual policies imitate a joint
    policy that is tied to nothing. Only with ``igc="none"``; the paper argues against it."""

    correlation: Correlation = _setting(  # type: ignore[misc]
        "state", one_of("state", "signal", "autoregressive")
    )
    """What agents' joint actions share beyond their policies: the ``state`` [paper]; a random
    ``signal`` too; or ``autoregressive``: the actions of the agents before them [ours 11]."""

    signal_size: int = _setting(4, whole(1, 256))
    """Z: numbers in the random signal of one environment step."""

    agent_order: Any = _setting(None, order)
    """Who acts after whom in the autoregressive form: None is 0..N-1, ``random`` draws anew
    at every step."""

    policy_modifier: ModifierKind = _setting(  # type: ignore[misc]
        "mixer", one_of("mixer", "linear", "hypernetwork", "attention", "none")
    )
    """How agents are mixed: the MLP ``mixer`` [paper], its ablations, or ``none``: the joint
    policy is the product of the individual ones."""

    modifier_lr: Schedule = _setting(5e-5, schedule(number(0)))
    """Learning rate of the policy modifier [authors: 5e-5 on predator-prey]."""

    temperature: Schedule = _setting(1.0, schedule(number(0, open_low=True)))
    """tau > 0: joint logits are divided by it; discrete teams only [authors]."""

    dispersion_ceiling: float = _setting(0.95, open_unit)
    """y in (0, 1): upper end of what the modifier puts out [paper: 0.95 discrete, 0.75
    continuous]."""

    dispersion_gain: float = _setting(1.0, number(0, open_low=True))
    """kappa > 0: slope of the squashing [paper: 1 discrete, 0.3 continuous]."""

    strict_bound: float = _setting(3.0, number(0, 20, open_low=True))
    """Largest |r| of the strict form: logit gaps shrink or grow by at most exp(r) [ours 1]."""

    min_std: float = _setting(1e-3, number(0, 1, open_low=True))
    """Floor of the joint standard deviation, in units of the normalised action."""

    modifier_width: int = _setting(64, whole(1))
    """D: embedding width of one agent in the modifier [paper]."""

    num_mixer_blocks: int = _setting(1, whole(1, 16))
    """M: mixing rounds [authors: 1; paper: N x]."""

    agent_mixing_factor: int = _setting(4, whole(1, 256))
    """Hidden width of agent mixing as a multiple of N [ours 4; authors: 32 whatever N]."""

    agent_mixing_limit: int = _setting(64, whole(1, 4096))
    """Largest hidden width of agent mixing: with a multiple of N alone, cost would grow with the
    square of N [ours 4]."""

    channel_mixing_factor: int = _setting(4, whole(1, 16))
    """Hidden width of channel mixing as a multiple of D [paper]."""

    sample_std_from_joint: bool = _setting(True, boolean)  # type: ignore[misc]
    """Continuous teams: fit the individual policies' own std (used only when they sample at
    execution) to the joint policy's by matching moments [ours 7]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        has_modifier = self.policy_modifier != "none"
        if not has_modifier and self.igc == "none":
            raise ConfigError(
                "policy_modifier='none' with igc='none' leaves nothing that makes the joint "
                "policy; choose igc='strict'"
            )
        if not has_modifier and self.correlation != "state":
            raise ConfigError(
                f"correlation={self.correlation!r} is the policy modifier's work; it cannot be "
                "had with policy_modifier='none'"
            )
        if self.agent_order is not None and self.correlation != "autoregressive":
            raise ConfigError(
                f"agent_order={self.agent_order!r} has a meaning only with "
                f"correlation='autoregressive', got correlation={self.correlation!r}"
            )
        if self.distillation_coeff and self.igc != "none":
            raise ConfigError(
                f"distillation_coeff={self.distillation_coeff!r} needs igc='none' (with "
                f"igc={self.igc!r} modes are tied already)"
            )


HYPERPARAMETERS: dict[str, type[TeamHyperparameters]] = {
    "agentmixer": AgentMixerHyperparameters,
    "mappo": MAPPOHyperparameters,
    "ippo": IPPOHyperparameters,
}
"""Algorithm -> its settings."""


def setting_rows(algorithm: str = "agentmixer") -> list[tuple[str, Any, str]]:
    """Name, default and allowed values of every setting of an algorithm, for listings.

    Raises:
        ConfigError: no such algorithm.
    """
    one_of(*HYPERPARAMETERS).check("algorithm", algorithm)
    own = [
        (entry.name, entry.default, entry.metadata["range"].words)
        for entry in fields(HYPERPARAMETERS[algorithm])
    ]
    inherited = [
        (name, INHERITED_DEFAULTS.get(name, "RLlib's"), allowed.words)
        for name, allowed in INHERITED_RANGES.items()
    ]
    return own + inherited
