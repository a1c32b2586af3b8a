"""Checkpoints are evaluated, exported and registered where Ray cannot be imported."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.modules["ray"] = None
from rllib_agentmixer import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as leaving:
    assert not leaving.code, leaving.code
assert not [name for name in sys.modules if name.startswith("ray.")]
"""


@pytest.fixture(scope="module")
def checkpoint(ray_cluster, tmp_path_factory):
    from rllib_agentmixer import AgentMixerConfig

    config = (
        AgentMixerConfig()
        .environment("climbing", env_config={"repeat": 3})
        .env_runners(num_envs_per_env_runner=4, observation_filter="MeanStdFilter")
        .training(train_batch_size=64, num_epochs=1, hidden_size=8, use_gru=True)
        .debugging(seed=0, log_sys_usage=False)
    )
    algorithm = config.build_algo()
    algorithm.train()
    folder = tmp_path_factory.mktemp("checkpoint") / "saved"
    algorithm.save_checkpoint(str(folder))
    records = algorithm.team_worker.play_episodes(
        8, policy="joint", explore=False, seed=0, num_envs=8
    )
    algorithm.stop()
    return folder, sum(record.episode_return for record in records) / 8


def command(*arguments):
    words = [sys.executable, "-c", PROGRAM, *map(str, arguments), "--json"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_evaluation_gives_what_the_algorithm_gave(checkpoint):
    folder, expected = checkpoint
    results = command("evaluate", folder, "--episodes", 8)
    assert results["joint"]["episode_return_mean"] == pytest.approx(expected, abs=0)
    assert results["individual"]["num_episodes"] == 8


def test_an_export_is_written_and_played(checkpoint, tmp_path):
    folder, _ = checkpoint
    report = command("export", folder, "--out", tmp_path / "exported")
    assert report["parity"]["max_difference"] < 1e-5
    results = command("evaluate", tmp_path / "exported", "--episodes", 4)
    assert results["individual"]["uses_ray"] is False


def test_equilibria_are_read_off_a_saved_team(checkpoint):
    folder, _ = checkpoint
    program = f"""
import sys
sys.modules["ray"] = None
from rllib_agentmixer.analysis.games import from_team
from rllib_agentmixer.rollouts.saved_team import load_team
metrics = from_team(load_team({str(folder)!r})).metrics()
assert metrics["joint_correlated_gap"] >= 0
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
