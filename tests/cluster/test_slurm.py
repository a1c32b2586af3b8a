"""The batch script runs: stand-ins for Slurm's commands, everything else is real.

``ray symmetric-run`` ends with ``ray stop``, which ends every Ray of the user, so the script
runs in a process namespace of its own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rllib_agentmixer.runs.checkpoints import find_checkpoint

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster" / "slurm" / "train.sbatch"
STAND_INS = {
    "scontrol": "echo 127.0.0.1",
    "srun": 'while [[ "$1" == --* ]]; do shift; done; exec "$@"',
}
LARGE, SMALL = "--workers 40 --minutes 220", "--workers 1 --steps 6400 --no-mlflow"
INSIDE = ("unshare", "--net", "--pid", "--fork", "--mount-proc", "bash", "-c")


def is_possible():
    if os.getuid() or shutil.which("unshare") is None:
        return False
    return subprocess.run([*INSIDE, "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not is_possible(), reason="process namespaces need root")
def test_the_batch_script_trains_goes_on_and_removes_its_token(tmp_path):
    for name, body in STAND_INS.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/usr/bin/env bash\n{body}\n")
        program.chmod(0o755)
    text = SCRIPT.read_text()
    assert LARGE in text
    script = tmp_path / "train.sbatch"
    script.write_text(text.replace(LARGE, SMALL))
    short = Path(f"/tmp/rs{os.getpid()}")
    venv = Path(sys.executable).parents[1]
    variables = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RAY_TMPDIR": str(short),
        "RUNS": str(tmp_path / "runs"),
        "VENV": str(venv),
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "here",
        "SLURM_JOB_NUM_NODES": "1",
    }
    try:
        for steps in (6400, 12800):
            script.write_text(text.replace(LARGE, SMALL.replace("6400", str(steps))))
            done = subprocess.run(
                [*INSIDE, f"ip link set lo up; exec bash {script}"],
                env=variables,
                capture_output=True,
                text=True,
                timeout=180,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            rows = (tmp_path / "runs" / "predator_prey" / "progress.jsonl").read_text()
            assert f'"env_steps": {steps}' in rows.splitlines()[-1]
    finally:
        shutil.rmtree(short, ignore_errors=True)
    assert find_checkpoint(tmp_path / "runs" / "predator_prey").is_dir()
    assert not list((tmp_path / ".ray").glob("auth_token*"))
