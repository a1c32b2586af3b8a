r"""Individual-Global-Consistency: how individual policies and dispersion make the joint policy.

IGC (arXiv:2401.08728, definition 3) asks that the mode of the joint policy equal the tuple
of the modes of the individual ones. The mode-carrying quantity (logits :math:`l`, mean
:math:`\mu`) comes from the individual policy and brings it its gradient; the dispersion
comes from the policy modifier's output :math:`b`.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from rllib_agentmixer.core.individual_policies import MASKED_LOGIT
from rllib_agentmixer.core.shapes import Bool, Float, Tensor


def gumbel_joint_logits(
    logits: Float[Tensor, "*batch A"],
    modifier: Float[Tensor, "*batch A"],
    action_mask: Bool[Tensor, "*batch A"],
    *,
    ceiling: float,
    gain: float,
    temperature: float,
) -> Float[Tensor, "*batch A"]:
    r"""The published discrete form: a learned Gumbel perturbation of the logits.

    .. math:: m = (l + g) / \tau,\quad g = -\log(-\log u),\quad u = y\,\sigma(\kappa b)

    computed as :math:`g = -\log(\mathrm{softplus}(-\kappa b) - \log y)`, which stays finite
    where the direct form overflows. Modes need not agree: nothing bounds g.

    Args:
        logits: l, individual logits; gradient flows to the individual policies.
        modifier: b; gradient flows to the policy modifier.
        action_mask: legal actions; masked after mixing.
        ceiling: y in (0, 1).
        gain: kappa > 0.
        temperature: tau > 0.
    """
    g = -(functional.softplus(-gain * modifier) - math.log(ceiling)).log()
    return ((logits + g) / temperature).masked_fill(~action_mask, MASKED_LOGIT)


def strict_joint_logits(
    logits: Float[Tensor, "*batch A"],
    modifier: Float[Tensor, "*batch A"],
    action_mask: Bool[Tensor, "*batch A"],
    *,
    bound: float,
    gain: float,
    temperature: float,
) -> Float[Tensor, "*batch A"]:
    r"""The mode-keeping discrete form: the modifier stretches gaps below the mode.

    .. math:: l'_j = -(l_m - l_j)\, e^{r_j} / \tau,\quad m = \arg\max l,\quad
              r = \rho \tanh(\kappa b / \rho)

    No entry exceeds :math:`0 = l'_m`, and ties stay ties, so the mode is exactly kept for
    every b. Arguments as in :func:`gumbel_joint_logits`; ``bound`` is rho.
    """
    gaps = logits - logits.amax(-1, keepdim=True)
    stretch = (bound * torch.tanh(gain * modifier / bound)).exp()
    return (gaps * stretch / temperature).masked_fill(~action_mask, MASKED_LOGIT)


def joint_std(
    modifier: Float[Tensor, "*batch A"], *, ceiling: float, gain: float, min_std: float
) -> Float[Tensor, "*batch A"]:
    r"""Standard deviation of continuous joint actions, :math:`\max(y\,\sigma(\kappa b), \sigma_0)`.

    The joint mean is the individual mean itself, so IGC holds exactly.
    """
    return (ceiling * torch.sigmoid(gain * modifier)).clamp_min(min_std)
