"""A run of many iterations takes no more memory at its end than after it has warmed up."""

import psutil
import pytest

from rllib_agentmixer.runs.progress_file import read_progress

from .conftest import TINY

pytestmark = pytest.mark.faults

ITERATIONS = 300
WARM = 100
MOST_GROWTH = 12 * 2**20


@pytest.mark.parametrize("workers", [0, 2])
def test_memory_is_bounded_over_hundreds_of_iterations(command, tmp_path, workers):
    out = tmp_path / "run"
    options = ["--steps", 64 * ITERATIONS, "--no-mlflow", "--workers", workers, "--out", out]
    running = command("train", "predator_prey", *options, *TINY)
    used = []

    def measure():
        now = len(read_progress(out))
        used.append((now, psutil.Process(running.process.pid).memory_info().rss))
        return now >= ITERATIONS - 5

    assert running.wait_until(lambda: len(read_progress(out)) >= WARM)
    assert running.wait_until(measure, seconds=300.0)
    status, _, err = running.end()
    assert status == 0, err
    early = [rss for now, rss in used if now <= WARM + 20]
    late = [rss for now, rss in used if now >= ITERATIONS - 30]
    growth = min(late) - max(early)
    print(f"{workers} workers: driver {min(late) / 2**20:.0f} MB, grown by {growth / 2**20:.1f} MB")
    assert growth < MOST_GROWTH
