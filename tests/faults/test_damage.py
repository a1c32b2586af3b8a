"""A damaged checkpoint ends a resume with one clear error, or is passed over when that is asked."""

import pytest

from rllib_agentmixer.runs.checkpoints import RunCheckpoints
from rllib_agentmixer.runs.progress_file import read_progress

from .conftest import TINY

pytestmark = pytest.mark.faults


def train(command, out, steps, *more):
    options = ["--steps", 64 * steps, "--checkpoint-every", 2, "--no-mlflow"]
    return command("train", "predator_prey", "--out", out, *options, *more, *TINY).end()


@pytest.mark.parametrize("harm", ["truncate", "change", "empty", "remove"])
def test_a_damaged_checkpoint_is_told_and_passed_over(command, tmp_path, harm):
    out = tmp_path / "run"
    status, _, err = train(command, out, 6)
    assert status == 0, err
    newest = RunCheckpoints(out).newest
    assert newest.name == "iteration_000006"
    path = newest / "algorithm_state.pkl"
    whole = path.read_bytes()
    harmed = {"truncate": whole[:-1000], "change": b"x" + whole[1:], "empty": b""}
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(harmed[harm])
    status, _, err = train(command, out, 8, "--resume")
    assert status == 2
    assert err.strip().startswith("error: ")
    assert str(path) in err
    assert "Add --fall-back" in err
    assert len(read_progress(out)) == 6
    status, _, err = train(command, out, 8, "--resume-if-possible", "--fall-back")
    assert status == 0, err
    assert "falling back to the checkpoint before" in err
    assert [row["env_steps"] for row in read_progress(out)] == [64 * n for n in range(1, 9)]
    assert newest.with_name("iteration_000006.damaged").is_dir()
    assert RunCheckpoints(out).newest.name == "iteration_000008"
