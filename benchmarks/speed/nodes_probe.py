"""Driver on a cluster, for ``nodes.py``: prints the parts of an iteration by worker count.

python -m benchmarks.speed.nodes_probe '{"counts": [1, 2, 4], "rounds": 3}'
"""

from __future__ import annotations

import json
import sys
from typing import Any

from benchmarks.speed.algorithms import quiet_ray
from benchmarks.speed.scaling import FRAGMENTS, NUM_ENVS, SETUP, Driver


def node_of(worker: Any) -> str:
    """The node of a worker."""
    import ray

    return ray.get_runtime_context().get_node_id()


def least(driver: Driver, rounds: int) -> dict[str, Any]:
    """The minimum over rounds of each part, and of a whole iteration."""
    driver.set_fragment(max(FRAGMENTS))
    driver.parts_once()
    parts = [driver.parts_once() for _ in range(rounds)]
    stages = {name: min(part[name] for part in parts) for name in parts[0]}
    return {
        "num_workers": driver.group.num_remote_workers(),
        "rows": driver.group.num_remote_workers() * NUM_ENVS * max(FRAGMENTS),
        "sampling_s": stages.pop("sampling"),
        "stages": stages,
        "iteration_s": min(driver.iteration_once() for _ in range(rounds)),
    }


def observe(counts: list[int], rounds: int) -> list[dict[str, Any]]:
    """One observation per count, with the number of nodes that have workers."""
    observed = []
    with quiet_ray(max(counts)):
        algorithm = SETUP.build()
        driver = Driver(algorithm)
        for count in counts:
            driver.grow(count)
            nodes = driver.group.foreach_env_runner(node_of, local_env_runner=False)
            observed.append(least(driver, rounds) | {"nodes": len(set(nodes))})
        algorithm.stop()
    return observed


if __name__ == "__main__":
    print(json.dumps(observe(**json.loads(sys.argv[1]))))
