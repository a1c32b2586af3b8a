"""Joining a cluster: problems raise an error with a remedy within seconds."""

import os
import socket
import subprocess
import sys
import time

import pytest

from rllib_agentmixer.cli import main
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.runs import local_ray, ray_cluster
from rllib_agentmixer.runs.ray_cluster import check_answers, wait_for_cpus, wait_seconds


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def test_an_unreachable_cluster_is_told_within_seconds(closed_port):
    started = time.monotonic()
    with pytest.raises(ConfigError, match=f"127.0.0.1:{closed_port}.*RAY_ADDRESS"):
        check_answers(f"127.0.0.1:{closed_port}")
    assert time.monotonic() - started < 10


def test_a_cluster_that_listens_passes():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        check_answers(f"127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:8265", "ray job submit"),
        ("ray://127.0.0.1:10001", "host:port"),
        ("head", "not host:port"),
        ("head:ray", "not host:port"),
        ("127.0.0.1:123456789", "no Ray cluster answers"),
    ],
)
def test_an_invalid_address_is_reported(address, message):
    with pytest.raises(ConfigError, match=message):
        check_answers(address)


def test_the_command_line_ends_with_status_2(closed_port, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(SystemExit) as ended:
        main(["train", "climbing", "--no-mlflow", "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert f"127.0.0.1:{closed_port}" in capsys.readouterr().err


def test_processors_that_are_there_are_not_waited_for_and_given_back(ray_cluster):
    import ray

    wait_for_cpus(3)
    deadline = time.monotonic() + 20
    while ray.available_resources().get("CPU") != 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == 4


def test_processors_that_do_not_come_are_told_with_what_is_there(ray_cluster, monkeypatch, caplog):
    monkeypatch.setenv("RLLIB_AGENTMIXER_CLUSTER_WAIT_S", "1")
    monkeypatch.setattr("rllib_agentmixer.runs.ray_cluster.FIRST_WAIT_S", 1)
    with pytest.raises(ConfigError, match=r"each of 5 workers after 1 s: 4 of 4 CPUs free on 1"):
        wait_for_cpus(5)


def test_waiting_is_told_once_at_a_time(ray_cluster, monkeypatch, caplog):
    monkeypatch.setenv("RLLIB_AGENTMIXER_CLUSTER_WAIT_S", "3")
    monkeypatch.setattr("rllib_agentmixer.runs.ray_cluster.FIRST_WAIT_S", 1)
    with pytest.raises(ConfigError):
        wait_for_cpus(5)
    assert [record.message for record in caplog.records] == [
        "Waiting up to 2 s for 5 free CPUs: 4 of 4 CPUs free on 1 nodes (4)."
    ]


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_a_wait_that_is_no_time_is_refused(monkeypatch, text):
    monkeypatch.setenv("RLLIB_AGENTMIXER_CLUSTER_WAIT_S", text)
    with pytest.raises(ConfigError, match="RLLIB_AGENTMIXER_CLUSTER_WAIT_S"):
        wait_seconds()


@pytest.mark.parametrize(("submitted", "brings"), [(False, True), (True, False)])
def test_a_driver_brings_its_code_unless_its_job_did(monkeypatch, submitted, brings):
    settings = {}
    monkeypatch.setattr(ray_cluster, "check_answers", lambda address: None)
    monkeypatch.setattr(ray_cluster.ray, "init", lambda **given: settings.update(given))
    if submitted:
        monkeypatch.setenv(ray_cluster.SUBMITTED, "{}")
    ray_cluster.join_cluster("127.0.0.1:6379")
    assert ("runtime_env" in settings) == brings


@pytest.mark.parametrize("address", ["", "local"])
def test_no_address_means_a_private_ray(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert local_ray.cluster_address() is None


PRIVATE = """
from rllib_agentmixer.runs.local_ray import keep_ray_private, start_ray
keep_ray_private()
start_ray(1)
import os, psutil
me = psutil.Process()
print(sorted({
    connection.laddr.ip.removeprefix("::ffff:")
    for process in [me, *me.children(recursive=True)]
    for connection in process.net_connections("inet")
    if connection.status == "LISTEN"
}))
"""


@pytest.mark.cluster
def test_a_private_ray_listens_on_the_loopback_address_alone():
    pytest.importorskip("psutil")
    variables = {name: value for name, value in os.environ.items() if "RAY" not in name}
    done = subprocess.run(
        [sys.executable, "-c", PRIVATE], env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "['127.0.0.1']", done.stderr
