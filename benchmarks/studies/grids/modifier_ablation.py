"""Grid on kinds and sizes of policy modifiers."""

from __future__ import annotations

from typing import Any

from benchmarks.studies.cells import Cell, Study
from benchmarks.studies.grids.shared import ONE_STEP_GAME, PREDATOR_PREY

MODIFIERS: dict[str, dict[str, Any]] = {
    **{
        kind: {"policy_modifier": kind}
        for kind in ("mixer", "linear", "hypernetwork", "attention", "none")
    },
    **{
        f"mixer, {blocks} blocks": {"policy_modifier": "mixer", "num_mixer_blocks": blocks}
        for blocks in (2, 3, 4)
    },
    **{
        f"mixer, width {width}": {"policy_modifier": "mixer", "modifier_width": width}
        for width in (32, 128)
    },
}
"""Label -> settings; plain ``mixer`` has the defaults, 1 block of width 64."""


def cells() -> list[Cell]:
    """Every modifier on predator-prey and on the permutation game of four agents."""
    return [_predator_prey(name) for name in MODIFIERS] + [_permutation(n) for n in MODIFIERS]


def _predator_prey(modifier: str) -> Cell:
    own = {"modifier_lr": 1e-3, "advantage_scale": "standard"}
    return Cell(
        study="modifier_ablation",
        labels={"environment": "predator_prey", "modifier": modifier},
        algo="agentmixer",
        env="predator_prey",
        env_config={"penalty": 0},
        settings={**PREDATOR_PREY, **own, **MODIFIERS[modifier]},
        steps=96_000,
    )


def _permutation(modifier: str) -> Cell:
    own = {"igc": "strict", "modifier_lr": 1e-3}
    return Cell(
        study="modifier_ablation",
        labels={"environment": "permutation", "modifier": modifier},
        algo="agentmixer",
        env="permutation",
        env_config={"num_agents": 4},
        settings={**ONE_STEP_GAME, **own, **MODIFIERS[modifier]},
        steps=76_800,
        target=1.0,
    )


STUDIES = (
    Study(
        name="modifier_ablation",
        question=(
            "Does it matter what mixes the individual policies into the joint one: MLP-Mixer "
            "blocks, a linear map, a hypernetwork, attention, or nothing; and how large it is?"
        ),
        make_cells=cells,
        num_seeds=3,
        panels=("environment",),
    ),
)
