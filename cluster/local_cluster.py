"""Multi-node Ray cluster on this machine; ``local.py`` is its command line."""

# ruff: noqa: S603 - only Python itself is started
from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import psutil

from cluster.local_state import Started, State
from cluster.processes import HOST, free_port, is_running, of_session, send, with_environment

CLUSTER_ID = "RLLIB_AGENTMIXER_CLUSTER_ID"
NODE_NAME = "RLLIB_AGENTMIXER_NODE"
STATE = "cluster.json"
TOKEN = "auth_token"  # noqa: S105 - a file name
HEAD = "head"
OBJECT_STORE_BYTES = 100 * 2**20
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Without it Ray on Linux replaces 127.0.0.1 by the address of a network interface and listens
on all of them; despite its name, the variable applies to all systems."""

START_SECONDS = 90.0
STOP_SECONDS = 10.0


class ClusterError(click.ClickException):
    """The cluster cannot be started or found."""


class LocalCluster:
    """Cluster with its state in a folder. As a context manager it is started and always stopped.

    Args:
        folder: folder for the token, logs and Ray's sockets, whose paths are limited to 107
            characters: at most 40 for this folder. None creates one under ``/tmp``.
        cpus: logical CPUs of the head and of each other node.
        dashboard_port: port of the jobs API; 0 for a free one.
    """

    def __init__(
        self, folder: Path | None = None, cpus: Sequence[int] = (0, 2, 2), dashboard_port: int = 0
    ) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="rac", dir="/tmp"))
        self.cpus = tuple(cpus)
        self.dashboard_port = dashboard_port

    def __enter__(self) -> LocalCluster:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def state(self) -> State:
        """State of the cluster in the folder.

        Raises:
            ClusterError: there is none.
        """
        try:
            found = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ClusterError(f"no cluster in {self.folder}; start one first") from None
        nodes = {name: Started(**node) for name, node in found.pop("nodes").items()}
        return State(**found, nodes=nodes)

    @property
    def address(self) -> str:
        """Address of the GCS, for RAY_ADDRESS."""
        return f"{HOST}:{self.state.gcs_port}"

    @property
    def jobs_address(self) -> str:
        """Address of the jobs API."""
        return f"http://{HOST}:{self.state.dashboard_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a client that joins the cluster or submits jobs to it."""
        return {
            "RAY_ADDRESS": self.address,
            "RAY_API_SERVER_ADDRESS": self.jobs_address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / TOKEN),
            "RAY_USAGE_STATS_ENABLED": "0",
            **LOOPBACK,
        }

    @property
    def client_environment(self) -> dict[str, str]:
        """Environment of this process as a client of this cluster only."""
        return without_ray(os.environ) | self.environment

    def start(self) -> None:
        """Start all nodes and wait until they have joined. If one fails, all are stopped.

        Raises:
            ClusterError: the folder has a cluster, or a node does not start.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (self.folder / STATE).exists():
            raise ClusterError(f"{self.folder} holds a cluster already; stop it first")
        token = self.folder / TOKEN
        descriptor = os.open(token, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        state = State(secrets.token_hex(16), free_port(), self.dashboard_port or free_port())
        self._write(state)
        try:
            for index, cpus in enumerate(self.cpus):
                self.add_node(f"node{index}" if index else HEAD, cpus)
                # Sequentially: nodes of one machine that start at once can take the same
                # socket, and one of them then hangs.
                self.wait_for_nodes(index + 1)
        except BaseException:
            self.stop()
            raise

    def add_node(self, name: str, cpus: int) -> None:
        """Start a node; it joins some seconds later. The head is waited for.

        Raises:
            ClusterError: the head does not start.
        """
        state = self.state
        if name in state.nodes and is_running(state.nodes[name].pid, state.nodes[name].started):
            raise ClusterError(f"{name} runs already")
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                _start_command(self.folder, state, name, cpus),
                env=self._node_environment(state, name),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = psutil.Process(process.pid).create_time()
        state.nodes[name] = Started(process.pid, started, cpus)
        self._write(state)
        if name == HEAD:
            self._wait_for_port(state.gcs_port, process, log)
            self._wait_for_port(state.dashboard_port, process, log)

    def wait_for_nodes(self, count: int) -> None:
        """Block until ``count`` nodes are alive.

        Raises:
            ClusterError: they are not alive within 90 s.
        """
        deadline = time.monotonic() + START_SECONDS
        while (alive := len(self.alive())) < count:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{alive} of {count} nodes joined within {START_SECONDS:.0f} s; their logs "
                    f"are {self.folder}/*.log"
                )
            time.sleep(0.5)

    def alive(self) -> list[str]:
        """Names of the nodes that are alive according to the GCS."""
        done = subprocess.run(
            [sys.executable, "-c", LIST_NODES, self.address],
            env=self.client_environment,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if done.returncode:
            return []
        found = json.loads(done.stdout)
        return [name for name in self.state.nodes for node in found if name in node]

    def kill_node(self, name: str) -> None:
        """SIGKILL every process of a node at once, as in a power failure."""
        self._kill_all(name)

    def _kill_all(self, name: str | None) -> None:
        while left := [p for p in self.processes(name) if p.status() != psutil.STATUS_ZOMBIE]:
            for process in left:
                send(process, "kill")
            psutil.wait_procs(left, timeout=1)

    def stop(self) -> None:
        """Terminate every process of the cluster and remove its folder, if there is one."""
        try:
            state = self.state
        except ClusterError:
            return
        # The nodes first: they shut down their processes gracefully.
        leaders = [
            psutil.Process(node.pid)
            for node in state.nodes.values()
            if is_running(node.pid, node.started)
        ]
        for leader in leaders:
            send(leader, "terminate")
        psutil.wait_procs(leaders, timeout=STOP_SECONDS)
        self._kill_all(None)
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self, name: str | None = None) -> list[psutil.Process]:
        """Processes of the cluster or a node, identified by environment, else by session."""
        state = self.state
        wanted = {CLUSTER_ID: state.cluster_id} | ({NODE_NAME: name} if name else {})
        nodes = [state.nodes[name]] if name else state.nodes.values()
        found = {process.pid: process for process in with_environment(wanted)}
        for node in nodes:
            found |= {process.pid: process for process in of_session(node.pid, node.started)}
        return list(found.values())

    def _node_environment(self, state: State, name: str) -> dict[str, str]:
        own = {k: v for k, v in self.environment.items() if "ADDRESS" not in k}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        return (
            without_ray(os.environ)
            | own
            | {"PATH": path, CLUSTER_ID: state.cluster_id, NODE_NAME: name}
        )

    def _write(self, state: State) -> None:
        (self.folder / STATE).write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")

    def _wait_for_port(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((HOST, port)) == 0:
                    return
            time.sleep(0.2)
        tail = log.read_text(errors="replace").strip().splitlines()[-5:]
        raise ClusterError(f"the head does not answer on port {port}; its log:\n" + "\n".join(tail))


LIST_NODES = """
import json, logging, sys, ray
ray.init(address=sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
json.dump([node["Resources"] for node in ray.nodes() if node["Alive"]], sys.stdout)
"""
"""Separate program: a process that has joined a cluster cannot join another one cleanly."""


def without_ray(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment without Ray's variables: another token would take precedence over the file."""
    return {name: value for name, value in environment.items() if not name.startswith("RAY_")}


def _start_command(folder: Path, state: State, name: str, cpus: int) -> list[str]:
    settings = {
        "head": name == HEAD,
        "node_ip_address": HOST,
        "num_cpus": cpus,
        "num_gpus": 0,
        "resources": {name: 1},
        "object_store_memory": OBJECT_STORE_BYTES,
        # Not shared: nodes with a common folder overwrite each other's unpacked job code.
        "temp_dir": str(folder / name),
        # Several nodes share one machine, where fixed ports and ranges would clash.
        "min_worker_port": 0,
        "max_worker_port": 0,
        "dashboard_agent_listen_port": free_port(),
        "gcs_address": f"{HOST}:{state.gcs_port}",
    }
    if name == HEAD:
        settings |= {
            "gcs_server_port": state.gcs_port,
            "include_dashboard": True,
            "dashboard_host": HOST,
            "dashboard_port": state.dashboard_port,
        }
        del settings["gcs_address"]
    return [sys.executable, str(Path(__file__).with_name("local_node.py")), json.dumps(settings)]
