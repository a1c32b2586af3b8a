r"""Recurrence of a gated recurrent unit over whole sequences, with a hand-written gradient.

Autograd would record about twenty operations for every time step and add up one gradient of
the recurrent weights after the other. Here a time step costs six operations in the forward pass
and four in the backward pass: everything independent of the gradient of the following step
is computed for all steps at once, and the gradient of the weights is one matrix product.

.. math:: r &= \sigma(x_r + h W_r + b_r) \quad z = \sigma(x_z + h W_z + b_z) \\
          n &= \tanh(x_n + r \odot (h W_n + b_n)) \quad h' = (1 - z) \odot n + z \odot h

(Cho et al. 2014, in PyTorch's form and order of gates.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from rllib_agentmixer.core.shapes import Float, Tensor


def gated_recurrence(
    gates: Float[Tensor, "N T B G"],
    hidden: Float[Tensor, "N B H"],
    weight: Float[Tensor, "M H G"],
    bias: Float[Tensor, "M G"],
) -> Float[Tensor, "N T B H"]:
    """Hidden state after every step.

    Args:
        gates: x, the inputs' share of reset, update and new gate, G = 3 H.
        hidden: state before the first step of each of the B sequences.
        weight: of the state's share, one per agent (M = N) or one for all (M = 1).
        bias: of the state's share.
    """
    return _implementation.recurrence(gates, hidden, weight, bias)


def _recurrence(gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    num_agents = hidden.shape[0]
    weight = weight.expand(num_agents, -1, -1)
    if gates.shape[1] == 1 and not torch.is_grad_enabled():
        return _one_step(gates[:, 0], hidden, weight, bias).unsqueeze(1)
    return _GatedRecurrence.apply(gates, hidden, weight, bias.expand(num_agents, -1))


@dataclass
class _Implementation:
    recurrence: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


_implementation = _Implementation(_recurrence)


def leave_uncompiled() -> None:
    """Exclude the recurrence from ``torch.compile``, from now on and in this process.

    It is written out in its operations already, and would be compiled anew for every T. Not
    done when this module is imported: the decorator takes half a second and 80 MB.
    """
    not_compiled: Any = torch.compiler.disable(_recurrence)
    _implementation.recurrence = not_compiled


def _one_step(gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One step without anything stored for a gradient, for acting."""
    width = hidden.shape[-1]
    of_state = torch.baddbmm(bias.unsqueeze(1), hidden, weight)
    both = torch.sigmoid(gates[..., : 2 * width] + of_state[..., : 2 * width])
    reset, update = both.chunk(2, -1)
    new = torch.addcmul(gates[..., 2 * width :], reset, of_state[..., 2 * width :]).tanh_()
    return torch.lerp(new, hidden, update)


class _GatedRecurrence(torch.autograd.Function):
    # Inside, time is the first axis: the arrays of one step are contiguous, which makes its
    # element-wise operations several times faster.

    @staticmethod
    def forward(ctx: Any, gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        width = hidden.shape[-1]
        by_time = gates.transpose(0, 1)  # [T, N, B, 3H]
        states = hidden.new_empty(by_time.shape[0] + 1, *hidden.shape)
        states[0] = hidden
        both = by_time[..., : 2 * width] + bias[:, None, : 2 * width]
        of_state = bias[:, None, 2 * width :].expand_as(by_time[..., 2 * width :]).contiguous()
        # tanh(x) = 2 sigmoid(2 x) - 1, and PyTorch's sigmoid is seven times faster than its
        # tanh. Doubling is exact.
        twice_new = by_time[..., 2 * width :] * 2
        into_both = weight[..., : 2 * width].contiguous()
        into_new = weight[..., 2 * width :].contiguous()
        minus_one = gates.new_full((), -1.0)
        steps = zip(
            states.unbind(0), states[1:].unbind(0), both.unbind(0), of_state.unbind(0),
            twice_new.unbind(0), strict=False,
        )  # fmt: skip
        for before, after, rz, m, n in steps:
            reset, update = rz.baddbmm_(before, into_both).sigmoid_().chunk(2, -1)
            m.baddbmm_(before, into_new)
            n.addcmul_(reset, m, value=2).sigmoid_()
            torch.add(minus_one, n, alpha=2, out=n)
            torch.lerp(n, before, update, out=after)
        ctx.save_for_backward(states, of_state, both, twice_new, weight)
        return states[1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        states, of_state, both, new, weight = ctx.saved_tensors
        reset, update = both.chunk(2, -1)
        update = update.contiguous()
        before = states[:-1]
        # Slopes of the next state in what each gate takes from the state before it.
        slopes = new.new_empty(*new.shape[:-1], 3, new.shape[-1])
        at_reset, at_update, at_sum = slopes.unbind(-2)
        at_new = (1 - update) * (1 - new.square())
        torch.mul(at_new, reset, out=at_sum)
        torch.mul(at_sum * (1 - reset), of_state, out=at_reset)
        torch.mul((before - new) * update, 1 - update, out=at_update)
        total = gradients[0].transpose(0, 1).clone(memory_format=torch.contiguous_format)
        of_sums = _backward_through_time(total, slopes, update, weight.mT.contiguous())
        first = (total[0] * update[0]).baddbmm_(of_sums[0], weight.mT)
        of_gates = of_sums.transpose(0, 1).contiguous()  # [N, T, B, 3H]
        rows = of_gates.flatten(1, 2)
        of_weight = before.transpose(0, 1).flatten(1, 2).mT @ rows
        of_bias = rows.sum(1)
        torch.mul(total.transpose(0, 1), at_new.transpose(0, 1), out=of_gates.chunk(3, -1)[2])
        return of_gates, first, of_weight, of_bias


def _backward_through_time(total: Tensor, slopes: Tensor, update: Tensor, back: Tensor) -> Tensor:
    """Gradient [T, N, B, 3H] of what each state adds to the gates after it.

    ``total`` [T, N, B, H] comes in with the gradient from outside of every state and leaves
    with all of it.
    """
    of_sums = total.new_empty(*total.shape[:-1], 3 * total.shape[-1])
    states, sums, keep = total.unbind(0), of_sums.unbind(0), update.unbind(0)
    by_gate = of_sums.view_as(slopes).unbind(0)
    for t in range(len(states) - 1, -1, -1):
        torch.mul(states[t].unsqueeze(-2), slopes[t], out=by_gate[t])
        if t:
            states[t - 1].addcmul_(states[t], keep[t]).baddbmm_(sums[t], back)
    return of_sums
