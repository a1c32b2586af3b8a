"""What a local cluster leaves on disk, from before its first process on."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Started:
    """The process that holds a node together.

    Attributes:
        pid: of ``local_node.py``.
        started: seconds since the epoch, since pids are used again.
        cpus: logical processors of the node.
    """

    pid: int
    started: float
    cpus: int


@dataclass
class State:
    """What ``start`` leaves for ``stop``, from before the first process on.

    Attributes:
        cluster_id: what the environment of every process of the cluster holds.
        gcs_port: of the head's control store: what nodes and drivers connect to.
        dashboard_port: of the dashboard and the jobs API.
        nodes: by name.
    """

    cluster_id: str
    gcs_port: int
    dashboard_port: int
    nodes: dict[str, Started] = field(default_factory=dict)
