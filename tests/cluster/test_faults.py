"""Machines die and lines are cut while a training runs: batches keep their size, it goes on.

Each test prints what it has measured (``pytest -s``); docs/performance.md has the figures.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.local_cluster import CLUSTER_ID, LocalCluster, without_ray
from cluster.processes import send, with_environment
from tests.cluster.conftest import wait_until
from tests.cluster.fault_driver import BATCH

pytestmark = pytest.mark.cluster

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MOST_STALL_S = 120.0
"""Of one iteration. Ray gives a silent node up after about a minute."""


class Driver:
    """``fault_driver.py`` as a process, and the iterations that it has reported."""

    def __init__(self, folder, environment, prefix=(), **settings):
        self.lines = folder / "lines.jsonl"
        self.stop_file = folder / "stop"
        settings |= {"lines": str(self.lines), "stop": str(self.stop_file)}
        self.log = folder / "driver.log"
        self.process = subprocess.Popen(
            [*prefix, sys.executable, HERE / "fault_driver.py", json.dumps(settings)],
            env=environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop_file.touch()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def rows(self):
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        if not self.lines.exists():
            return []
        return [json.loads(line) for line in self.lines.read_text().splitlines()]

    def wait(self, condition):
        return wait_until(lambda: condition(self.rows))

    def warm_up(self, healthy=2):
        self.wait(lambda rows: len(rows) >= 3 and rows[-1]["healthy"] == healthy)
        return len(self.rows)


def longest(rows):
    return max(row["seconds"] for row in rows)


def test_a_whole_node_is_killed_and_another_one_joins(tmp_path, capsys):
    with (
        LocalCluster(cpus=(0, 1, 1)) as cluster,
        Driver(tmp_path, cluster.client_environment, workers=2) as driver,
    ):
        before = driver.warm_up()
        usual = longest(driver.rows[-2:])
        killed = time.time()
        cluster.kill_node("node2")
        driver.wait(lambda rows: rows[-1]["healthy"] == 1 and len(rows) > before + 5)
        alone = driver.rows[before:]
        cluster.add_node("node3", 1)
        cluster.wait_for_nodes(3)
        joined = time.time()
        driver.wait(lambda rows: rows[-1]["healthy"] == 2)
        recovered = driver.rows[-1]["at"] - joined
        full = len(driver.rows)
        driver.wait(lambda rows: len(rows) > full + 3)
        rows = driver.rows
    with capsys.disabled():
        print(
            f"\nnode killed: iterations of {usual:.2f} s, longest {longest(alone):.1f} s, "
            f"{len(alone)} iterations in {alone[-1]['at'] - killed:.0f} s with one worker, "
            f"two again {recovered:.1f} s after a node has joined"
        )
    assert {row["steps"] for row in rows} == {BATCH}
    assert longest(rows) < MOST_STALL_S
    assert recovered < MOST_STALL_S


def test_evaluation_workers_are_killed(tmp_path, capsys):
    settings = {"workers": 1, "evaluation_workers": 1, "kill_evaluation_at": 2}
    with (
        LocalCluster(cpus=(0, 2)) as cluster,
        Driver(tmp_path, cluster.client_environment, **settings) as driver,
    ):
        driver.wait(lambda rows: len(rows) > 2)
        driver.wait(lambda rows: rows[-1]["evaluated"] == 8 and len(rows) > 6)
        rows = driver.rows
    missing = [row for row in rows[2:] if row["evaluated"] != 8]
    with capsys.disabled():
        print(
            f"\nevaluation worker killed: {len(missing)} evaluations short of episodes, "
            f"longest iteration {longest(rows[2:]):.1f} s, usual {rows[1]['seconds']:.2f} s"
        )
    assert {row["steps"] for row in rows} == {BATCH}
    assert [row["evaluated"] for row in rows[:2]] == [8, 8]
    assert longest(rows[2:]) < MOST_STALL_S


# A line that is cut.


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


class TwoHosts:
    """Two network namespaces with a line between them, and a Ray node in each."""

    HEAD, WORKER = "10.213.7.1", "10.213.7.2"

    def __init__(self, folder):
        self.folder = folder
        self.id = secrets.token_hex(16)
        self.spaces = (f"ra{self.id[:6]}h", f"ra{self.id[:6]}w")
        self.token = folder / "token"
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32))

    def __enter__(self):
        head, worker = self.spaces
        for name in self.spaces:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ends = (f"{head}0", f"{worker}0")
        ip("link", "add", ends[0], "netns", head, "type", "veth", "peer", ends[1], "netns", worker)
        for name, end, address in zip(self.spaces, ends, (self.HEAD, self.WORKER), strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
        return self

    def __exit__(self, *exception):
        while left := list(with_environment({CLUSTER_ID: self.id})):
            for process in left:
                send(process, "kill")
            psutil.wait_procs(left, timeout=5)
            if all(process.status() == "zombie" for process in left if process.is_running()):
                break
        for name in self.spaces:
            ip("netns", "delete", name)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def environment(self):
        return without_ray(os.environ) | {
            CLUSTER_ID: self.id,
            "RAY_ADDRESS": f"{self.HEAD}:6379",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def inside(self, place):
        return ("ip", "netns", "exec", self.spaces[place])

    def start_node(self, place):
        settings = {
            "head": place == 0,
            "node_ip_address": (self.HEAD, self.WORKER)[place],
            "num_cpus": 1,
            "num_gpus": 0,
            "object_store_memory": 100 * 2**20,
            "min_worker_port": 0,
            "max_worker_port": 0,
            "temp_dir": str(self.folder / str(place)),
            "include_dashboard": False,
        }
        if place == 0:
            settings |= {"gcs_server_port": 6379}
        else:
            settings |= {"gcs_address": f"{self.HEAD}:6379"}
        program = ROOT / "cluster" / "local_node.py"
        return subprocess.Popen(
            [*self.inside(place), sys.executable, program, json.dumps(settings)],
            env={k: v for k, v in self.environment.items() if k != "RAY_ADDRESS"},
            stdout=(self.folder / f"{place}.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def set_line(self, state):
        ip("-n", self.spaces[1], "link", "set", f"{self.spaces[1]}0", state)


def can_make_namespaces():
    if os.getuid() or shutil.which("ip") is None:
        return False
    name = f"ra{secrets.token_hex(3)}"
    try:
        ip("netns", "add", name)
        ip("netns", "delete", name)
    except subprocess.CalledProcessError:
        return False
    return True


@pytest.mark.skipif(not can_make_namespaces(), reason="network namespaces need root")
def test_a_worker_is_cut_off_from_the_network(tmp_path_factory, capsys):
    folder = Path("/tmp") / f"rac{secrets.token_hex(3)}"
    folder.mkdir(mode=0o700)
    results = tmp_path_factory.mktemp("cut")
    with TwoHosts(folder) as hosts:
        hosts.start_node(0)
        time.sleep(8)
        worker = hosts.start_node(1)
        variables = hosts.environment | {"RLLIB_AGENTMIXER_CLUSTER_WAIT_S": "60"}
        with Driver(results, variables, prefix=hosts.inside(0), workers=2) as driver:
            before = driver.warm_up()
            hosts.set_line("down")
            driver.wait(lambda rows: rows[-1]["healthy"] == 1 and len(rows) > before + 5)
            cut = driver.rows[before:]
            hosts.set_line("up")
            ended = time.time()
            worker.wait(MOST_STALL_S)  # Ray's node ends itself; a supervisor starts another
            ended = time.time() - ended
            hosts.start_node(1)
            again = time.time()
            driver.wait(lambda rows: rows[-1]["healthy"] == 2)
            recovered = driver.rows[-1]["at"] - again
            rows = driver.rows
    with capsys.disabled():
        print(
            f"\nline cut: longest iteration {longest(cut):.1f} s, then "
            f"{cut[-1]['seconds']:.2f} s; the node ended itself {ended:.0f} s after the line was "
            f"back; two workers {recovered:.0f} s after it was started again"
        )
    assert {row["steps"] for row in rows if row["steps"]} == {BATCH}
    assert longest(rows) < MOST_STALL_S
    assert recovered < MOST_STALL_S
