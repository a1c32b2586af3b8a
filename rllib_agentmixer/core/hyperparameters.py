"""Every setting that AgentMixer adds to RLlib's PPO: default, meaning, unit, source, range.

The RLlib configuration, the command line and the networks are all fed from here, so a
number stands in one place. Sources: [paper] arXiv:2401.08728; [authors] the published
code's computation; [ours] a choice of this package, numbered in
``docs/algorithms/agentmixer.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, Literal, get_args

from rllib_agentmixer.errors import ConfigError

Igc = Literal["strict", "gumbel", "none"]
ParameterSharing = Literal["separate", "shared"]
Schedule = float | list[list[float]]
"""A constant, or RLlib's piecewise-linear ``[[env_steps, value], ...]``."""


@dataclass(frozen=True)
class Range:
    """The values that a setting may take, with the words that an error shows."""

    words: str
    holds: Callable[[Any], bool]

    def check(self, name: str, value: Any) -> None:
        """Raise ConfigError unless the value lies in the range."""
        try:
            good = self.holds(value)
        except (TypeError, ValueError, IndexError):
            good = False
        if not good:
            raise ConfigError(f"{name} must be {self.words}, got {value!r}")


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def number(low: int | float, high: int | float = math.inf, *, open_low: bool = False) -> Range:
    """A finite number in [low, high], or in (low, high] with ``open_low``."""
    words = f"a number {'above' if open_low else 'of at least'} {low:g}"
    if high < math.inf:
        words = f"a number in {'(' if open_low else '['}{low:g}, {high:g}]"
    return Range(
        words,
        lambda v: _is_number(v) and (v > low if open_low else v >= low) and v <= high,
    )


def whole(low: int, high: int | float = math.inf) -> Range:
    """A whole number in [low, high]."""
    words = f"a whole number of at least {low}" if high == math.inf else f"one of {low}..{high:g}"
    return Range(
        words, lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high
    )


def one_of(*choices: Any) -> Range:
    """One of a few names."""
    return Range(f"one of {list(choices)}", lambda v: v in choices)


def optional(inner: Range) -> Range:
    """None, or a value of the inner range."""
    return Range(f"None or {inner.words}", lambda v: v is None or inner.holds(v))


def schedule(inner: Range) -> Range:
    """A value of the inner range, or ``[[env_steps, value], ...]`` with rising steps from 0."""

    def holds(value: Any) -> bool:
        if not isinstance(value, (list, tuple)):
            return inner.holds(value)
        steps = [step for step, _ in value]
        rising = all(a < b for a, b in pairwise(steps))
        return bool(value) and steps[0] == 0 and rising and all(inner.holds(v) for _, v in value)

    return Range(f"{inner.words}, or [[0, value], [env_steps, value], ...] of such", holds)


def _widths(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(w, int) and w > 0 for w in value)


def _groups(value: Any) -> bool:
    if value in get_args(ParameterSharing):
        return True
    if isinstance(value, str):
        return False
    members = sorted(agent for group in value for agent in group)
    return members == list(range(len(members))) and len(members) > 0


boolean = Range("True or False", lambda v: isinstance(v, bool))


def _setting(default: Any, allowed: Range) -> Any:
    return field(default=default, metadata={"range": allowed})


@dataclass(frozen=True, kw_only=True)
class AgentMixerHyperparameters:
    """What AgentMixer adds to RLlib's own PPO settings."""

    igc: Igc = _setting("strict", one_of("strict", "gumbel", "none"))
    """How dispersion and individual policies make the joint policy. ``strict`` keeps every
    mode exactly [ours 1]; ``gumbel`` is the published form; ``none`` is the ablation."""

    modifier_lr: Schedule = _setting(5e-5, schedule(number(0)))
    """Learning rate of the policy modifier [authors: 5e-5 on predator-prey]."""

    temperature: Schedule = _setting(1.0, schedule(number(0, open_low=True)))
    """tau > 0: joint logits are divided by it; discrete teams only [authors]."""

    dispersion_ceiling: float = _setting(
        0.95, Range("a number in (0, 1)", lambda v: _is_number(v) and 0 < v < 1)
    )
    """y in (0, 1): upper end of what the modifier puts out [paper: 0.95 discrete, 0.75
    continuous]."""

    dispersion_gain: float = _setting(1.0, number(0, open_low=True))
    """kappa > 0: slope of the squashing [paper: 1 discrete, 0.3 continuous]."""

    strict_bound: float = _setting(3.0, number(0, 20, open_low=True))
    """Largest |r| of the strict form: logit gaps shrink or grow by at most exp(r) [ours 1]."""

    min_std: float = _setting(1e-3, number(0, 1, open_low=True))
    """Floor of the joint standard deviation, in units of the normalised action."""

    hidden_size: int = _setting(64, whole(1))
    """H: width of every torso and of the GRU [paper]."""

    num_hidden_layers: int = _setting(1, whole(0, 8))
    """Hidden layers after the first [authors: 1; 2 on MA-MuJoCo]."""

    input_layer_norm: bool = _setting(True, boolean)
    """LayerNorm on observations and state [paper]; inputs of fewer than 4 features pass as
    they are [ours 9]."""

    use_gru: bool = _setting(False, boolean)
    """Whether individual policies and modifier carry a recurrent state."""

    parameter_sharing: Any = _setting(
        "separate", Range("'separate', 'shared', or lists of agent indices that cover all", _groups)
    )
    """Own parameters per agent, one set for all, or one per group such as [[0, 1], [2]]."""

    modifier_width: int = _setting(64, whole(1))
    """D: embedding width of one agent in the modifier [paper]."""

    num_mixer_blocks: int = _setting(1, whole(1, 16))
    """M: mixing rounds [authors: 1; paper: N x]."""

    agent_mixing_factor: int = _setting(4, whole(1, 256))
    """Hidden width of agent mixing as a multiple of N [ours 4; authors: 32 whatever N]."""

    channel_mixing_factor: int = _setting(4, whole(1, 16))
    """Hidden width of channel mixing as a multiple of D [paper]."""

    critic_hidden: tuple[int, ...] = _setting(
        (64, 64), Range("a list of positive whole numbers", _widths)
    )
    """Hidden widths of V(s)."""

    huber_delta: float = _setting(10.0, number(0, open_low=True))
    """Where the value loss turns linear, in normalised value units [authors]."""

    normalize_values: bool = _setting(True, boolean)
    """Whether the critic learns standardised targets (outputs preserved, PopArt) [ours 6]."""

    advantage_scale: str = _setting("standard", one_of("standard", "hysteretic", "robust"))
    """``standard``: zero mean, unit deviation [paper]. ``hysteretic``: negative ones weigh 0.3.
    ``robust``: median and inter-quartile range, clipped [ours 8]."""

    kl_stop: float | None = _setting(None, optional(number(0, open_low=True)))
    """Stop this iteration's epochs once mean KL(old || new) in nats exceeds it; None: never."""

    learner_threads: int | None = _setting(1, optional(whole(1)))
    """Torch threads of the process that learns; None leaves torch's own choice. At these
    widths one is fastest: two took 1.7 to 8 times as long on two busy cores."""

    sample_std_from_joint: bool = _setting(True, boolean)
    """Continuous teams: fit the individual policies' own std (used only when they sample at
    execution) to the joint policy's by matching moments [ours 7]."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            entry.metadata["range"].check(entry.name, getattr(self, entry.name))

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> AgentMixerHyperparameters:
        """Build from a dictionary; unknown names raise ConfigError with the nearest one."""
        from rllib_agentmixer.suggest import unknown_name

        known = [entry.name for entry in fields(cls)]
        for name in settings:
            if name not in known:
                raise ConfigError(unknown_name("AgentMixer setting", name, known))
        return cls(**settings)


INHERITED_RANGES: dict[str, Range] = {
    "lr": schedule(number(0)),
    "gamma": number(0, 1),
    "lambda_": number(0, 1),
    "clip_param": number(0, 1, open_low=True),
    "vf_clip_param": number(0, open_low=True),
    "vf_loss_coeff": number(0),
    "entropy_coeff": schedule(number(0)),
    "grad_clip": optional(number(0, open_low=True)),
    "kl_coeff": number(0),
    "kl_target": number(0, open_low=True),
    "num_epochs": whole(1),
    "minibatch_size": optional(whole(1)),
    "train_batch_size": whole(1),
    "num_env_runners": whole(0),
    "num_envs_per_env_runner": whole(1),
}
"""Ranges of the settings that come from RLlib."""

INHERITED_DEFAULTS: dict[str, Any] = {
    "lr": 5e-4,
    "gamma": 0.99,
    "lambda_": 0.95,
    "clip_param": 0.2,
    "vf_clip_param": 0.2,
    "vf_loss_coeff": 1.0,
    "entropy_coeff": 0.01,
    "grad_clip": 10.0,
    "num_epochs": 15,
    "minibatch_size": None,
    "train_batch_size": 6400,
    "num_env_runners": 0,
    "num_envs_per_env_runner": 32,
}
"""Defaults of RLlib's settings that differ from RLlib's own [authors; sizes ours]."""


def setting_rows() -> list[tuple[str, Any, str]]:
    """Name, default and allowed values of every setting, for listings."""
    own = [
        (entry.name, entry.default, entry.metadata["range"].words)
        for entry in fields(AgentMixerHyperparameters)
    ]
    inherited = [
        (name, INHERITED_DEFAULTS.get(name, "RLlib's"), allowed.words)
        for name, allowed in INHERITED_RANGES.items()
    ]
    return own + inherited
