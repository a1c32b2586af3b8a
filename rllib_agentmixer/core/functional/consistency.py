r"""Individual-Global-Consistency: how individual policies and dispersion make the joint policy.

IGC (arXiv:2401.08728, definition 3) asks that the mode of the joint policy equal the tuple
of the modes of the individual ones. The mode-carrying quantity (logits :math:`l`, mean
:math:`\mu`) comes from the individual policy, which receives its gradient; the dispersion
comes from the policy modifier's output :math:`b`.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from rllib_agentmixer.core.data.batch import map_tensors
from rllib_agentmixer.core.functional.distributions import MASKED_LOGIT, TeamDistribution
from rllib_agentmixer.core.functional.losses import valid_mean
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.shapes import Bool, Float, Tensor


def _times(x: Tensor, factor: float) -> Tensor:
    """Product, without a pass over memory where the factor is the usual 1."""
    return x if factor == 1 else x * factor


def _over(x: Tensor, divisor: float | Tensor) -> Tensor:
    return x if not isinstance(divisor, Tensor) and divisor == 1 else x / divisor


def gumbel_joint_logits(
    logits: Float[Tensor, "*batch A"],
    modifier: Float[Tensor, "*batch A"],
    action_mask: Bool[Tensor, "*batch A"],
    *,
    ceiling: float,
    gain: float,
    temperature: float | Tensor,
) -> Float[Tensor, "*batch A"]:
    r"""The published discrete form: a learned Gumbel perturbation of the logits.

    .. math:: m = (l + g) / \tau,\quad g = -\log(-\log u),\quad u = y\,\sigma(\kappa b)

    computed as :math:`g = -\log(\mathrm{softplus}(-\kappa b) - \log y)`, which remains finite
    where the direct form overflows. Modes need not agree: nothing bounds g.

    Args:
        logits: l, individual logits; gradient flows to the individual policies.
        modifier: b; gradient flows to the policy modifier.
        action_mask: legal actions; masked after mixing.
        ceiling: y in (0, 1).
        gain: kappa > 0.
        temperature: tau > 0.
    """
    g = -(functional.softplus(_times(modifier, -gain)) - math.log(ceiling)).log()
    return _over(logits + g, temperature).masked_fill(~action_mask, MASKED_LOGIT)


def strict_joint_logits(
    logits: Float[Tensor, "*batch A"],
    modifier: Float[Tensor, "*batch A"],
    action_mask: Bool[Tensor, "*batch A"],
    *,
    bound: float,
    gain: float,
    temperature: float | Tensor,
) -> Float[Tensor, "*batch A"]:
    r"""The mode-keeping discrete form: the modifier stretches gaps below the mode.

    .. math:: l'_j = -(l_m - l_j)\, e^{r_j} / \tau,\quad m = \arg\max l,\quad
              r = \rho \tanh(\kappa b / \rho)

    No entry exceeds :math:`0 = l'_m`, and ties remain ties, so the mode is exactly kept for
    every b. Arguments as in :func:`gumbel_joint_logits`; ``bound`` is rho.
    """
    gaps = logits - logits.amax(-1, keepdim=True)
    stretch = (bound * torch.tanh(_times(modifier, gain) / bound)).exp()
    return _over(gaps * stretch, temperature).masked_fill(~action_mask, MASKED_LOGIT)


def joint_std(
    modifier: Float[Tensor, "*batch A"], *, ceiling: float, gain: float, min_std: float
) -> Float[Tensor, "*batch A"]:
    r"""Standard deviation of continuous joint actions, :math:`\max(y\,\sigma(\kappa b), \sigma_0)`.

    The joint mean is the individual mean itself, so IGC holds exactly.
    """
    return (ceiling * torch.sigmoid(_times(modifier, gain))).clamp_min(min_std)


def joint_parameters(
    settings: AgentMixerSettings,
    head: Float[Tensor, "*batch A"],
    dispersion: Float[Tensor, "*batch P"],
    action_mask: Bool[Tensor, "*batch A"],
    *,
    is_discrete: bool,
    temperature: float | Tensor,
) -> tuple[Tensor, ...]:
    """Logits, or mean and standard deviation, of the joint policy in the chosen form.

    Args:
        settings: IGC form, ceiling, gain, bound and floor.
        head: individual logits or means.
        dispersion: the modifier's output b; [.., 2 A] of a continuous team without IGC.
        action_mask: legal actions, or existing action dimensions.
        is_discrete: kind of the actions.
        temperature: tau of the discrete forms.
    """
    squash = {"ceiling": settings.dispersion_ceiling, "gain": settings.dispersion_gain}
    if not is_discrete:
        mean, spread = dispersion.chunk(2, -1) if settings.igc == "none" else (head, dispersion)
        return mean, joint_std(spread, **squash, min_std=settings.min_std)
    if settings.igc == "none":
        return (_over(dispersion, temperature).masked_fill(~action_mask, MASKED_LOGIT),)
    if settings.igc == "gumbel":
        logits = gumbel_joint_logits(
            head, dispersion, action_mask, **squash, temperature=temperature
        )
    else:
        logits = strict_joint_logits(
            head,
            dispersion,
            action_mask,
            bound=settings.strict_bound,
            gain=settings.dispersion_gain,
            temperature=temperature,
        )
    return (logits,)


def distillation_loss(
    joint: TeamDistribution, individual: TeamDistribution, valid: Bool[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    r"""The projection step of imitation: :math:`KL(\text{joint} \,\|\, \text{individual})`.

    Gradient reaches the individual policies alone; the joint policy is the teacher.
    """
    teacher = map_tensors(joint, Tensor.detach)
    return valid_mean(teacher.kl(individual), valid)  # type: ignore[arg-type]
