"""Settings shared by several studies."""

from __future__ import annotations

from typing import Any

ONE_STEP_GAME: dict[str, Any] = {
    "lr": 1e-3,
    "num_envs_per_env_runner": 512,
    "train_batch_size": 512,
    "rollout_fragment_length": 1,
    "num_epochs": 5,
    "minibatch_size": None,
    "entropy_coeff": 0.01,
}
"""Games of one decision: a batch is one decision of every sub-environment."""

PREDATOR_PREY: dict[str, Any] = {
    "lr": 1e-3,
    "num_envs_per_env_runner": 64,
    "train_batch_size": 3200,
    "num_epochs": 5,
}
"""Predator-prey without penalty, where large steps are safe."""
