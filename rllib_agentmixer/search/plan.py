"""Plan of a search, saved beside its trials so that an interrupted search can resume."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rllib_agentmixer.errors import CheckpointError, ConfigError
from rllib_agentmixer.search.domains import Domain
from rllib_agentmixer.search.spaces import Space, check_perturbable
from rllib_agentmixer.utils.files import write_atomically
from rllib_agentmixer.utils.untrusted import read_json

PLAN = "search.json"
SCHEDULERS = ("asha", "pbt", "none")
SEARCHES = ("random", "optuna")
STEPS = "num_env_steps_sampled_lifetime"


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """Everything that determines the trials of a search and when they end.

    Attributes:
        env: name or ``module:function``.
        algorithm: algorithm whose hyperparameters are searched.
        space: searched hyperparameters.
        settings: ``key=value`` settings shared by all trials.
        samples: number of trials, or samples per grid point.
        scheduler: ``asha`` stops underperforming trials early, ``pbt`` makes them copy weights
            and settings of better ones, ``none`` trains each to completion.
        search: ``random`` samples independently, ``optuna`` from a model of past results.
        metric: result metric to maximize.
        steps: joint environment steps per trial.
        grace_steps: minimum steps before ``asha`` may stop a trial, and the perturbation
            interval of ``pbt``; None is a tenth of ``steps``.
        workers: remote rollout workers per trial.
        concurrent: maximum number of concurrent trials; None as many as the CPUs allow.
        seed: seed of the sampled settings and of the trials.
        max_failures: times that a failed trial is restarted from its last checkpoint.
        experiment: MLflow experiment.
        tracking_uri: MLflow tracking URI; None for the default.
        use_mlflow: False writes files only.
        tracking_optional: start even if the MLflow server is unavailable.
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
                f"--search optuna samples values itself and supports no grid_search "
                f"({', '.join(grids)}); use choice, or --search random"
            )
        if self.scheduler == "pbt":
            if self.search == "optuna":
                raise ConfigError("--scheduler pbt samples new values itself; use --search random")
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
        """Grace period of ASHA, or perturbation interval of PBT, in steps."""
        return self.grace_steps or max(1, self.steps // 10)

    def write(self, folder: Path) -> None:
        """Write ``search.json``.

        Raises:
            ConfigError: the folder is not writable.
        """
        content = asdict(self)  # domains become dictionaries of kind and arguments
        try:
            write_atomically(folder / PLAN, json.dumps(content, indent=1))
        except OSError as error:
            raise ConfigError(f"cannot write to {folder}: {error}; choose another --out") from error

    def check_unchanged(self, given: Mapping[str, Any]) -> None:
        """Reject options that a resumed search would ignore.

        Raises:
            ConfigError: an option differs from the plan.
        """
        for name, value in given.items():
            if value != getattr(self, name):
                raise ConfigError(
                    f"{name}={_shown(value)} differs from the plan's "
                    f"{_shown(getattr(self, name))}; a resumed search keeps its settings: "
                    "leave it out, or start another search"
                )


def _shown(value: Any) -> str:
    is_space = isinstance(value, dict) and any(isinstance(x, Domain) for x in value.values())
    return ", ".join(f"{k}={v}" for k, v in value.items()) if is_space else repr(value)


def read_plan(folder: Path) -> SearchPlan:
    """Plan of the search in a folder.

    Raises:
        CheckpointError: the folder has no search, or its plan is unreadable.
    """
    path = folder / PLAN
    try:
        content = read_json(path)
        domains = content.pop("space")
        content["space"] = {
            name: Domain(entry.get("kind") or entry["word"], tuple(entry["arguments"]))
            for name, entry in domains.items()
        }
        return SearchPlan(**content)
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} holds no search to resume ({PLAN} is missing); give the --out of a search"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); start another search") from error
