"""Runner of tuned examples: training until the targets are met or the step limit is reached.

A tuned example is a Python file with module-level ``config`` and ``stop``. The learning
tests import both, so that examples and tests remain consistent.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.tracking import flatten

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.classic.config import ClassicConfig

STEPS = "num_env_steps_sampled_lifetime"


@dataclass(frozen=True)
class Outcome:
    """Outcome of a tuned example.

    Attributes:
        seed: seed of the run.
        targets: metrics to reach, all in the same result.
        values: the metrics in the last result that contains all of them.
        env_steps: joint environment steps sampled.
        seconds: time of training and evaluation.
    """

    seed: int
    targets: dict[str, float]
    values: dict[str, float]
    env_steps: int
    seconds: float

    @property
    def is_reached(self) -> bool:
        return bool(self.values) and all(self.values[k] >= v for k, v in self.targets.items())

    def __str__(self) -> str:
        found = ", ".join(
            f"{name} = {self.values.get(name, float('nan')):.3f} (target {target:g})"
            for name, target in self.targets.items()
        )
        verdict = "reached" if self.is_reached else "NOT reached"
        return (
            f"seed {self.seed}: {verdict} after {self.env_steps:,} steps, "
            f"{self.seconds:.0f} s: {found}"
        )


def run_until(config: ClassicConfig, stop: dict[str, float], seed: int) -> Outcome:
    """Train with a copied configuration until ``stop``.

    Args:
        config: configuration, not frozen; its seed is replaced.
        stop: metrics with their targets, and ``num_env_steps_sampled_lifetime``.
        seed: seed of the run.

    Raises:
        ConfigError: ``stop`` lacks a metric or a step limit.
    """
    targets = {name: value for name, value in stop.items() if name != STEPS}
    if not targets or STEPS not in stop:
        raise ConfigError(f"stop must contain a metric and {STEPS!r}, got {list(stop)}")
    algorithm: Any = config.copy(copy_frozen=False).debugging(seed=seed).build_algo()
    started = time.monotonic()
    outcome = Outcome(seed, targets, {}, 0, 0.0)
    while not outcome.is_reached and algorithm.num_env_steps < stop[STEPS]:
        metrics = flatten(algorithm.train())
        found = {name: metrics[name] for name in targets if name in metrics}
        seconds = time.monotonic() - started
        values = found if len(found) == len(targets) else outcome.values
        outcome = Outcome(seed, targets, values, algorithm.num_env_steps, seconds)
    algorithm.stop()
    return outcome


def train(
    config: ClassicConfig, stop: dict[str, float], arguments: list[str] | None = None
) -> list[Outcome]:
    """Command line of a tuned example, with the flags of RLlib's examples."""
    parser = argparse.ArgumentParser(description="Run a tuned example.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--num-env-runners", type=int, help="remote rollout workers")
    parser.add_argument("--stop-reward", type=float, help="override the target")
    parser.add_argument(
        "--stop-timesteps", type=int, help="override the limit of environment steps"
    )
    parser.add_argument("--as-test", action="store_true", help="fail if the target is missed")
    chosen = parser.parse_args(arguments)
    from rllib_agentmixer.runs.local_ray import start_ray

    if chosen.num_env_runners is not None:
        config.env_runners(num_env_runners=chosen.num_env_runners)
    limits = dict(stop)
    if chosen.stop_timesteps is not None:
        limits[STEPS] = chosen.stop_timesteps
    if chosen.stop_reward is not None:
        limits |= {name: chosen.stop_reward for name in stop if name != STEPS}
    start_ray(config.num_env_runners or 0)
    outcomes = []
    for seed in chosen.seeds:
        outcomes.append(run_until(config, limits, seed))
        sys.stdout.write(f"{outcomes[-1]}\n")
    if chosen.as_test and not all(outcome.is_reached for outcome in outcomes):
        sys.exit(1)
    return outcomes
