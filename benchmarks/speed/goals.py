"""Goals at the settings by which published packages are compared.

* ``training``: AgentMixer in whole iterations, everything in ``algo.train()``, start-up
  excluded: batches of 1000 joint steps in one minibatch, 15 epochs, default widths, without and
  with a GRU (sequences of 10 and 20 steps).
* ``mappo_simple_spread``: MAPPO at its benchmark setting, against the plain PettingZoo
  environment stepped with fixed random actions, and against the same behind ``TeamEnv``.
* ``agentmixer_over_mappo``: both with the same environment, epochs and batch.
* ``worker_overhead``: sampling with 32 sub-environments, minus the bare environment, minus one
  forward pass (``network.decide``) per step of all of them. Advantages, values and the
  learner's batch are part of the rest.
* ``native``: vectorized environments, against their own single-environment form stepped in a
  plain loop, and in ``LoopVectorEnv`` with its checks.
* ``device``: wall time of one gradient step on CUDA against the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from benchmarks.speed.algorithms import Setup, built, quiet_ray, sampling, training
from benchmarks.speed.bare import forward_work, parallel_env_work, vector_env_work
from benchmarks.speed.case import Case
from benchmarks.speed.measure import Effort, Work, interleaved
from benchmarks.speed.rows import Goal, Row

CLIMBING = {"repeat": 25}
SPREAD = {"local_ratio": 0.5, "max_cycles": 25}
BATCH_SHAPES = ((8, 125), (50, 20))
"""Sub-environments and steps of each: two combinations with 1000 joint steps."""

LONGEST_SEQUENCES = (None, 10, 20)
"""Networks without and with a GRU."""

MOST_TRAINING_US = 340.0
MOST_OVER_BARE = 2.0
MOST_OVER_MAPPO = 1.5
MOST_OVERHEAD_US = 20.0
LEAST_NATIVE_GAIN = {32: 5.0, 512: 20.0}
"""Sub-environments -> required speed-up of the vectorized form."""


def on_predator_prey(algo: str = "agentmixer") -> Setup:
    """Setup of the comparison on predator-prey."""
    return Setup(algo=algo, env="predator_prey", num_envs=8, fragment=125)


def on_climbing(algo: str = "agentmixer") -> Setup:
    """Setup of the comparison on the climbing game, 25 decisions per episode."""
    return replace(on_predator_prey(algo), env="climbing", env_config=CLIMBING)


def on_simple_spread(algo: str = "mappo") -> Setup:
    """``tuned_examples/mappo/simple_spread.py``: three agents, shared parameters, 2 x 64 units."""
    return Setup(
        algo=algo,
        env="simple_spread",
        env_config=SPREAD,
        team_reward="sum",
        num_envs=8,
        fragment=125,
        epochs=10,
        training={"parameter_sharing": "shared"},
    )


def whole_training(effort: Effort) -> Iterator[Row]:
    """Rows of AgentMixer's training iterations."""
    setups = [
        replace(
            setup,
            num_envs=num_envs,
            fragment=fragment,
            training={"use_gru": max_seq_len is not None},
            max_seq_len=max_seq_len,
        )
        for (num_envs, fragment), setup in product(
            BATCH_SHAPES, (on_predator_prey(), on_climbing())
        )
        for max_seq_len in LONGEST_SEQUENCES
    ]
    with quiet_ray():
        for setup in setups:
            yield _training_row(setup, effort)


def _training_row(setup: Setup, effort: Effort) -> Row:
    with built({"train": setup}) as algorithms:
        cost = interleaved({"train": training(algorithms["train"])}, effort.pick(2, 7))["train"]
    network = f"GRU, sequences of {setup.max_seq_len}" if setup.max_seq_len else "no GRU"
    what = f"training, {setup.num_envs} sub-environments x {setup.fragment} steps, {network}"
    return Row(
        labels={"environment": setup.env, "what": what},
        value=cost,
        unit="us/step",
        goal=Goal(most=MOST_TRAINING_US),
        settings=setup.settings(),
    )


def mappo_on_simple_spread(effort: Effort) -> Iterator[Row]:
    """Rows of MAPPO's training iterations against the bare environment."""
    setup = on_simple_spread()
    with built({"train": setup}) as algorithms:
        works: dict[str, Work] = {
            "train": training(algorithms["train"]),
            "sample": sampling(algorithms["train"], setup.batch),
            "bare": parallel_env_work("simple_spread", SPREAD, setup.batch),
            "TeamEnv": vector_env_work("simple_spread", SPREAD, 8, 125, team_reward="sum"),
        }
        costs = interleaved(works, effort.pick(2, 7))
    labels = {"environment": "simple_spread"}
    settings = setup.settings()
    for name, what in (
        ("bare", "plain PettingZoo environment"),
        ("TeamEnv", "the same, 8 sub-environments behind TeamEnv"),
        ("sample", "sampling, MAPPO"),
        ("train", "training, MAPPO"),
    ):
        yield Row(
            labels=labels | {"what": what},
            value=costs[name],
            unit="us/step",
            details={"x bare": costs[name] / costs["bare"]},
            settings=settings,
        )
    yield Row(
        labels=labels | {"what": "training, MAPPO / plain environment"},
        value=costs["train"] / costs["bare"],
        unit="x",
        goal=Goal(most=MOST_OVER_BARE),
        details={"x TeamEnv": costs["train"] / costs["TeamEnv"]},
        settings=settings,
    )


def agentmixer_over_mappo(effort: Effort) -> Iterator[Row]:
    """Training iterations of both, interleaved."""
    with quiet_ray():
        for make in (on_simple_spread, on_predator_prey, on_climbing):
            setups = {algo: make(algo) for algo in ("agentmixer", "mappo")}
            with built(setups) as algorithms:
                works = {algo: training(algorithm) for algo, algorithm in algorithms.items()}
                costs = interleaved(works, effort.pick(2, 7))
            yield Row(
                labels={"environment": setups["mappo"].env, "what": "training, AgentMixer / MAPPO"},
                value=costs["agentmixer"] / costs["mappo"],
                unit="x",
                goal=Goal(most=MOST_OVER_MAPPO),
                details={f"{algo}, us/step": cost for algo, cost in costs.items()},
                settings=setups["mappo"].settings(),
            )


def worker_overhead(effort: Effort) -> Iterator[Row]:
    """Overhead of the worker over the environment and one forward pass."""
    fragment, num_envs = effort.pick(16, 64), 32
    for env in ("predator_prey", "simple_spread"):
        setup = Setup(algo="agentmixer", env=env, fragment=fragment, num_envs=num_envs)
        with built({"sample": setup}) as algorithms:
            works: dict[str, Work] = {
                "sample": sampling(algorithms["sample"], setup.batch),
                "bare": vector_env_work(env, {}, num_envs, fragment),
                "forward": forward_work(algorithms["sample"], num_envs, fragment),
            }
            costs = interleaved(works, effort.pick(3, 9))
        yield Row(
            labels={
                "environment": env,
                "what": "overhead of the worker in sampling, 32 sub-environments",
            },
            value=costs["sample"] - costs["bare"] - costs["forward"],
            unit="us/step",
            goal=Goal(most=MOST_OVERHEAD_US),
            details={f"{name}, us/step": cost for name, cost in costs.items()},
            settings=setup.settings(),
        )


def native_environments(effort: Effort) -> Iterator[Row]:
    """Vectorized environments against a loop."""
    for num_envs, gain in LEAST_NATIVE_GAIN.items():
        fragment = effort.pick(1024, 8192) // num_envs
        works = {
            "arrays": vector_env_work("predator_prey", {}, num_envs, fragment * 8),
            "single environment": parallel_env_work("predator_prey", {}, 1024),
            "LoopVectorEnv": vector_env_work(
                "predator_prey", {}, num_envs, max(2, fragment // 8), is_native=False
            ),
        }
        costs = interleaved(works, effort.rounds)
        for kind in ("single environment", "LoopVectorEnv"):
            yield Row(
                labels={
                    "environment": "predator_prey",
                    "what": f"{kind} / arrays, {num_envs} sub-environments",
                },
                value=costs[kind] / costs["arrays"],
                unit="x",
                goal=Goal(least=gain),
                details={
                    "arrays, us/step": costs["arrays"],
                    "one by one, us/step": costs[kind],
                },
                settings={"num_envs": num_envs},
            )


def device(effort: Effort) -> Iterator[Row]:
    """One gradient step of AgentMixer on a GPU and on the CPU, wall time."""
    import torch

    labels = {"environment": "predator_prey", "what": "gradient step, CPU / CUDA"}
    setup = replace(on_predator_prey(), num_envs=64, fragment=100)
    if not torch.cuda.is_available():
        yield Row(
            labels=labels,
            value=None,
            unit="x",
            note="skipped: no CUDA device",
            settings=setup.settings(),
        )
        return
    with built({"learn": setup}) as algorithms:
        works = {name: _gradient_steps(algorithms["learn"], name) for name in ("cpu", "cuda")}
        costs = interleaved(works, effort.rounds, clock=time.perf_counter)
    yield Row(
        labels=labels,
        value=costs["cpu"] / costs["cuda"],
        unit="x",
        details={f"{name}, us/step": cost for name, cost in costs.items()},
        note=torch.cuda.get_device_name(),
        settings=setup.settings(),
    )


def _gradient_steps(algorithm: Any, device_name: str) -> Work:
    """Time five gradient steps on one batch; a step is one row in one gradient step."""
    from copy import deepcopy

    import torch

    from benchmarks.speed.bare import team_batch_of
    from rllib_agentmixer.core.learners.policy_gradient import PPOLearner

    policy = algorithm.team_policy
    batch = team_batch_of(algorithm).to(device_name)
    known = policy.learner
    module = deepcopy(policy.module).to(device_name)
    learner = PPOLearner(module, known.settings, known.rllib)
    weights = learner.coefficients

    def work() -> int:
        for _ in range(5):
            learner.step(batch, weights)
        if device_name == "cuda":
            torch.cuda.synchronize()
        return 5 * batch.valid.numel()

    return work


PARTS: dict[str, Callable[[Effort], Iterator[Row]]] = {
    "training": whole_training,
    "mappo_simple_spread": mappo_on_simple_spread,
    "agentmixer_over_mappo": agentmixer_over_mappo,
    "worker_overhead": worker_overhead,
    "native": native_environments,
    "device": device,
}

CASE = Case(
    name="goals",
    title="Goals at the settings of published comparisons",
    explanation=__doc__ or "",
    parts=PARTS,
)
