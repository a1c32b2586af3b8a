"""A compiled loss computes what the loss computes, and is not compiled anew as schedules move."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rllib_agentmixer.core.learners.policy_losses import PPOCoefficients


@pytest.fixture(scope="module")
def steps():
    """Results of ``compiled_steps.py``, in a process without shape checks."""
    program = Path(__file__).with_name("compiled_steps.py")
    result = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", ["climbing", "continuous_game"])
@pytest.mark.parametrize("algorithm", ["agentmixer", "mappo"])
def test_a_compiled_step_is_the_step(steps, name, algorithm):
    found = steps[f"{algorithm} {name}"]
    assert found["metrics"] < 1e-5
    assert found["weights"] < 1e-6


def test_a_recurrent_loss_is_compiled_around_the_recurrence(steps):
    assert steps["recurrent"]["metrics"] < 1e-5


def test_moving_coefficients_and_temperature_do_not_compile_again(steps):
    assert steps["moving"]["num_graphs"] == 1
    assert len(set(steps["moving"]["losses"])) == 3


def test_the_same_numbers_as_tensors_make_the_same_loss(build):
    actor, batch = build.collected()
    learner = build.learner(actor.module)
    plain, moving = (
        learner.loss(actor.module, batch, weights).metrics["total_loss"]
        for weights in (build.weights, build.weights.as_tensors())
    )
    assert torch.equal(plain, moving)


@pytest.mark.parametrize("kl_coeff", [0.0, 0.3])
def test_a_coefficient_of_zero_leaves_the_divergence_out_in_both_forms(kl_coeff):
    weights = PPOCoefficients(
        clip_param=0.2, vf_clip_param=0.2, vf_loss_coeff=1.0, entropy_coeff=0.0, kl_coeff=kl_coeff
    )
    assert weights.has_kl == weights.as_tensors().has_kl == (kl_coeff > 0)
