"""Benefits and costs of ``sample_async``, against synchronous workers.

    python benchmarks/asynchronous_sampling.py [--only time learning] [--seeds 0 1 2] [--json FILE]

* ``time``: seconds of a training iteration, synchronous and asynchronous workers interleaved in
  one run, with 1 and 2 remote workers. Absolute values depend on the machine; compare the ratios.
* ``learning``: joint environment steps until the individual policies of the tuned example of
  predator-prey reach its target, evaluated every 32 000 steps, with one remote worker.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PACKAGES = ("rllib_agentmixer", "ray", "torch", "numpy")
ENVIRONMENTS = ("predator_prey", "simple_spread")
BATCH = 3200
NUM_ENVS = 32
WARM_UP = 2


@dataclass(frozen=True)
class Mode:
    """Iteration times of one mode, in seconds.

    Attributes:
        iteration: median iteration time.
        learn: mean time of the update.
        wait: mean time waiting for samples.
    """

    iteration: float
    learn: float
    wait: float


@dataclass(frozen=True)
class Comparison:
    """Iteration times of both modes on one environment.

    Attributes:
        environment: name of the environment.
        workers: number of remote workers.
        synchronous: the driver waits for its workers.
        asynchronous: workers sample during the update.
    """

    environment: str
    workers: int
    synchronous: Mode
    asynchronous: Mode

    def __str__(self) -> str:
        modes = (self.synchronous, self.asynchronous)
        seconds = [f"{m.iteration:.3f} s (learn {m.learn:.3f}, wait {m.wait:.3f})" for m in modes]
        ratio = modes[0].iteration / modes[1].iteration
        return (
            f"{self.environment}, {self.workers} workers: {seconds[0]} synchronous, "
            f"{seconds[1]} asynchronous, ratio {ratio:.2f}"
        )


@dataclass(frozen=True)
class Learning:
    """Result of one run of the tuned example.

    Attributes:
        sample_async: True for asynchronous sampling.
        seed: seed of the run.
        reached: True if the target was reached.
        env_steps: joint environment steps until then.
        seconds: time of training and evaluation until then.
        individual_return: mean return of the individual policies at the end.
    """

    sample_async: bool
    seed: int
    reached: bool
    env_steps: int
    seconds: float
    individual_return: float

    def __str__(self) -> str:
        mode = "asynchronous" if self.sample_async else "synchronous"
        return (
            f"{mode:<12} seed {self.seed}: return {self.individual_return:.2f} after "
            f"{self.env_steps:,} steps, {self.seconds:.0f} s"
            + ("" if self.reached else " (target NOT reached)")
        )


def algorithm_for(environment: str, workers: int, *, sample_async: bool) -> Any:
    from rllib_agentmixer import AgentMixerConfig

    config = (
        AgentMixerConfig()
        .environment(environment)
        .env_runners(
            num_env_runners=workers,
            num_envs_per_env_runner=NUM_ENVS // workers,
            sample_async=sample_async,
        )
        .training(train_batch_size=BATCH)
        .debugging(seed=0, log_sys_usage=False)
    )
    return config.build_algo()


def compare(environment: str, workers: int, rounds: int) -> Comparison:
    """Both modes interleaved: an asynchronous iteration ends when its workers have sampled."""
    algorithms = [algorithm_for(environment, workers, sample_async=mode) for mode in (False, True)]
    seconds: list[list[float]] = [[], []]
    results: list[dict[str, Any]] = [{}, {}]
    for index in range(WARM_UP + rounds):
        for mode, algorithm in enumerate(algorithms):
            started = time.perf_counter()
            results[mode] = algorithm.train()
            if index >= WARM_UP:
                seconds[mode].append(time.perf_counter() - started)
    for algorithm in algorithms:
        algorithm.stop()
    timers = [result["timers"] for result in results]
    modes = [
        Mode(statistics.median(all_), t["learn_time_ms"] / 1000, t["sample_time_ms"] / 1000)
        for all_, t in zip(seconds, timers, strict=True)
    ]
    return Comparison(environment, workers, *modes)


def measure_learning(seeds: list[int]) -> list[Learning]:
    """Run the tuned example with one worker; seeds in the outer loop, so that noise is shared."""
    from rllib_agentmixer.runs.tuned import run_until
    from tuned_examples.agentmixer.predator_prey import config, stop

    target = "evaluation/individual/episode_return_mean"
    found = []
    for seed in seeds:
        for sample_async in (False, True):
            chosen = config.copy(copy_frozen=False)
            chosen.env_runners(num_env_runners=1, sample_async=sample_async)
            outcome = run_until(chosen, stop, seed)
            found.append(
                Learning(
                    sample_async,
                    seed,
                    outcome.is_reached,
                    outcome.env_steps,
                    outcome.seconds,
                    outcome.values.get(target, float("nan")),
                )
            )
            print(found[-1], flush=True)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and optionally write all numbers as JSON."""
    parser = argparse.ArgumentParser(description="Benefits and costs of sample_async.")
    parser.add_argument("--only", nargs="+", choices=("time", "learning"))
    parser.add_argument("--rounds", type=int, default=15, help="measured iterations")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    chosen = parser.parse_args(arguments)
    parts = chosen.only or ("time", "learning")
    from rllib_agentmixer.runs.local_ray import start_ray

    start_ray(4)
    report: dict[str, Any] = {
        "cpus": os.cpu_count(),
        "settings": {"train_batch_size": BATCH, "num_envs": NUM_ENVS, "rounds": chosen.rounds},
        "versions": {package: metadata.version(package) for package in PACKAGES},
    }
    if "time" in parts:
        report["time"] = []
        for environment in ENVIRONMENTS:
            for workers in (1, 2):
                report["time"].append(compare(environment, workers, chosen.rounds))
                print(report["time"][-1], flush=True)
    if "learning" in parts:
        report["learning"] = measure_learning(chosen.seeds)
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=1, default=asdict))
    return 0


if __name__ == "__main__":
    from rllib_agentmixer.runs.local_ray import keep_ray_private

    keep_ray_private()
    sys.exit(main())
