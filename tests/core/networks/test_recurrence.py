"""The hand-written gradient of the recurrence against PyTorch's own unit and finite differences."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from rllib_agentmixer.core.networks.recurrence import gated_recurrence

T, B, H = 4, 3, 5


def draw(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()


def inputs(num_agents, num_weights, num_steps=T, dtype=torch.float32):
    return (
        draw(num_agents, num_steps, B, 3 * H, seed=1, dtype=dtype),
        draw(num_agents, B, H, seed=2, dtype=dtype),
        draw(num_weights, H, 3 * H, seed=3, dtype=dtype),
        draw(num_weights, 3 * H, seed=4, dtype=dtype),
    )


shapes = pytest.mark.parametrize(
    ("num_agents", "num_weights"), [(1, 1), (3, 3), (3, 1)], ids=["one", "own", "shared"]
)


@shapes
@pytest.mark.parametrize("num_steps", [1, 2, T])
def test_the_gradient_is_that_of_finite_differences(num_agents, num_weights, num_steps):
    arguments = inputs(num_agents, num_weights, num_steps, torch.float64)
    assert torch.autograd.gradcheck(gated_recurrence, arguments)


@shapes
def test_states_and_gradients_are_those_of_pytorchs_own_unit(num_agents, num_weights):
    gates, hidden, weight, bias = inputs(num_agents, num_weights)
    states = gated_recurrence(gates, hidden, weight, bias)
    outward = draw(num_agents, T, B, H, seed=5).detach()
    states.backward(outward)
    summed = torch.zeros_like(weight)
    for agent in range(num_agents):
        own = min(agent, num_weights - 1)
        unit = nn.GRU(3 * H, H)
        with torch.no_grad():  # the gates are the input, so that its weights are the identity
            unit.weight_ih_l0.copy_(torch.eye(3 * H))
            unit.bias_ih_l0.zero_()
            unit.weight_hh_l0.copy_(weight[own].T)
            unit.bias_hh_l0.copy_(bias[own])
        x = gates[agent].detach().requires_grad_()
        first = hidden[agent : agent + 1].detach().requires_grad_()
        expected, _ = unit(x, first)
        expected.backward(outward[agent])
        torch.testing.assert_close(states[agent], expected)
        torch.testing.assert_close(gates.grad[agent], x.grad)
        torch.testing.assert_close(hidden.grad[agent], first.grad[0])
        summed[own] += unit.weight_hh_l0.grad.T
    torch.testing.assert_close(weight.grad, summed)


def test_a_gradient_of_the_last_state_alone_reaches_the_first():
    gates, hidden, weight, bias = inputs(2, 2)
    gated_recurrence(gates, hidden, weight, bias)[:, -1].sum().backward()
    assert (gates.grad.abs().amax((0, 2, 3)) > 0).all()
    assert (hidden.grad != 0).all()


@shapes
def test_acting_computes_the_same_state_as_learning(num_agents, num_weights):
    gates, hidden, weight, bias = inputs(num_agents, num_weights, 1)
    learning = gated_recurrence(gates, hidden, weight, bias)
    with torch.no_grad():
        acting = gated_recurrence(gates, hidden, weight, bias)
    torch.testing.assert_close(acting, learning.detach())


def test_arguments_are_left_as_they_came():
    arguments = inputs(2, 2)
    before = [x.detach().clone() for x in arguments]
    gated_recurrence(*arguments).sum().backward()
    with torch.no_grad():
        gated_recurrence(*inputs(2, 2, 1))
    for kept, x in zip(before, arguments, strict=True):
        assert torch.equal(kept, x)


def test_importing_the_core_imports_no_compiler():
    code = (
        "import sys, rllib_agentmixer.core.teams.joint_policy\n"
        "import rllib_agentmixer.core.learners.policy_gradient\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
