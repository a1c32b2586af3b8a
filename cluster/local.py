"""Several Ray nodes on this machine: a real cluster to try jobs and faults on.

    python cluster/local.py start              # a head without processors, two nodes with 2 each
    eval "$(python cluster/local.py env)"      # RAY_ADDRESS, the token, the jobs' address
    python cluster/local.py status
    python cluster/local.py stop               # ends what `start` started, and nothing else

Every node advertises 127.0.0.1, asks for a token that only this user can read, and has a
resource of its own name (``head``, ``node1``, ``node2``), so that a job can ask for a node.
Ports are free ones, so several clusters can run at once, each in a folder of its own.

Every process of a cluster carries the cluster's random id in its environment, or belongs to the
session of one that does. ``stop`` ends these, also workers whose node has died, and nothing else.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

if not __package__:  # run as a program
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster.local_cluster import LocalCluster


@click.group()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(f"/tmp/agentmixer-{os.getuid()}"),  # noqa: S108 - made with mode 0700
    show_default=True,
    help="One cluster a folder.",
)
@click.pass_context
def main(context: click.Context, folder: Path) -> None:
    """A Ray cluster of several nodes on this machine."""
    context.obj = folder


@main.command()
@click.option("--cpus", default="0,2,2", show_default=True, help="Of the head and each node.")
@click.option("--dashboard-port", default=0, help="Of the jobs API; 0 for a free one.")
@click.pass_obj
def start(folder: Path, cpus: str, dashboard_port: int) -> None:
    """Start the nodes and wait for them."""
    counts = [int(count) for count in cpus.split(",")]
    cluster = LocalCluster(folder, counts, dashboard_port)
    cluster.start()
    click.echo(f"{len(counts)} nodes at {cluster.address}, jobs at {cluster.jobs_address}")


@main.command()
@click.pass_obj
def stop(folder: Path) -> None:
    """End every process of the cluster; nothing else is touched."""
    LocalCluster(folder).stop()


@main.command()
@click.pass_obj
def env(folder: Path) -> None:
    """Print what a client exports."""
    click.echo("unset RAY_AUTH_TOKEN")
    for name, value in LocalCluster(folder).environment.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@main.command()
@click.pass_obj
def status(folder: Path) -> None:
    """Nodes and their processes; exit code 1 if a node is down."""
    cluster = LocalCluster(folder)
    alive = cluster.alive()
    for name, node in cluster.state.nodes.items():
        word = "alive" if name in alive else "down"
        count = len(cluster.processes(name))
        click.echo(f"{name:8} {word:6} {node.cpus} CPUs, {count} processes, pid {node.pid}")
    if set(cluster.state.nodes) - set(alive):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
