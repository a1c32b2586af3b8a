"""Cost of a step of each environment: bare, as a team, and in training.

* ``bare``: a single ``ParallelEnv`` without wrappers; its actions are random and legal, and
  choosing them is not counted.
* ``team``: vectorized as in training: the environment's own batched form where there is one,
  else a loop over ``TeamEnv``; per joint step of one sub-environment.
* ``training``: AgentMixer in whole iterations, everything in ``algo.train()``.

``overhead`` is the overhead of ``TeamEnv`` on simple_spread, which includes its ``state()``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.speed.algorithms import Setup, built, training
from benchmarks.speed.case import Case
from benchmarks.speed.measure import MICROSECONDS, Effort, cpu_us_per_step
from benchmarks.speed.rows import Goal, Row

NUM_ENVS = 8
NUM_BATCHED = 32
FRAGMENT = 16
EPOCHS = 5
MOST_OVERHEAD_US = 30.0

FAMILIES: dict[str, tuple[str, ...]] = {
    "own": ("climbing", "predator_prey", "continuous_game", "bridge", "memory_game"),
    "skirmish": ("skirmish_3v3", "skirmish_5v5", "skirmish_10v10"),
    "mpe": ("simple_spread", "simple_reference", "simple_speaker_listener", "simple_tag"),
    "pettingzoo": ("multiwalker", "pursuit", "knights_archers_zombies"),
    "mamujoco": (
        "halfcheetah_2x3",
        "ant_4x2",
        "hopper_3x1",
        "walker2d_2x3",
        "humanoid_9_8",
        "many_segment_swimmer_10x2",
    ),
    "vmas": ("vmas_balance", "vmas_navigation", "vmas_transport", "vmas_give_way"),
    "others": ("lbf_8x8_2p_2f_coop", "rware_tiny_2ag", "coop_box_pushing"),
}
"""Part -> environments."""


def family_rows(family: str, effort: Effort) -> Iterator[Row]:
    """Three rows per environment of a family."""
    for name in FAMILIES[family]:
        yield from environment_rows(name, effort)


def environment_rows(name: str, effort: Effort) -> Iterator[Row]:
    """Costs of one environment: bare, as a team, in training."""
    from rllib_agentmixer.envs import find_entry, make_env, make_vector_env

    entry = find_entry(name)
    num_envs = NUM_BATCHED if entry is not None and entry.vector is not None else NUM_ENVS
    bare, team = stepping_costs(
        partial(make_env, name), partial(make_vector_env, name, num_envs), effort
    )
    yield _row(name, "bare", bare, {"num_envs": 1})
    yield _row(name, "team", team, {"num_envs": num_envs}, {"x bare": team / bare})
    setup = Setup(
        algo="agentmixer",
        env=name,
        team_reward=None,
        num_envs=num_envs,
        fragment=FRAGMENT,
        epochs=EPOCHS,
    )
    with built({"train": setup}) as algorithms:
        cost = cpu_us_per_step(training(algorithms["train"]), effort.pick(1, 3))
    details = {"x team": cost / team}
    yield _row(name, "training", cost, {"num_envs": num_envs, "epochs": EPOCHS}, details)


def stepping_costs(
    bare: Callable[[], Any], team: Callable[[], Any], effort: Effort
) -> tuple[float, float]:
    """Median CPU microseconds per step of one environment and of a team, interleaved."""
    from rllib_agentmixer.envs.checks.stepping_speed import bare_speed, team_speed

    num_steps = effort.pick(100, 300)
    clock = time.process_time
    alone, together = [], []
    for _ in range(effort.rounds):
        alone.append(MICROSECONDS / bare_speed(bare, num_steps, clock))
        together.append(MICROSECONDS / team_speed(team, num_steps, clock))
    return statistics.median(alone), statistics.median(together)


def overhead_rows(effort: Effort) -> Iterator[Row]:
    """Overhead of TeamEnv on a step of three agents."""
    from rllib_agentmixer.envs import make_env, make_vector_env

    bare, team = stepping_costs(
        partial(make_env, "simple_spread"),
        partial(make_vector_env, "simple_spread", NUM_ENVS),
        Effort(is_quick=False),
    )
    yield Row(
        labels={"environment": "simple_spread", "what": "added by TeamEnv"},
        value=team - bare,
        unit="us/step",
        goal=Goal(most=MOST_OVERHEAD_US),
        details={"bare us": bare, "team us": team},
        settings={"num_envs": NUM_ENVS, "agents": 3},
    )


def _row(
    name: str, what: str, cost: float, settings: dict, details: dict[str, float] | None = None
) -> Row:
    steps = {"steps/s": MICROSECONDS / cost}
    return Row(
        labels={"environment": name, "what": what},
        value=cost,
        unit="us/step",
        details=steps | (details or {}),
        settings=settings,
    )


CASE = Case(
    name="environments",
    title="All environments",
    explanation=__doc__ or "",
    parts={"overhead": overhead_rows} | {name: partial(family_rows, name) for name in FAMILIES},
)
