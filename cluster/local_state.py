"""State of a local cluster on disk, written before its first process starts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Started:
    """Main process of a node.

    Attributes:
        pid: process id of ``local_node.py``.
        started: start time in seconds since the epoch, since pids are reused.
        cpus: logical CPUs of the node.
    """

    pid: int
    started: float
    cpus: int


@dataclass
class State:
    """State that ``start`` saves for ``stop``, before it starts the first process.

    Attributes:
        cluster_id: id in the environment of every process of the cluster.
        gcs_port: port of the head's GCS, to which nodes and drivers connect.
        dashboard_port: port of the dashboard and the jobs API.
        nodes: nodes by name.
    """

    cluster_id: str
    gcs_port: int
    dashboard_port: int
    nodes: dict[str, Started] = field(default_factory=dict)
