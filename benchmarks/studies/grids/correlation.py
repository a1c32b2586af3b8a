"""Grids on sources of correlation and advantage scales, by the equilibria that they find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.studies.cells import NOT_APPLICABLE, Cell, Study
from benchmarks.studies.grids.shared import ONE_STEP_GAME, PREDATOR_PREY

CORRELATIONS = ("state", "signal", "autoregressive")
BASELINES = ("mappo", "ippo")
ADVANTAGES = ("standard", "robust", "hysteretic")
OPTIMA = {"climbing": 11.0, "penalty_100": 10.0}

OWN: dict[str, Any] = {"igc": "gumbel", "dispersion_gain": 10.0, "modifier_lr": 1e-3}
"""AgentMixer's settings in all games: a modifier with a high gain and learning rate."""

SLOW: dict[str, Any] = {"dispersion_gain": 1.0, "modifier_lr": 5e-5}
"""The published gain, and rate on climbing: the modifier hardly changes in so few steps."""

CONTROLS: dict[str, dict[str, Any]] = {
    "agentmixer, gain 1": SLOW,
    "agentmixer, strict": {"igc": "strict"},
}
"""Ablations of the best cell, one setting each."""


TUNED: dict[str, Any] = {
    "num_envs_per_env_runner": 32,
    "train_batch_size": 6400,
    "advantage_scale": "hysteretic",
}
"""Settings of the tuned example on predator-prey with penalty 1; others are defaults."""


def matrix_games() -> list[Cell]:
    """Climbing and penalty 100: single-step games with a safe suboptimal equilibrium."""

    def cell(game: str, labels: dict[str, str], algo: str, settings: dict[str, Any]) -> Cell:
        return Cell(
            study="correlation",
            labels={"game": game, **labels},
            algo=algo,
            env=game,
            settings={**ONE_STEP_GAME, **settings},
            steps=76_800,
            target=OPTIMA[game],
        )

    cells = [made for game in OPTIMA for made in _grid(cell, game, OWN)]
    for game in OPTIMA:
        for name, changed in CONTROLS.items():
            settings = {**OWN, "correlation": "autoregressive", "advantage_scale": "robust"}
            labels = _labels(name, "autoregressive", "robust")
            cells.append(cell(game, labels, "agentmixer", settings | changed))
        published = {**OWN, **SLOW, "correlation": "state", "advantage_scale": "standard"}
        labels = _labels("agentmixer, gain 1", "state", "standard")
        cells.append(cell(game, labels, "agentmixer", published))
    return cells


def predator_prey() -> list[Cell]:
    """Predator-prey with penalty 1.5: the same coordination problem over many steps."""

    def cell(game: str, labels: dict[str, str], algo: str, settings: dict[str, Any]) -> Cell:
        return Cell(
            study="correlation_predator_prey",
            labels={"game": game, **labels},
            algo=algo,
            env="predator_prey",
            env_config={"penalty": -1.5},
            settings={**PREDATOR_PREY, "bootstrap_truncated": False, **settings},
            steps=128_000,
            num_evaluations=4,
            target=5.0,
        )

    longer = [_long("agentmixer", "state", {"igc": "strict"}), _long("mappo", NOT_APPLICABLE, {})]
    return [*_grid(cell, "predator_prey -1.5", OWN), *longer]


def _long(algo: str, correlation: str, settings: dict[str, Any]) -> Cell:
    """Settings of the tuned example with more steps, at this penalty."""
    labels = _labels(f"{algo}, tuned", correlation, "hysteretic")
    return Cell(
        study="correlation_predator_prey",
        labels={"game": "predator_prey -1.5", **labels},
        algo=algo,
        env="predator_prey",
        env_config={"penalty": -1.5},
        settings={**TUNED, **settings},
        steps=320_000,
        target=5.0,
        num_evaluations=5,
    )


def _grid(cell: Callable[..., Cell], game: str, own: dict[str, Any]) -> list[Cell]:
    """AgentMixer with every correlation form and the baselines, each with every scale."""
    cells = []
    for advantages in ADVANTAGES:
        scale = {"advantage_scale": advantages}
        for correlation in CORRELATIONS:
            labels = _labels("agentmixer", correlation, advantages)
            cells.append(
                cell(game, labels, "agentmixer", {**own, "correlation": correlation, **scale})
            )
        for baseline in BASELINES:
            labels = _labels(baseline, NOT_APPLICABLE, advantages)
            cells.append(cell(game, labels, baseline, scale))
    return cells


def _labels(algorithm: str, correlation: str, advantages: str) -> dict[str, str]:
    return {"algorithm": algorithm, "correlation": correlation, "advantages": advantages}


STUDIES = (
    Study(
        name="correlation",
        question=(
            "On matrix games whose optimum is shadowed by a safer equilibrium, which source of "
            "correlation and which scale of advantages finds the optimum?"
        ),
        make_cells=matrix_games,
        num_seeds=10,
        panels=("game", "advantages"),
    ),
    Study(
        name="correlation_predator_prey",
        question="The same comparison on predator-prey with a penalty of 1.5 for a lone approach.",
        make_cells=predator_prey,
        num_seeds=3,
        panels=("game", "advantages"),
    ),
)
