"""Grid on the learners: PPO and A2C."""

from __future__ import annotations

from typing import Any

from benchmarks.studies.cells import Cell, Study
from benchmarks.studies.grids.shared import ONE_STEP_GAME, PREDATOR_PREY

LEARNERS: dict[str, dict[str, Any]] = {
    "ppo": {"learner": "ppo"},
    "a2c": {
        "learner": "a2c",
        "lr": 1e-3,
        "train_batch_size": 320,
        "num_epochs": 1,
        "minibatch_size": None,
    },
}
"""Learner -> settings: A2C takes one pass over small batches."""


def cells() -> list[Cell]:
    """Both learners on a matrix game and on predator-prey."""
    return [_penalty_0(learner) for learner in LEARNERS] + [_predator_prey(n) for n in LEARNERS]


def _penalty_0(learner: str) -> Cell:
    settings = {**ONE_STEP_GAME, "modifier_lr": 1e-3, **LEARNERS[learner]}
    # One decision of every sub-environment is the whole batch.
    settings["num_envs_per_env_runner"] = settings["train_batch_size"]
    return Cell(
        study="learner",
        labels={"environment": "penalty_0", "learner": learner},
        algo="agentmixer",
        env="penalty_0",
        settings=settings,
        steps=76_800,
    )


def _predator_prey(learner: str) -> Cell:
    return Cell(
        study="learner",
        labels={"environment": "predator_prey", "learner": learner},
        algo="agentmixer",
        env="predator_prey",
        env_config={"penalty": 0},
        settings={**PREDATOR_PREY, "modifier_lr": 1e-3, **LEARNERS[learner]},
        steps=160_000,
    )


STUDIES = (
    Study(
        name="learner",
        question="How far do PPO's and A2C's learners come on the same number of steps?",
        make_cells=cells,
        num_seeds=3,
        panels=("environment",),
    ),
)
