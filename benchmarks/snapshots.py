"""Regression check of results: weights after a few iterations, saved and compared.

    python -m benchmarks.snapshots save before.npz      # on the old code
    python -m benchmarks.snapshots compare before.npz   # on the new code

Every case trains a small team for a few iterations from a fixed seed. ``compare`` prints
whether weights are bit-equal, else their relative difference: the largest difference of any
weight, divided by the largest change of a weight in training. A change that only reorders
floating-point sums stays below 1e-3 here; its effect on learning has to be judged from learning
curves.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ITERATIONS = 4

CASES: dict[str, dict[str, Any]] = {
    "predator_prey": {},
    "predator_prey_gru": {"training": {"use_gru": True}},
    "predator_prey_minibatches": {"training": {"minibatch_size": 128}},
    "climbing": {"env": "climbing", "env_config": {"repeat": 25}},
    "climbing_gru": {
        "env": "climbing",
        "env_config": {"repeat": 25},
        "training": {"use_gru": True},
    },
    "gumbel": {"training": {"igc": "gumbel", "use_kl_loss": True}},
    "autoregressive": {"training": {"correlation": "autoregressive"}},
    "signal": {"training": {"correlation": "signal", "use_gru": True}},
    "continuous_game": {"env": "continuous_game"},
    "shared": {"training": {"parameter_sharing": "shared", "use_gru": True}},
    "mappo": {"algorithm": "mappo"},
    "ippo_gru": {"algorithm": "ippo", "training": {"use_gru": True}},
}


def train(case: dict[str, Any]) -> dict[str, np.ndarray]:
    """Weights before (``0/name``) and after (``1/name``) a few iterations."""
    from rllib_agentmixer.adapters.classic.algorithms import config_of

    algorithm: Any = (
        config_of(case.get("algorithm", "agentmixer"))
        .environment(case.get("env", "predator_prey"), env_config=case.get("env_config", {}))
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8)
        .training(
            **{"train_batch_size": 512, "num_epochs": 4, "lr": 5e-4, **case.get("training", {})}
        )
        .debugging(seed=0)
        .build_algo()
    )
    network = algorithm.team_policy.module

    def weights() -> dict[str, np.ndarray]:
        return {name: value.detach().numpy().copy() for name, value in network.named_parameters()}

    before = weights()
    for _ in range(ITERATIONS):
        algorithm.train()
    after = weights()
    algorithm.stop()
    return {f"0/{n}": x for n, x in before.items()} | {f"1/{n}": x for n, x in after.items()}


def relative_difference(old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> float:
    """Largest difference after training, over the largest change of a weight in training."""
    names = [name[2:] for name in old if name.startswith("0/")]
    moved = max(float(np.abs(old[f"1/{n}"] - old[f"0/{n}"]).max(initial=0)) for n in names)
    apart = max(float(np.abs(old[f"1/{n}"] - new[f"1/{n}"]).max(initial=0)) for n in names)
    return apart / moved


def run(names: list[str]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Train the given cases sequentially."""
    with _quiet_ray():
        for name in names:
            yield name, train(CASES[name])


@contextmanager
def _quiet_ray() -> Iterator[None]:
    import ray

    from rllib_agentmixer.runs.local_ray import start_ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    start_ray(0)
    try:
        yield
    finally:
        ray.shutdown()


def _save(file: Path, names: list[str]) -> None:
    arrays: dict[str, Any] = {
        f"{name}/{key}": x for name, found in run(names) for key, x in found.items()
    }
    with file.open("wb") as target:
        np.savez_compressed(target, **arrays)


def _compare(file: Path, names: list[str]) -> None:
    with np.load(file) as kept:
        known = {key: kept[key] for key in kept.files}
    for name, new in run(names):
        prefix = f"{name}/"
        old = {key.removeprefix(prefix): x for key, x in known.items() if key.startswith(prefix)}
        if not old:
            print(f"{name:<28} not in {file}", flush=True)
            continue
        is_equal = all(np.array_equal(old[key], new[key]) for key in old)
        shown = "bit-equal" if is_equal else f"differs by {relative_difference(old, new):.1e}"
        print(f"{name:<28} {shown}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Save or compare."""
    parser = argparse.ArgumentParser(
        description="Regression check of results by weights of small runs."
    )
    parser.add_argument("action", choices=["save", "compare"])
    parser.add_argument("file", type=Path, help="NumPy archive (.npz)")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    chosen = parser.parse_args(arguments)
    {"save": _save, "compare": _compare}[chosen.action](chosen.file, chosen.only)
    return 0


if __name__ == "__main__":
    from rllib_agentmixer.runs.local_ray import keep_ray_private

    keep_ray_private()
    sys.exit(main())
