"""A rollout worker that is killed in the middle of sampling costs time, and nothing else."""

import os
import signal
import threading
import time

import pytest
from algorithms_test_helpers import differences, slow_counter, tiny, weights_of


def pids(algorithm):
    return algorithm.workers_group.foreach_env_runner(
        lambda worker: os.getpid(), local_env_runner=False
    )


def kill_soon(pid, seconds):
    timer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
    timer.start()
    return timer


@pytest.mark.parametrize("sample_async", [False, pytest.param(True, marks=pytest.mark.faults)])
def test_training_goes_on_with_whole_batches_and_the_worker_comes_back(build, sample_async):
    config = tiny(slow_counter, num_envs=2).env_runners(
        num_env_runners=2, sample_async=sample_async
    )
    config.fault_tolerance(
        delay_between_env_runner_restarts_s=0, env_runner_health_probe_timeout_s=5
    )
    algorithm = build(config)
    before = algorithm.train()
    victim, other = pids(algorithm)
    killed_at = time.monotonic()
    timer = kill_soon(victim, 0.02)
    results = [algorithm.train()]
    timer.join()
    with pytest.raises(ProcessLookupError):
        os.kill(victim, 0)
    while time.monotonic() - killed_at < 60:
        results.append(algorithm.train())
        if results[-1]["num_healthy_workers"] == 2:
            break
    recovered = time.monotonic() - killed_at
    sizes = {result["num_env_steps_sampled_this_iter"] for result in results}
    assert sizes == {before["num_env_steps_sampled_this_iter"]} == {64}
    assert results[-1]["num_healthy_workers"] == 2
    now = pids(algorithm)
    assert other in now
    assert victim not in now
    weights = algorithm.workers_group.foreach_env_runner(
        lambda worker: worker.get_policy().get_weights(), local_env_runner=False
    )
    for found in weights:
        assert differences(found, weights_of(algorithm)) == []
    print(f"sample_async={sample_async}: two workers again {recovered:.1f} s after the kill")
