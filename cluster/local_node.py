"""Node of the local cluster: equivalent of ``ray start --block`` on the loopback address.

``ray start`` replaces 127.0.0.1 by the address of a network interface. Ray's tests start nodes
as this program does. It stays in the foreground and terminates its processes when it exits.

    python cluster/local_node.py '{"node_ip_address": "127.0.0.1", ...}'
"""

from __future__ import annotations

import json
import signal
import sys
import time

from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._private.utils import write_ray_address

POLL_SECONDS = 0.5


def main(settings: str) -> int:
    """Start the node and block until SIGTERM, or until one of its processes has died."""
    values = json.loads(settings)
    is_head = values.pop("head")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    node = Node(RayParams(**values), head=is_head, shutdown_at_exit=True, spawn_reaper=False)
    # Jobs look for their cluster here first, then for any other Ray on this machine.
    write_ray_address(node.gcs_address, node.get_temp_dir_path())
    while not (dead := node.dead_processes()):
        time.sleep(POLL_SECONDS)
    print("died:", ", ".join(str(name) for name, _ in dead), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
