"""``cluster/local.py`` ends exactly what it started, whatever has happened meanwhile."""

import stat
import subprocess
import sys

import psutil
import pytest
from click.testing import CliRunner

from cluster import local
from cluster.local_cluster import CLUSTER_ID, ClusterError, LocalCluster
from cluster.processes import with_environment

pytestmark = pytest.mark.cluster


@pytest.fixture
def bystander():
    """A process that a cluster has nothing to do with."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)  # ray::"])
    yield process
    process.kill()
    process.wait()


def test_after_a_node_has_died_the_rest_is_stopped_and_nothing_else(bystander):
    with LocalCluster(cpus=(0, 1)) as cluster, LocalCluster(cpus=(1,)) as other:
        token = cluster.folder / "auth_token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        own = {process.pid for process in cluster.processes()}
        assert len(own) > 8
        cluster.kill_node("node1")
        assert not [p for p in cluster.processes("node1") if p.status() != "zombie"]
        cluster.stop()
        left = {p.pid for p in psutil.process_iter() if p.status() != "zombie"}
        assert not own & left
        assert other.alive() == ["head"]
        assert bystander.poll() is None
        assert not cluster.folder.exists()
        cluster.stop()


def test_a_start_that_fails_half_way_leaves_nothing(monkeypatch):
    cluster = LocalCluster(cpus=(0, 1))
    ids = []

    def fail(count):
        ids.append(cluster.state.cluster_id)
        raise ClusterError("too slow")

    monkeypatch.setattr(cluster, "wait_for_nodes", fail)
    with pytest.raises(ClusterError, match="too slow"):
        cluster.start()
    left = list(with_environment({CLUSTER_ID: ids[0]}))
    assert not [process for process in left if process.status() != "zombie"]
    assert not cluster.folder.exists()


def test_the_program_says_what_to_do_without_a_cluster(tmp_path):
    done = CliRunner().invoke(local.main, ["--folder", str(tmp_path / "none"), "status"])
    assert done.exit_code == 1
    assert "start one first" in done.output
    assert (
        CliRunner().invoke(local.main, ["--folder", str(tmp_path / "none"), "stop"]).exit_code == 0
    )
