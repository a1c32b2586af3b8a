"""Grid on asymmetric learning failure: imitation of a better-informed teacher."""

from __future__ import annotations

from typing import Any

from benchmarks.studies.cells import Cell, Study
from benchmarks.studies.grids.shared import PREDATOR_PREY

FORMS: dict[str, dict[str, Any]] = {
    "strict": {"igc": "strict"},
    "gumbel": {"igc": "gumbel"},
    "none": {"igc": "none"},
    "distillation": {"igc": "none", "distillation_coeff": 1.0},
}
VISIBILITIES = (0, 0.5, 1)
VIEW_RADII = (0, 1, 2, 4)

FEW = 2
"""Evaluations of a run: only final returns are plotted against the dial."""

BRIDGE: dict[str, Any] = {
    "lr": 1e-3,
    "num_envs_per_env_runner": 128,
    "train_batch_size": 1280,
    "num_epochs": 5,
}


def cells() -> list[Cell]:
    """Every form of consistency at every degree of observability."""
    bridge = [_bridge(form, dial) for form in FORMS for dial in VISIBILITIES]
    return bridge + [_predator_prey(form, dial) for form in FORMS for dial in VIEW_RADII]


def _bridge(form: str, visibility: float) -> Cell:
    return Cell(
        study="asymmetric_failure",
        labels={"environment": "bridge", "form": form, "dial": f"{visibility:g}"},
        algo="agentmixer",
        env="bridge",
        env_config={"visibility": visibility},
        settings={**BRIDGE, "modifier_lr": 1e-3, **FORMS[form]},
        steps=96_000,
        num_evaluations=FEW,
    )


def _predator_prey(form: str, view_radius: int) -> Cell:
    return Cell(
        study="asymmetric_failure",
        labels={"environment": "predator_prey", "form": form, "dial": str(view_radius)},
        algo="agentmixer",
        env="predator_prey",
        env_config={"penalty": 0, "view_radius": view_radius},
        settings={**PREDATOR_PREY, "modifier_lr": 1e-3, **FORMS[form]},
        steps=96_000,
        num_evaluations=FEW,
    )


def closed_forms(cell: Cell) -> dict[str, float]:
    """Known returns of the bridge; predator-prey has no closed form."""
    if cell.env != "bridge":
        return {}
    from rllib_agentmixer.envs.games.bridge import Bridge

    bridge = Bridge(**cell.env_config)
    return {
        "omniscient": bridge.optimum,
        "best individual": bridge.individual_optimum,
        "distilled optimum": bridge.distilled_return,
    }


STUDIES = (
    Study(
        name="asymmetric_failure",
        question=(
            "The less the agents see of what the joint policy sees, the less can be imitated: "
            "what do the individual policies earn with both forms of consistency, without, and "
            "with distillation instead? The dial is `visibility` on the bridge and "
            "`view_radius` on predator-prey."
        ),
        make_cells=cells,
        num_seeds=5,
        panels=("environment",),
        references=closed_forms,
        dial_names={"bridge": "visibility", "predator_prey": "view_radius"},
    ),
)
