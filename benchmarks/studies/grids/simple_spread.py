"""Study of AgentMixer and its baselines on a third-party environment."""

from __future__ import annotations

from typing import Any

from benchmarks.studies.cells import Cell, Study

OWN: dict[str, dict[str, Any]] = {
    "agentmixer": {"modifier_lr": 5e-4},
    "mappo": {},
    "ippo": {},
}
SETTINGS: dict[str, Any] = {
    "lr": 5e-4,
    "num_envs_per_env_runner": 8,
    "train_batch_size": 1000,
    "num_epochs": 10,
    "parameter_sharing": "shared",
}
"""Shared parameters, as in the published MAPPO and IPPO results."""


def cells() -> list[Cell]:
    """One cell per algorithm; rewards as published, summed over the team."""
    return [
        Cell(
            study="simple_spread",
            labels={"algorithm": algorithm},
            algo=algorithm,
            env="simple_spread",
            env_config={"local_ratio": 0.5, "max_cycles": 25},
            team_reward="sum",
            settings={**SETTINGS, **own},
            steps=240_000,
        )
        for algorithm, own in OWN.items()
    ]


STUDIES = (
    Study(
        name="simple_spread",
        question="How do the algorithms compare on mpe2's simple_spread_v3 with equal settings?",
        make_cells=cells,
        num_seeds=3,
    ),
)
