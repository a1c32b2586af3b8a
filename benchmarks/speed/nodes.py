"""Workers on other nodes: 1, 2 and 4 workers over 1 to 3 Ray nodes of this machine.

The team of ``scaling`` (a step of 32 sub-environments sleeps for 50 milliseconds) in batches of
256 rows per worker, so that more workers sample more rows in the same time. With one node
driver and workers share it; with two all workers are on the other one; with three they are on
two others. Nodes have their own object stores, and data between them is sent through
sockets, as between machines. Reported is the minimum of 15 rounds, since other load on the
machine only adds time.

It shows the cost of sending batches and weights between nodes, and the growth of the driver's
share of an iteration with workers. It cannot show the time of a real network, nor environments
that compute, which would need more cores than those of one machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.speed.case import Case
from benchmarks.speed.measure import Effort, busy_cores
from benchmarks.speed.rows import Row
from benchmarks.speed.scaling import SETUP
from benchmarks.speed.workers import warning

COUNTS = (1, 2, 4)
CLUSTERS = {1: (4,), 2: (0, 4), 3: (0, 2, 2)}
"""Number of nodes -> logical CPUs of each; the driver is on the first."""

PROBE_SECONDS = 600.0


def probe(environment: dict[str, str], rounds: int) -> list[dict[str, Any]]:
    """Observations of a driver in a separate process, as Ray reads a token only once.

    Raises:
        subprocess.CalledProcessError: the process failed.
    """
    settings = json.dumps({"counts": COUNTS, "rounds": rounds})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.nodes_probe", settings],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PROBE_SECONDS,
    )
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(num_nodes: int, effort: Effort) -> Iterator[Row]:
    """Rows for all numbers of workers on one cluster."""
    from cluster.local_cluster import LocalCluster

    busy = busy_cores()
    with LocalCluster(cpus=CLUSTERS[num_nodes]) as cluster:
        observed = probe(cluster.client_environment, effort.pick(3, 15))
    varied = ("fragment", "num_workers", "batch")
    settings = {n: v for n, v in SETUP.settings().items() if n not in varied}
    for found in observed:
        share = 1 - found["sampling_s"] / found["iteration_s"]
        yield Row(
            labels={"nodes": str(num_nodes), "workers": str(found["num_workers"])},
            value=found["iteration_s"],
            unit="s/iteration, wall",
            details={
                "steps/s": found["rows"] / found["iteration_s"],
                "sampling, s": found["sampling_s"],
                **{f"{stage}, s": seconds for stage, seconds in found["stages"].items()},
                "driver's share": share,
                "nodes with workers": found["nodes"],
                "cores used by others": busy,
            },
            settings=settings,
            note=warning(busy),
        )


PARTS: dict[str, Callable[[Effort], Iterator[Row]]] = {
    f"nodes_{count}": partial(rows_of, count) for count in CLUSTERS
}

CASE = Case(
    name="nodes",
    title="Workers on other nodes",
    explanation=__doc__ or "",
    parts=PARTS,
    picture="draw_nodes",
)
