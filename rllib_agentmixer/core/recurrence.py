r"""The recurrence of a gated recurrent unit over whole sequences, with its gradient by hand.

Autograd would record about twenty operations for every time step and add up one gradient of
the recurrent weights after the other. Here a time step costs six operations on the way there
and four on the way back: everything that does not hang on the gradient of the step behind it
is computed for all steps at once, and the gradient of the weights is one matrix product.

.. math:: r &= \sigma(x_r + h W_r + b_r) \quad z = \sigma(x_z + h W_z + b_z) \\
          n &= \tanh(x_n + r \odot (h W_n + b_n)) \quad h' = (1 - z) \odot n + z \odot h

(Cho et al. 2014, in PyTorch's form and order of gates.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

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
    return _not_compiled(gates, hidden, weight, bias)


def _recurrence(gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    num_agents = hidden.shape[0]
    weight = weight.expand(num_agents, -1, -1)
    if gates.shape[1] == 1 and not torch.is_grad_enabled():
        return _one_step(gates[:, 0], hidden, weight, bias).unsqueeze(1)
    return _GatedRecurrence.apply(gates, hidden, weight, bias.expand(num_agents, -1))


# Written out in its operations already, and it would be compiled anew for every T.
_not_compiled = cast(
    "Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]", torch.compiler.disable(_recurrence)
)


def _one_step(gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same without anything kept for a gradient: what acting needs."""
    width = hidden.shape[-1]
    of_state = torch.baddbmm(bias.unsqueeze(1), hidden, weight)
    both = torch.sigmoid(gates[..., : 2 * width] + of_state[..., : 2 * width])
    reset, update = both.chunk(2, -1)
    new = torch.addcmul(gates[..., 2 * width :], reset, of_state[..., 2 * width :]).tanh_()
    return torch.lerp(new, hidden, update)


class _GatedRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        num_agents, num_steps, num_sequences, _ = gates.shape
        width = hidden.shape[-1]
        states = hidden.new_empty(num_agents, num_steps + 1, num_sequences, width)
        states[:, 0] = hidden
        of_state = bias[:, None, None].expand_as(gates).contiguous()
        both = hidden.new_empty(num_agents, num_steps, num_sequences, 2 * width)
        new = hidden.new_empty(num_agents, num_steps, num_sequences, width)
        before, after = states[:, :-1].unbind(1), states[:, 1:].unbind(1)
        parts = zip(
            of_state.unbind(1),
            of_state[..., : 2 * width].unbind(1),
            of_state[..., 2 * width :].unbind(1),
            gates[..., : 2 * width].unbind(1),
            gates[..., 2 * width :].unbind(1),
            both.unbind(1),
            both[..., :width].unbind(1),
            both[..., width:].unbind(1),
            new.unbind(1),
            strict=True,
        )
        for t, (whole, two, third, x_two, x_new, rz, reset, update, n) in enumerate(parts):
            whole.baddbmm_(before[t], weight)
            torch.add(x_two, two, out=rz).sigmoid_()
            torch.addcmul(x_new, reset, third, out=n).tanh_()
            torch.lerp(n, before[t], update, out=after[t])
        ctx.save_for_backward(states, of_state, both, new, weight)
        return states[:, 1:]

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        states, of_state, both, new, weight = ctx.saved_tensors
        reset, update = both.chunk(2, -1)
        before = states[:, :-1]
        # Slopes of the next state in what each gate takes from the state before it.
        slopes = torch.empty_like(of_state)
        at_reset, at_update, at_sum = slopes.chunk(3, -1)
        at_new = torch.addcmul(-update + 1, 1 - update, new.square(), value=-1)
        torch.mul(at_new, reset, out=at_sum)
        torch.mul(at_sum * (1 - reset), of_state.chunk(3, -1)[2], out=at_reset)
        torch.mul((before - new) * update, 1 - update, out=at_update)
        total, of_sums = _backward_through_time(gradients[0], slopes, update, weight)
        of_gates = of_sums.clone()
        torch.mul(total, at_new, out=of_gates.chunk(3, -1)[2])
        first = total[:, 0] * update[:, 0]
        first.baddbmm_(of_sums[:, 0], weight.mT)
        rows = of_sums.flatten(1, 2)
        return of_gates, first, before.flatten(1, 2).mT @ rows, rows.sum(1)


def _backward_through_time(
    gradient: Tensor, slopes: Tensor, update: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient of every state [N, T, B, H], and of what each adds to the gates [N, T, B, 3H]."""
    width = update.shape[-1]
    total = gradient.clone(memory_format=torch.contiguous_format)
    of_sums = torch.empty_like(slopes)
    by_gate = of_sums.unflatten(-1, (3, width)).unbind(1)
    steps = slopes.unflatten(-1, (3, width)).unbind(1)
    states, sums, keep, back = total.unbind(1), of_sums.unbind(1), update.unbind(1), weight.mT
    for t in range(len(states) - 1, -1, -1):
        torch.mul(states[t].unsqueeze(-2), steps[t], out=by_gate[t])
        if t:
            states[t - 1].addcmul_(states[t], keep[t]).baddbmm_(sums[t], back)
    return total, of_sums
