"""Trainings submitted to a real cluster of three nodes: placement, logs, stop, storage, errors."""

import json
import urllib.error
import urllib.request

import pytest

from rllib_agentmixer.runs.checkpoints import find_checkpoint
from tests.cluster.conftest import wait_until

pytestmark = pytest.mark.cluster
pytest.importorskip("aiohttp", reason="jobs need ray[default]")

TUNED = ("env.penalty=-1.0", "advantage_scale=hysteretic", "num_envs_per_env_runner=32")
WORKERS = ("--workers", 2)


def rows_of(out):
    path = out / "progress.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def answer(address, **headers):
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - ours
    try:
        return urllib.request.urlopen(request, timeout=10).status  # noqa: S310
    except urllib.error.HTTPError as error:
        return error.code


def test_the_jobs_api_answers_nobody_without_the_token(local, jobs):
    address = f"{local.jobs_address}/api/jobs/"
    assert answer(address) == 401
    assert answer(address, Authorization="Bearer wrong") in (401, 403)
    assert answer(address, Authorization=f"Bearer {jobs.token}") == 200
    refused = jobs.run("ray", "job", "list", RAY_AUTH_MODE="disabled")
    assert refused.returncode != 0


def test_every_port_of_the_cluster_is_on_the_loopback_address(local):
    listening = [
        connection.laddr.ip.removeprefix("::ffff:")
        for process in local.processes()
        for connection in process.net_connections("inet")
        if connection.status == "LISTEN"
    ]
    assert len(listening) >= 15
    assert set(listening) <= {"127.0.0.1", "::1"}


def test_a_submitted_training_has_workers_on_other_nodes_and_plain_logs(jobs, tmp_path):
    out = tmp_path / "run"
    # Three workers need both nodes, which have two CPUs each.
    options = ("--workers", 3, "--steps", 28800)
    jobs.submit("train", out, *TUNED, "train_batch_size=9600", options=options)
    wait_until(lambda: jobs.status("train") in ("SUCCEEDED", "FAILED"))
    log = jobs.logs("train")
    assert jobs.status("train") == "SUCCEEDED", log
    progress = [line for line in log.splitlines() if "steps/s" in line]
    assert progress
    own = log[log.index("Running entrypoint") :]
    assert not [character for character in own if ord(character) < 32 and character != "\n"]
    actors = jobs.listed("actors", "--filter", "class_name=TeamRolloutWorker")
    nodes = jobs.nodes()
    places = [nodes[actor["node_id"]] for actor in actors]
    assert len(places) == 3
    assert set(places) == {"node1", "node2"}
    assert find_checkpoint(out).is_dir()
    assert [row["env_steps"] for row in rows_of(out)] == [9600, 19200, 28800]


def test_a_stopped_job_leaves_a_checkpoint_from_which_the_same_command_goes_on(jobs, tmp_path):
    out = tmp_path / "run"
    words = (*TUNED, "train_batch_size=1600")
    options = (*WORKERS, "--steps", 10_000_000, "--resume-if-possible", "--checkpoint-every", 10**6)
    jobs.submit("first", out, *words, options=options)
    wait_until(lambda: len(rows_of(out)) > 3)
    jobs.ray("job", "stop", "first")
    assert jobs.status("first") == "STOPPED"
    done = rows_of(out)[-1]["env_steps"]
    assert find_checkpoint(out).is_dir()
    jobs.submit("second", out, *words, options=options)
    wait_until(lambda: rows_of(out)[-1]["env_steps"] > done)
    jobs.ray("job", "stop", "second")
    steps = [row["env_steps"] for row in rows_of(out)]
    assert steps == sorted(set(steps))
    assert steps[0] == 1600
    assert done in steps


def train(jobs, *options, **variables):
    done = jobs.run(
        *("python", "-m", "rllib_agentmixer", "train", "climbing", "--no-mlflow"),
        *options,
        **variables,
    )
    return done.returncode, done.stderr.strip().splitlines()[-1]


def test_a_driver_that_was_not_submitted_brings_its_code(jobs, tmp_path):
    code, _ = train(jobs, "--workers", 2, "--steps", 100, "--out", tmp_path / "run")
    assert code == 0
    assert len(rows_of(tmp_path / "run")) == 1


def test_too_few_processors_are_told_with_what_is_there(jobs, tmp_path):
    code, message = train(
        *(jobs, "--workers", 7, "--out", tmp_path), RLLIB_AGENTMIXER_CLUSTER_WAIT_S="3"
    )
    assert code == 2
    assert "for each of 7 workers" in message
    assert "4 of 4 CPUs free on 3 nodes (" in message


def test_a_wrong_token_is_told(jobs, tmp_path):
    token = tmp_path / "token"
    token.write_text("wrong")
    token.chmod(0o600)
    code, message = train(jobs, "--out", tmp_path / "run", RAY_AUTH_TOKEN_PATH=str(token))
    assert code == 2
    assert "RAY_AUTH_TOKEN_PATH" in message
    assert not (tmp_path / "run").exists()
