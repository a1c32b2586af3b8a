"""Population based training: a trial that takes over another one learns at its new rate."""

import json

import pytest

from .conftest import TINY

pytestmark = pytest.mark.faults

STEPS = 64 * 40


def test_a_perturbed_rate_is_the_one_that_is_learned_with(command, tmp_path):
    out = tmp_path / "search"
    searching = command(
        *("tune", "predator_prey", "--scheduler", "pbt", "--samples", 2, "--steps", STEPS),
        *("--space", "lr=loguniform(1e-5, 1e-2)", "--space", "lambda_=choice(0.8, 0.9, 0.95)"),
        *("--grace-steps", 64 * 4, "--out", out, "--no-mlflow", *TINY),
    )
    status, _, err = searching.end(seconds=400.0)
    assert status == 0, err
    changes = 0
    for trial in out.glob("trial_*"):
        rates = []
        for line in (trial / "result.json").read_text().splitlines():
            result = json.loads(line)
            learned = result["info"]["learner"]["default_policy"]["learner_stats"]["cur_lr"]
            assert learned == pytest.approx(result["config"]["lr"])
            assert 1e-5 <= learned <= 1e-2
            rates.append(learned)
        changes += len(set(rates)) - 1
        assert result["num_env_steps_sampled_lifetime"] == STEPS
    assert changes > 0
    assert (out / "best" / "exported" / "manifest.json").is_file()
