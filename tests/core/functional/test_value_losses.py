"""Temporal differences of team values against recorded numbers, and masks and ends by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rllib_agentmixer.core.functional.value_losses import (
    chosen_values,
    greedy_actions,
    td_loss,
    td_targets,
)

ORACLE = Path(__file__).parents[2] / "oracles" / "vdn.npz"
GAMMA = 0.875


@pytest.fixture(scope="module")
def recorded():
    """The recorded arrays, time first."""
    with np.load(ORACLE) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    return {name: x.transpose(0, 1) if x.ndim > 1 else x for name, x in arrays.items()}


def temporal_difference(recorded, *, double_q, q=None):
    q = recorded["q"] if q is None else q
    mask, target = recorded["action_mask"], recorded["q_target"]
    chooser = q if double_q else target
    best = greedy_actions(chooser[1:].detach(), mask[1:])
    values = chosen_values(q[:-1], recorded["actions"][:-1]).sum(-1)
    next_values = chosen_values(target[1:], best).sum(-1)
    targets = td_targets(recorded["reward"], next_values, recorded["terminated"], gamma=GAMMA)
    return values, targets, td_loss(values, targets, recorded["valid"]), best


@pytest.mark.parametrize(("double_q", "prefix"), [(True, ""), (False, "plain_")])
def test_values_targets_loss_and_gradient_are_the_recorded_ones(recorded, double_q, prefix):
    q = recorded["q"].clone().requires_grad_()
    values, targets, loss, best = temporal_difference(recorded, double_q=double_q, q=q)
    valid = recorded["valid"]
    expected = recorded[f"out/{prefix}chosen"][..., 0]
    torch.testing.assert_close(values[valid], expected[valid], rtol=1e-6, atol=0)
    expected = recorded[f"out/{prefix}targets"][..., 0]
    torch.testing.assert_close(targets[valid], expected[valid], rtol=1e-6, atol=0)
    torch.testing.assert_close(loss, recorded[f"out/{prefix}loss"], rtol=1e-6, atol=0)
    loss.backward()
    torch.testing.assert_close(q.grad, recorded[f"grad/{prefix}q"], rtol=1e-6, atol=1e-12)
    if double_q:
        follows = valid & ~recorded["terminated"]
        assert torch.equal(best[follows], recorded["out/greedy_next_actions"][follows])


@pytest.mark.parametrize("broken", ["mask", "terminated", "action_mask", "own argmax"])
def test_the_recorded_loss_tells_a_mistake(recorded, broken):
    changed = dict(recorded)
    if broken == "mask":
        changed["valid"] = torch.ones_like(recorded["valid"])
        changed["action_mask"] = torch.ones_like(recorded["action_mask"])
    elif broken == "terminated":
        changed["terminated"] = recorded["terminated"] | ~recorded["valid"].roll(-1, 0)
        changed["terminated"][-1] = True  # a time limit taken for an end
    elif broken == "action_mask":
        changed["action_mask"] = torch.ones_like(recorded["action_mask"])
    loss = temporal_difference(changed, double_q=broken != "own argmax")[2]
    assert abs(float(loss / recorded["out/loss"]) - 1) > 1e-3


def test_a_termination_has_no_future_and_a_time_limit_has():
    rewards, following = torch.tensor([1.0, 1.0]), torch.tensor([10.0, 10.0])
    found = td_targets(rewards, following, torch.tensor([True, False]), gamma=0.5)
    assert found.tolist() == [1.0, 6.0]


def test_a_value_that_is_not_finite_behind_a_termination_reaches_nothing():
    found = td_targets(torch.ones(1), torch.tensor([torch.inf]), torch.tensor([True]), gamma=0.9)
    assert found.tolist() == [1.0]


def test_the_loss_is_the_mean_square_over_real_steps_and_targets_get_no_gradient():
    values = torch.tensor([1.0, 2.0, 5.0], requires_grad=True)
    targets = torch.tensor([0.0, 4.0, 0.0], requires_grad=True)
    loss = td_loss(values, targets, torch.tensor([True, True, False]))
    assert loss.item() == pytest.approx((1 + 4) / 2)
    loss.backward()
    assert values.grad.tolist() == [1.0, -2.0, 0.0]
    assert targets.grad is None


def test_the_best_action_is_a_legal_one():
    q = torch.tensor([[[3.0, 1.0, 2.0], [-5.0, -4.0, -9.0]]])
    mask = torch.tensor([[[False, True, True], [True, False, True]]])
    assert greedy_actions(q, mask).tolist() == [[2, 0]]
    assert chosen_values(q, torch.tensor([[1, 2]])).tolist() == [[1.0, -9.0]]
