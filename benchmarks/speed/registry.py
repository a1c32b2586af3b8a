"""All cases by name."""

from __future__ import annotations

from benchmarks.speed import (
    agents,
    environments,
    goals,
    nodes,
    scaling,
    startup,
    throughput,
    workers,
)
from benchmarks.speed.case import Case

MODULES = (goals, environments, throughput, agents, startup, workers, scaling, nodes)

CASES: dict[str, Case] = {module.CASE.name: module.CASE for module in MODULES}
"""Case by name on the command line, in the order of the report."""
