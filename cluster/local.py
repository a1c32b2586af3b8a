"""Command line of a multi-node Ray cluster on this machine, to test jobs and faults.

    python cluster/local.py start              # a head without CPUs, two nodes with 2 each
    eval "$(python cluster/local.py env)"      # RAY_ADDRESS, the token, the jobs' address
    python cluster/local.py status
    python cluster/local.py stop               # terminates only what `start` started

Every node advertises 127.0.0.1, requires a token that only this user can read, and has a
resource with its name (``head``, ``node1``, ``node2``), so that a job can request a node.
Free ports are used, so that several clusters can run at once, each in its own folder.

Every process of a cluster has the cluster's random id in its environment, or belongs to the
session of one that does. ``stop`` terminates only these, including workers of dead nodes.
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
    help="Folder of the cluster.",
)
@click.pass_context
def main(context: click.Context, folder: Path) -> None:
    """A Ray cluster of several nodes on this machine."""
    context.obj = folder


@main.command()
@click.option(
    "--cpus", default="0,2,2", show_default=True, help="CPUs of the head and of each node."
)
@click.option("--dashboard-port", default=0, help="Port of the jobs API; 0 for a free one.")
@click.pass_obj
def start(folder: Path, cpus: str, dashboard_port: int) -> None:
    """Start the nodes and wait until they have joined."""
    counts = [int(count) for count in cpus.split(",")]
    cluster = LocalCluster(folder, counts, dashboard_port)
    cluster.start()
    click.echo(f"{len(counts)} nodes at {cluster.address}, jobs at {cluster.jobs_address}")


@main.command()
@click.pass_obj
def stop(folder: Path) -> None:
    """Terminate every process of the cluster, and no others."""
    LocalCluster(folder).stop()


@main.command()
@click.pass_obj
def env(folder: Path) -> None:
    """Print the environment variables of a client."""
    click.echo("unset RAY_AUTH_TOKEN")
    for name, value in LocalCluster(folder).environment.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@main.command()
@click.pass_obj
def status(folder: Path) -> None:
    """Show nodes and their processes; exit code 1 if a node is down."""
    cluster = LocalCluster(folder)
    alive = cluster.alive()
    for name, node in cluster.state.nodes.items():
        state = "alive" if name in alive else "down"
        count = len(cluster.processes(name))
        click.echo(f"{name:8} {state:6} {node.cpus} CPUs, {count} processes, pid {node.pid}")
    if set(cluster.state.nodes) - set(alive):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
