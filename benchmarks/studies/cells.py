"""Cells of studies, and the studies made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.utils.suggest import unknown_name

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.team_config import TeamConfig

NOT_APPLICABLE = "-"
"""Value of a label that does not apply to a cell."""

DIAL = "dial"
"""Numeric label: the report plots final returns against it."""

REACHED_TOLERANCE = 0.01
"""Tolerance below the target."""

Labels = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Configuration that is run on several seeds.

    Attributes:
        study: name of the study.
        labels: coordinates in the study, which become columns of the table.
        algo: name in ``ALGORITHMS``.
        env: name of an environment.
        env_config: arguments of the environment.
        settings: settings of RLlib or this package, as ``key=value`` on the command line.
        steps: joint environment steps to train for.
        team_reward: how the agents' rewards are combined.
        target: return that the individual policies are to reach; None for none.
        num_evaluations: during training, at iteration boundaries; the last is at the end.
    """

    study: str
    labels: Labels
    algo: str
    env: str
    env_config: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    steps: int
    team_reward: str = "shared"
    target: float | None = None
    num_evaluations: int = 10

    @property
    def key(self) -> str:
        """Hash of everything that determines the outcome of a run, without names and target."""
        content = [
            self.algo,
            self.env,
            self.env_config,
            self.settings,
            self.steps,
            self.team_reward,
        ]
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def overrides(self) -> tuple[str, ...]:
        """Settings as ``key=value`` arguments of ``rllib-agentmixer train``."""
        env = {f"env.{name}": value for name, value in self.env_config.items()}
        settings = {"team_reward": self.team_reward, **env, **self.settings}
        return tuple(f"{name}={json.dumps(value)}" for name, value in settings.items())

    def config(self, seed: int) -> TeamConfig:
        """A validated configuration.

        Raises:
            ConfigError: an unknown name, or a value out of its range.
        """
        from rllib_agentmixer.commands.common import make_config

        return make_config(self.env, self.algo, seed, 0, self.overrides)

    def reaches_target(self, individual_return: float) -> bool:
        """True if a final return meets the target; False without one."""
        return self.target is not None and individual_return >= self.target - REACHED_TOLERANCE

    def __str__(self) -> str:
        return " ".join(value for value in self.labels.values() if value != NOT_APPLICABLE)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A comparison of cells.

    Attributes:
        name: on the command line, and of its files.
        question: subject of the comparison, in a sentence.
        make_cells: builds the grid.
        num_seeds: default number of runs per cell.
        panels: labels whose combinations are the panels of the figure.
        dial_names: environment -> axis name of the label ``dial``.
        references: known returns of a cell's environment by name, for dotted lines.
    """

    name: str
    question: str
    make_cells: Callable[[], list[Cell]]
    num_seeds: int
    panels: tuple[str, ...] = ()
    dial_names: dict[str, str] = field(default_factory=dict)
    references: Callable[[Cell], dict[str, float]] = lambda _: {}


def choose(cells: list[Cell], conditions: Iterable[str]) -> list[Cell]:
    """Cells whose labels meet all ``label=value`` conditions; values of one label are alternatives.

    Raises:
        ConfigError: unknown label or value, or no cell is left.
    """
    wanted: dict[str, set[str]] = {}
    for condition in conditions:
        label, separator, value = condition.partition("=")
        if not separator:
            raise ConfigError(f"conditions are written label=value, got {condition!r}")
        values = {cell.labels[label] for cell in cells if label in cell.labels}
        if not values:
            raise ConfigError(unknown_name("label", label, {x for c in cells for x in c.labels}))
        if value not in values:
            raise ConfigError(unknown_name(f"value of {label}", value, values))
        wanted.setdefault(label, set()).add(value)
    chosen = [
        cell
        for cell in cells
        if all(cell.labels.get(label) in values for label, values in wanted.items())
    ]
    if not chosen:
        raise ConfigError(f"no cell meets all of: {', '.join(conditions)}")
    return chosen
