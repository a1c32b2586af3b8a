"""A driver on a cluster, for ``nodes.py``: prints the parts of an iteration for growing workers.

python -m benchmarks.speed.nodes_probe '{"counts": [1, 2, 4], "rounds": 3}'
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from benchmarks.speed.algorithms import quiet_ray
from benchmarks.speed.scaling import FRAGMENTS, SETUP, Driver


def node_of(worker: Any) -> str:
    """The node that a worker is on."""
    import ray

    return ray.get_runtime_context().get_node_id()


def observe(counts: list[int], rounds: int) -> list[dict[str, Any]]:
    """One observation for each count, with the number of nodes that the workers are on."""
    import ray

    observed = []
    with quiet_ray(max(counts)):
        algorithm = SETUP.build()
        driver = Driver(algorithm)
        for count in counts:
            driver.grow(count)
            found = asdict(driver.observe(max(FRAGMENTS), rounds))
            nodes = driver.group.foreach_env_runner(node_of, local_env_runner=False)
            own = ray.get_runtime_context().get_node_id()
            observed.append(found | {"nodes": len(set(nodes)), "beside_driver": nodes.count(own)})
        algorithm.stop()
    return observed


if __name__ == "__main__":
    print(json.dumps(observe(**json.loads(sys.argv[1]))))
