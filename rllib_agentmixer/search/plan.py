"""What a search is: written beside its trials, so that an interrupted one goes on as it began."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rllib_agentmixer.errors import CheckpointError, ConfigError
from rllib_agentmixer.search.domains import Range
from rllib_agentmixer.search.spaces import Space, check_perturbable
from rllib_agentmixer.utils.files import write_atomically

PLAN = "search.json"
SCHEDULERS = ("asha", "pbt", "none")
SEARCHES = ("random", "optuna")
STEPS = "num_env_steps_sampled_lifetime"


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """All that decides which trials there are and when they end.

    Attributes:
        env: name or ``module:function``.
        algorithm: whose hyperparameters are searched.
        space: what trials differ in.
        settings: what all trials share, as ``key=value``.
        samples: trials, or draws per point of a grid.
        scheduler: ``asha`` stops trials that lag behind, ``pbt`` lets them take over weights
            and settings of better ones, ``none`` trains each to its end.
        search: ``random`` draws independently, ``optuna`` by a model of the results so far.
        metric: in the trials' results; higher is better.
        steps: joint environment steps at which a trial ends.
        grace_steps: steps that every trial gets before ``asha`` may stop it, and between two
            looks of ``pbt``; None is a tenth of ``steps``.
        workers: remote rollout workers of a trial.
        concurrent: most trials at a time; None as many as there are processors for.
        seed: of the drawn settings and of the trials.
        max_failures: times that a trial is taken up again from its last checkpoint.
        experiment: in MLflow.
        tracking_uri: MLflow store; None for the default.
        use_mlflow: False writes files only.
        tracking_optional: begin even when the MLflow store does not answer.
    """

    env: str
    algorithm: str
    space: Space
    settings: dict[str, Any] = field(default_factory=dict)
    samples: int = 8
    scheduler: str = "asha"
    search: str = "random"
    metric: str
    steps: int
    grace_steps: int | None = None
    workers: int = 0
    concurrent: int | None = None
    seed: int = 0
    max_failures: int = 2
    experiment: str = "rllib_agentmixer"
    tracking_uri: str | None = None
    use_mlflow: bool = True
    tracking_optional: bool = False

    def __post_init__(self) -> None:
        for name, known in (("scheduler", SCHEDULERS), ("search", SEARCHES)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        grids = [name for name, found in self.space.items() if found.is_grid]
        if self.search == "optuna" and grids:
            raise ConfigError(
                f"--search optuna draws values itself and takes no grid_search "
                f"({', '.join(grids)}); use choice, or --search random"
            )
        if self.scheduler == "pbt":
            if self.search == "optuna":
                raise ConfigError("--scheduler pbt draws new values itself; use --search random")
            if self.samples < 2:
                raise ConfigError(
                    f"pbt needs a population: --samples 2 or more, got {self.samples}"
                )
            check_perturbable(self.space)
        if self.interval > self.steps:
            raise ConfigError(
                f"grace_steps must be at most steps ({self.steps}), got {self.grace_steps}"
            )

    @property
    def interval(self) -> int:
        """Steps of grace, or between two looks at the population."""
        return self.grace_steps or max(1, self.steps // 10)

    def write(self, folder: Path) -> None:
        """Write ``search.json``.

        Raises:
            ConfigError: the folder cannot be written.
        """
        content = asdict(self)  # ranges become dictionaries of word and arguments
        try:
            write_atomically(folder / PLAN, json.dumps(content, indent=1))
        except OSError as error:
            raise ConfigError(f"cannot write to {folder}: {error}; choose another --out") from error

    def check_unchanged(self, said: Mapping[str, Any]) -> None:
        """Refuse options that a resumed search would ignore.

        Raises:
            ConfigError: an option differs from what the search began with.
        """
        for name, value in said.items():
            if value != getattr(self, name):
                raise ConfigError(
                    f"{name}={_shown(value)} differs from the search's own "
                    f"{_shown(getattr(self, name))}; a resumed search keeps what it began with: "
                    "leave it out, or start another search"
                )


def _shown(value: Any) -> str:
    is_space = isinstance(value, dict) and any(isinstance(x, Range) for x in value.values())
    return ", ".join(f"{k}={v}" for k, v in value.items()) if is_space else repr(value)


def read_plan(folder: Path) -> SearchPlan:
    """The plan of the search in a folder.

    Raises:
        CheckpointError: there is no search in it, or its plan cannot be read.
    """
    path = folder / PLAN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        ranges = content.pop("space")
        content["space"] = {
            name: Range(entry["word"], tuple(entry["arguments"])) for name, entry in ranges.items()
        }
        return SearchPlan(**content)
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} holds no search to resume ({PLAN} is missing); give the --out of a search"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); start another search") from error
