"""Cost of the number of agents, from 4 to 64, for AgentMixer and MAPPO.

* ``permutation``: the matrix game in which N agents choose among N actions, so the work per
  agent grows with N as well; its payoff table, N^N numbers, is never built.
* ``fake_team``: a synthetic team with observations of size 32, a state of size 64 and 5 actions
  per agent, whose steps have a negligible cost.

Sampling is measured per joint step, learning per row and epoch, with 32 sub-environments and
separate parameters for each agent. The exponent e of the growth cost ~ N^e is the slope of log cost
against log N; 1 is linear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from benchmarks.speed.algorithms import Setup, built, learning, quiet_ray, sampling
from benchmarks.speed.case import Case
from benchmarks.speed.measure import Effort, Work, cpu_us_per_step, power_of_growth
from benchmarks.speed.rows import Goal, Row

NUM_AGENTS = (4, 8, 16, 32, 64)
ALGORITHMS = ("agentmixer", "mappo")
ENVIRONMENTS = ("permutation", "fake_team")
UNITS = {"sample": "us/step", "learn": "us/row/epoch"}
MOST_GROWTH = 1.0

Costs = Mapping[int, Mapping[str, float]]
"""Number of agents -> quantity -> microseconds."""


def setup_of(env: str, algo: str, num_agents: int, effort: Effort) -> Setup:
    """Setup of a team of a given size."""
    env_config: dict[str, Any] = {"num_agents": num_agents}
    if env == "permutation":
        env_config["repeat"] = 25
    return Setup(
        algo=algo,
        env=env,
        env_config=env_config,
        fragment=effort.pick(8, 16),
        epochs=effort.pick(2, 5),
    )


def measure(setup: Setup, rounds: int) -> dict[str, float]:
    """Measure sampling per joint step, and learning per row and epoch."""
    with built({"team": setup}) as algorithms:
        works: dict[str, Work] = {
            "sample": sampling(algorithms["team"], setup.batch),
            "learn": learning(algorithms["team"], setup.epochs),
        }
        return {name: cpu_us_per_step(work, rounds) for name, work in works.items()}


def rows_of(env: str, effort: Effort) -> Iterator[Row]:
    """All sizes of a team with both algorithms, then the growth of costs."""
    with quiet_ray():
        for algo in ALGORITHMS:
            costs: dict[int, dict[str, float]] = {}
            for num_agents in NUM_AGENTS:
                setup = setup_of(env, algo, num_agents, effort)
                costs[num_agents] = measure(setup, effort.pick(2, 5))
                yield from size_rows(setup, num_agents, costs[num_agents])
            yield from growth_rows(env, algo, costs)


def size_rows(setup: Setup, num_agents: int, costs: Mapping[str, float]) -> Iterator[Row]:
    """Costs of one size, for the team and per agent."""
    for what, cost in costs.items():
        yield Row(
            labels={
                "environment": setup.env,
                "algorithm": setup.algo,
                "what": what,
                "agents": str(num_agents),
            },
            value=cost,
            unit=UNITS[what],
            details={"for each agent": cost / num_agents},
            settings=setup.settings(),
        )


def growth_rows(env: str, algo: str, costs: Costs) -> Iterator[Row]:
    """Exponents of growth, and the ratio of costs of the largest and smallest team."""
    smallest, largest = min(costs), max(costs)
    for what in UNITS:
        found = [costs[num_agents][what] for num_agents in costs]
        yield Row(
            labels={
                "environment": env,
                "algorithm": algo,
                "what": what,
                "agents": f"growth {smallest} to {largest}",
            },
            value=power_of_growth(list(costs), found),
            unit="exponent",
            goal=Goal(most=MOST_GROWTH),
            details={
                "cost of largest / smallest": found[-1] / found[0],
                "agents of largest / smallest": largest / smallest,
            },
        )


PARTS: dict[str, Callable[[Effort], Iterator[Row]]] = {
    env: partial(rows_of, env) for env in ENVIRONMENTS
}

CASE = Case(
    name="agents",
    title="Cost against the number of agents",
    explanation=__doc__ or "",
    parts=PARTS,
    picture="draw_agents",
)
