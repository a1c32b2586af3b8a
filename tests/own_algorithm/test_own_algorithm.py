"""An algorithm of a user's own, from a file outside the package, by the commands alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("own_reinforce.py")
NAME = "own_reinforce:own_reinforce"
SMALL = ["train_batch_size=256", "num_envs_per_env_runner=32", "lr=0.02", "hidden_size=16"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the user's file, in which commands run."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / SOURCE.name).write_text(SOURCE.read_text())
    return folder


def command(place, *arguments, status=0):
    environment = os.environ | {"PYTHONPATH": f"{place}{os.pathsep}{os.getcwd()}"}
    words = [sys.executable, "-m", "rllib_agentmixer", *map(str, arguments), "--json"]
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]) if status == 0 else done.stderr


@pytest.fixture(scope="module")
def run(place):
    train = ["train", "penalty_0", "--algo", NAME, "--out", "run", "--no-mlflow"]
    first = command(place, *train, "--steps", 2560, "--workers", 1, *SMALL)
    assert first["env_steps"] == 2560
    return command(place, *train, "--steps", 7680, "--resume")


def test_it_has_at_most_sixty_lines():
    code = [line for line in SOURCE.read_text().splitlines() if line.strip()]
    assert len(code) <= 60


def test_it_trains_resumes_and_learns(run, place):
    assert run["env_steps"] == 7680
    rows = [
        json.loads(line) for line in (place / "run" / "progress.jsonl").read_text().splitlines()
    ]
    assert [row["env_steps"] for row in rows] == list(range(256, 7681, 256))
    assert (
        rows[-1]["env_runners/episode_return_mean"] > 5 > rows[0]["env_runners/episode_return_mean"]
    )


def test_it_is_evaluated_and_exported_without_ray(run, place):
    results = command(place, "evaluate", "run", "--algo", NAME, "--episodes", 16)
    found = results["individual"]["episode_return_mean"]
    assert found == results["joint"]["episode_return_mean"] >= 5
    report = command(place, "export", "run", "--algo", NAME, "--out", "exported")
    assert report["parity"]["modes_equal"]
    played = command(place, "evaluate", "exported", "--episodes", 16)
    assert (
        played["individual"]["episode_return_mean"] == results["individual"]["episode_return_mean"]
    )
    assert played["individual"]["uses_ray"] is False


def test_its_shipped_space_is_searched(place):
    command(
        place,
        *("tune", "penalty_0", "--algo", NAME, "--out", "search", "--no-mlflow", "--samples", 1),
        *("--scheduler", "none", "--steps", 512, *SMALL[:2]),
    )
    assert (place / "search" / "best" / "exported" / "manifest.json").is_file()


def test_without_its_module_a_checkpoint_says_what_to_do(run, place):
    message = command(place, "evaluate", "run", status=2)
    assert "is of algorithm 'own_reinforce'" in message
    assert "--algo module:name" in message
