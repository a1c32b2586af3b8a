"""A cluster of three nodes for the tests of a module, and jobs on it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PATIENCE_S = 180.0


class Jobs:
    """Ray's own command line and this project's, as clients of a cluster."""

    def __init__(self, cluster):
        self.cluster = cluster

    def run(self, program, *arguments, timeout=PATIENCE_S, **variables):
        return subprocess.run(
            [str(BIN / program), *map(str, arguments)],
            env=self.cluster.client_environment | variables,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def ray(self, *arguments):
        done = self.run("ray", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def listed(self, what, *arguments):
        return json.loads(self.ray("list", what, "--format", "json", "--detail", *arguments))

    def submit(self, name, out, *settings, options=()):
        self.ray(
            *("job", "submit", "--no-wait", "--submission-id", name),
            *("--runtime-env", "cluster/jobs/runtime_env.yaml", "--entrypoint-num-cpus", 0),
            *("--entrypoint-resources", '{"head": 0.01}', "--"),
            *("python", "-m", "rllib_agentmixer", "train", "predator_prey", "--no-mlflow"),
            *("--out", out, *options, *settings),
        )

    @property
    def token(self):
        return (self.cluster.folder / "auth_token").read_text()

    def logs(self, name):
        # Ray's command line colours its own lines, which go to stderr here.
        return self.ray("job", "logs", name, "--log-style", "record")

    def status(self, name):
        return next(job["status"] for job in self.listed("jobs") if job["submission_id"] == name)

    def nodes(self):
        """Node id -> our name for the node."""
        names = self.cluster.state.nodes
        return {
            node["node_id"]: name
            for node in self.listed("nodes")
            for name in names
            if name in node["resources_total"]
        }


def wait_until(condition, patience=PATIENCE_S, every=0.5):
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {patience} s"
        time.sleep(every)
    return found


@pytest.fixture(scope="module")
def local():
    """Head without CPUs, two nodes with two each."""
    from cluster.local_cluster import LocalCluster

    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def jobs(local):
    return Jobs(local)
