"""Grid on recurrent policies in a task that requires memory."""

from __future__ import annotations

from typing import Any

from benchmarks.studies.cells import Cell, Study

SETTINGS: dict[str, Any] = {
    "lr": 1e-3,
    "modifier_lr": 1e-3,
    "num_envs_per_env_runner": 64,
    "train_batch_size": 3200,
    "num_epochs": 10,
}


def cells() -> list[Cell]:
    """AgentMixer with and without a GRU."""
    return [
        Cell(
            study="memory",
            labels={"use_gru": str(use_gru)},
            algo="agentmixer",
            env="memory_game",
            settings={**SETTINGS, "use_gru": use_gru},
            steps=160_000,
            target=0.95,
        )
        for use_gru in (True, False)
    ]


STUDIES = (
    Study(
        name="memory",
        question=(
            "Do individual policies with a GRU answer with a cue that only their first "
            "observation showed? Without memory the best return is 1/4."
        ),
        make_cells=cells,
        num_seeds=5,
    ),
)
