"""CPU time per joint step, against the bare environment and RLlib's own PPO.

For each environment, with 32 sub-environments and 15 epochs:

* ``bare``: the vectorized environment stepped with fixed actions;
* ``sample``: this package's worker, one forward pass of AgentMixer for all sub-environments;
* ``train``: whole training iterations of AgentMixer;
* ``stock_classic_sample``, ``stock_classic_train``: RLlib's PPO on the classic API stack, the
  team as one flattened gymnasium environment, its default network at the same widths;
* ``stock_new_sample``, ``stock_new_train``: the same on RLlib's new API stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.speed.algorithms import Setup, quiet_ray, sampling, training
from benchmarks.speed.bare import vector_env_work
from benchmarks.speed.case import Case
from benchmarks.speed.measure import Effort, Work, cpu_us_per_step
from benchmarks.speed.rows import Row

NUM_ENVS = 32
NUM_EPOCHS = 15
HIDDEN = 64
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "climbing": {"repeat": 25},
    "predator_prey": {},
    "bridge": {},
    "memory_game": {},
    "simple_spread": {},
}
"""Environment -> arguments."""


@dataclass(frozen=True)
class Sizes:
    """Extent of a measurement.

    Attributes:
        fragment: steps of each sub-environment in one round.
        rounds: rounds of which the median is reported.
    """

    fragment: int
    rounds: int

    @property
    def steps(self) -> int:
        return self.fragment * NUM_ENVS


def flat_team_env(name: str, env_context: Any = None) -> Any:
    """The team for RLlib's stock samplers: one environment with a flat Box observation."""
    from gymnasium.wrappers import FlattenObservation

    from rllib_agentmixer.envs import make_env
    from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
    from rllib_agentmixer.envs.team_gym import TeamGymEnv

    make_one = partial(make_env, name, **ENVIRONMENTS[name])
    # The cheaper of the two forms of a single environment, in favour of stock PPO.
    return FlattenObservation(TeamGymEnv(LoopVectorEnv(make_one, 1, name)))


def stock(name: str, sizes: Sizes, *, is_new_stack: bool) -> Any:
    """Configuration of RLlib's PPO with the same sizes, epochs and batch."""
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


def stock_works(algorithm: Any, sizes: Sizes, *, is_new_stack: bool) -> dict[str, Work]:
    """Timed functions of RLlib's PPO: sampling, and training iterations."""
    runner = algorithm.env_runner

    def sample_classic() -> int:
        steps = 0
        while steps < sizes.steps:
            steps += runner.sample().count
        runner.get_metrics()
        return steps

    def sample_new() -> int:
        episodes = runner.sample(num_timesteps=sizes.steps, random_actions=False)
        runner.get_metrics()
        return sum(len(episode) for episode in episodes)

    def train() -> int:
        before = _sampled(algorithm, is_new_stack)
        algorithm.train()
        return _sampled(algorithm, is_new_stack) - before

    return {"sample": sample_new if is_new_stack else sample_classic, "train": train}


def _sampled(algorithm: Any, is_new_stack: bool) -> int:
    if not is_new_stack:
        return int(algorithm._counters["num_env_steps_sampled"])
    return int(algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"), default=0))


def costs_of(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """CPU microseconds per joint step of each workload, one after the other."""
    return {name: cpu_us_per_step(work, rounds) for name, work in works.items()}


def measure(name: str, sizes: Sizes) -> Iterator[tuple[str, float]]:
    """All cases of one environment: name of the case, CPU microseconds per joint step."""
    bare = vector_env_work(name, ENVIRONMENTS[name], NUM_ENVS, sizes.fragment)
    yield "bare", cpu_us_per_step(bare, sizes.rounds)
    setup = Setup(
        algo="agentmixer",
        env=name,
        env_config=ENVIRONMENTS[name],
        fragment=sizes.fragment,
        epochs=NUM_EPOCHS,
        training={"hidden_size": HIDDEN},
    )
    algorithm = setup.build()
    works = {"sample": sampling(algorithm, sizes.steps), "train": training(algorithm)}
    yield from costs_of(works, sizes.rounds).items()
    algorithm.stop()
    for is_new_stack, prefix in ((False, "stock_classic"), (True, "stock_new")):
        algorithm = stock(name, sizes, is_new_stack=is_new_stack)
        works = stock_works(algorithm, sizes, is_new_stack=is_new_stack)
        for case, cost in costs_of(works, sizes.rounds).items():
            yield f"{prefix}_{case}", cost
        algorithm.stop()


def rows_of(name: str, effort: Effort) -> Iterator[Row]:
    """Costs of one environment, with their ratios."""
    sizes = Sizes(fragment=effort.pick(16, 64), rounds=effort.rounds)
    settings = {
        "env_config": ENVIRONMENTS[name],
        "num_envs": NUM_ENVS,
        "num_epochs": NUM_EPOCHS,
        "hidden": HIDDEN,
        "steps": sizes.steps,
    }
    costs: dict[str, float] = {}
    with quiet_ray():
        for case, cost in measure(name, sizes):
            costs[case] = cost
            details = {"x bare": cost / costs["bare"]}
            if case.startswith("stock"):
                details["x ours"] = cost / costs[case.rsplit("_", 1)[-1]]
            yield Row(
                labels={"environment": name, "what": case},
                value=cost,
                unit="us/step",
                details=details,
                settings=settings,
            )


def _part(name: str) -> Callable[[Effort], Iterator[Row]]:
    return partial(rows_of, name)


CASE = Case(
    name="throughput",
    title="Throughput against RLlib's own PPO",
    explanation=__doc__ or "",
    parts={name: _part(name) for name in ENVIRONMENTS},
)
