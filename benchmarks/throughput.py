"""CPU time per joint environment step, against the bare environment and RLlib's own PPO.

    python benchmarks/throughput.py [--only NAME ...] [--quick] [--json FILE]

Every number is processor time of this process (one torch thread, no remote workers)
divided by joint steps, median of several rounds after a warm-up. Absolute values depend on
the machine; the ratios within one run are what to compare.

Cases, for each environment:

* ``bare``: the copies stepped as arrays with fixed actions, nothing else;
* ``sample``: this package's worker, B copies, one forward pass of AgentMixer for all;
* ``train``: whole training iterations of AgentMixer;
* ``stock_classic_sample``, ``stock_classic_train``: RLlib's PPO on the classic API stack, the
  team as one flattened gymnasium environment, its default network at the same widths;
* ``stock_new_sample``, ``stock_new_train``: the same on RLlib's new API stack.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np

NUM_ENVS = 32
NUM_EPOCHS = 15
HIDDEN = 64
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "climbing": {"env": "climbing", "config": {"repeat": 25}},
    "predator_prey": {"env": "predator_prey", "config": {}},
    "bridge": {"env": "bridge", "config": {}},
    "memory_game": {"env": "memory_game", "config": {}},
    "simple_spread": {"env": "simple_spread", "config": {}},
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        fragment: steps of each copy in one round.
        rounds: rounds whose median counts.
    """

    fragment: int
    rounds: int

    @property
    def steps(self) -> int:
        return self.fragment * NUM_ENVS


@dataclass(frozen=True)
class Row:
    """One result."""

    name: str
    cpu_us_per_step: float
    ratio_to_bare: float
    steps: int
    settings: dict[str, Any]
    versions: dict[str, str]


def cpu_us_per_step(work: Callable[[], int], rounds: int) -> float:
    """Median over rounds of CPU microseconds per step; ``work`` returns its number of steps."""
    work()
    costs = []
    for _ in range(rounds):
        started = time.process_time()
        steps = work()
        costs.append((time.process_time() - started) / steps * 1e6)
    return statistics.median(costs)


def bare(name: str, sizes: Sizes) -> Callable[[], int]:
    """Step the copies with fixed random actions."""
    from rllib_agentmixer.envs import make_vector_env

    chosen = ENVIRONMENTS[name]
    env = make_vector_env(chosen["env"], NUM_ENVS, config=chosen["config"])
    env.reset(0)
    actions = np.random.default_rng(0).integers(
        0, env.spec.num_actions, (sizes.fragment, NUM_ENVS, env.spec.num_agents)
    )

    def work() -> int:
        for joint in actions:
            env.step(joint)
        return sizes.steps

    return work


def agentmixer(name: str, sizes: Sizes) -> Any:
    """This package's algorithm, everything in this process."""
    from rllib_agentmixer import AgentMixerConfig

    chosen = ENVIRONMENTS[name]
    config = (
        AgentMixerConfig()
        .environment(chosen["env"], env_config=chosen["config"])
        .env_runners(num_env_runners=0, num_envs_per_env_runner=NUM_ENVS)
        .training(train_batch_size=sizes.steps, num_epochs=NUM_EPOCHS, hidden_size=HIDDEN)
        .debugging(seed=0)
    )
    return config.build_algo()


def flat_team_env(name: str, env_context: Any = None) -> Any:
    """The team as RLlib's stock samplers like it: one flat Box observation, one copy."""
    from gymnasium.wrappers import FlattenObservation

    from rllib_agentmixer.envs import make_env
    from rllib_agentmixer.envs.loop_vector_env import LoopVectorEnv
    from rllib_agentmixer.envs.team_gym import TeamGymEnv

    chosen = ENVIRONMENTS[name]
    one_copy = partial(make_env, chosen["env"], **chosen["config"])
    # Of the two ways to one copy this is the cheaper one: stock PPO gets the better deal.
    return FlattenObservation(TeamGymEnv(LoopVectorEnv(one_copy, 1, name)))


def stock(name: str, sizes: Sizes, *, is_new_stack: bool) -> Any:
    """RLlib's PPO with the same sizes, epochs and batch."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.tune.registry import register_env

    register_env(f"flat_{name}", partial(flat_team_env, name))
    network = {"fcnet_hiddens": [HIDDEN, HIDDEN], "fcnet_activation": "relu"}
    config = (
        PPOConfig()
        .api_stack(
            enable_rl_module_and_learner=is_new_stack,
            enable_env_runner_and_connector_v2=is_new_stack,
        )
        .environment(f"flat_{name}")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=NUM_ENVS)
        .training(train_batch_size=sizes.steps, minibatch_size=sizes.steps, num_epochs=NUM_EPOCHS)
        .debugging(seed=0)
    )
    if is_new_stack:
        config.rl_module(model_config=network)
    else:
        config.training(model=network)
    return config.build_algo()


def measure_algorithm(
    algorithm: Any, sizes: Sizes, *, is_new_stack: bool = False
) -> dict[str, float]:
    """CPU cost of sampling alone and of whole training iterations."""
    runner = algorithm.env_runner

    def sample() -> int:
        if not is_new_stack:
            steps = 0
            while steps < sizes.steps:
                steps += runner.sample().count
            runner.get_metrics()
            return steps
        episodes = runner.sample(num_timesteps=sizes.steps, random_actions=False)
        runner.get_metrics()
        return sum(len(episode) for episode in episodes)

    def train() -> int:
        before = _sampled(algorithm, is_new_stack)
        algorithm.train()
        return _sampled(algorithm, is_new_stack) - before

    costs = {
        "sample": cpu_us_per_step(sample, sizes.rounds),
        "train": cpu_us_per_step(train, sizes.rounds),
    }
    algorithm.stop()
    return costs


def _sampled(algorithm: Any, is_new_stack: bool) -> int:
    if not is_new_stack:
        return int(algorithm._counters["num_env_steps_sampled"])
    return int(algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"), default=0))


def measure(name: str, sizes: Sizes) -> dict[str, float]:
    """All cases of one environment: name of the case -> CPU microseconds per joint step."""
    costs = {"bare": cpu_us_per_step(bare(name, sizes), sizes.rounds)}
    costs |= measure_algorithm(agentmixer(name, sizes), sizes)
    for is_new_stack, prefix in ((False, "stock_classic"), (True, "stock_new")):
        algorithm = stock(name, sizes, is_new_stack=is_new_stack)
        found = measure_algorithm(algorithm, sizes, is_new_stack=is_new_stack)
        costs |= {f"{prefix}_{case}": cost for case, cost in found.items()}
    return costs


def rows_of(name: str, costs: dict[str, float], sizes: Sizes) -> list[Row]:
    """Results with ratios, settings and versions."""
    versions = {
        package: metadata.version(package)
        for package in ("rllib_agentmixer", "ray", "torch", "numpy", "pettingzoo")
    }
    settings = {
        "environment": name,
        "env_config": ENVIRONMENTS[name]["config"],
        "num_envs": NUM_ENVS,
        "num_epochs": NUM_EPOCHS,
        "hidden": HIDDEN,
        "torch_threads": 1,
    }
    return [
        Row(f"{name}/{case}", cost, cost / costs["bare"], sizes.steps, settings, versions)
        for case, cost in costs.items()
    ]


def print_table(name: str, costs: dict[str, float]) -> None:
    """Costs and the ratios that matter."""
    print(f"\n{name} (B={NUM_ENVS}, {NUM_EPOCHS} epochs)")
    for case, cost in costs.items():
        line = f"  {case:<22}{cost:>9.1f} us/step {cost / costs['bare']:>8.1f} x bare"
        kind = case.rsplit("_", 1)[-1]
        if case.startswith("stock"):
            line += f" {cost / costs[kind]:>7.1f} x ours"
        print(line, flush=True)


@contextmanager
def quiet_ray() -> Iterator[None]:
    """A private Ray without a word on the terminal."""
    import ray
    import torch

    from rllib_agentmixer.local_ray import start_ray

    torch.set_num_threads(1)
    for name in ("ray", "ray.rllib", "ray.rllib.algorithms.algorithm_config"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore", UserWarning)  # gymnasium, about names that RLlib reuses
    start_ray(0)
    try:
        yield
    finally:
        ray.shutdown()


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write rows as JSON if asked to."""
    parser = argparse.ArgumentParser(description="CPU time per joint environment step.")
    parser.add_argument("--only", nargs="+", choices=list(ENVIRONMENTS), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="fewer steps, noisier numbers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows to FILE")
    chosen = parser.parse_args(arguments)
    sizes = Sizes(fragment=16, rounds=2) if chosen.quick else Sizes(fragment=64, rounds=5)
    rows: list[Row] = []
    with quiet_ray():
        for name in chosen.only or ENVIRONMENTS:
            costs = measure(name, sizes)
            print_table(name, costs)
            rows += rows_of(name, costs, sizes)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0


if __name__ == "__main__":
    from rllib_agentmixer.local_ray import keep_ray_private

    keep_ray_private()
    sys.exit(main())
