"""Losses as pure functions: tensors in, one scalar out, no branch that depends on data."""

from __future__ import annotations

import torch

from rllib_agentmixer.core.shapes import Bool, Float, Tensor


def valid_mean(x: Float[Tensor, "*batch"], valid: Bool[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """Mean over rows that are not padding."""
    return (x * valid).sum() / valid.sum()


def clipped_policy_loss(
    log_prob: Float[Tensor, "*batch"],
    old_log_prob: Float[Tensor, "*batch"],
    advantages: Float[Tensor, "*ones"],
    valid: Bool[Tensor, "*batch"],
    *,
    clip_param: float,
) -> Float[Tensor, ""]:
    r"""PPO's clipped surrogate, averaged over what counts.

    .. math:: L = -\mathbb{E}[\min(\rho A,\ \mathrm{clip}(\rho, 1-\epsilon, 1+\epsilon) A)]

    with :math:`\rho = \pi(a|s) / \pi_{old}(a|s)` the ratio of *joint* probabilities, or of each
    agent's own (MAPPO) where the arrays have an axis of agents.

    Args:
        log_prob: log-probability in nats of the action under the current policy.
        old_log_prob: the same under the policy that acted; carries no gradient.
        advantages: scaled by the caller, broadcast to ``log_prob``; no gradient.
        valid: False on padding and dead agents, whose other entries must be finite.
        clip_param: epsilon, the largest change of the ratio that is still rewarded.

    Reference: Schulman et al. 2017, arXiv:1707.06347, eq. 7.
    """
    ratio = (log_prob - old_log_prob).exp()
    clipped = ratio.clamp(1 - clip_param, 1 + clip_param)
    return -valid_mean(torch.minimum(ratio * advantages, clipped * advantages), valid)


def policy_gradient_loss(
    log_prob: Float[Tensor, "*batch"],
    advantages: Float[Tensor, "*ones"],
    valid: Bool[Tensor, "*batch"],
) -> Float[Tensor, ""]:
    r"""A2C's loss: :math:`L = -\mathbb{E}[A \log \pi(a|s)]`, for one pass over fresh experience.

    Args:
        log_prob: log-probability in nats under the policy that acted; gradient flows.
        advantages: scaled by the caller, broadcast to ``log_prob``; no gradient.
        valid: entries that count.

    Reference: Mnih et al. 2016, arXiv:1602.01783.
    """
    return -valid_mean(log_prob * advantages, valid)


def clip_fraction(
    log_prob: Float[Tensor, "*batch"],
    old_log_prob: Float[Tensor, "*batch"],
    valid: Bool[Tensor, "*batch"],
    *,
    clip_param: float,
) -> Float[Tensor, ""]:
    """Share of entries whose ratio lies outside [1 - epsilon, 1 + epsilon]."""
    ratio = (log_prob - old_log_prob).exp()
    return valid_mean(((ratio - 1).abs() > clip_param).float(), valid)


def huber(error: Float[Tensor, "*batch"], *, delta: float) -> Float[Tensor, "*batch"]:
    r"""Quadratic near zero, linear beyond delta: :math:`e^2/2` or :math:`\delta(|e|-\delta/2)`."""
    size = error.abs()
    return torch.where(size <= delta, 0.5 * error.square(), delta * (size - 0.5 * delta))


def clipped_value_loss(
    values: Float[Tensor, "*batch"],
    old_values: Float[Tensor, "*batch"],
    targets: Float[Tensor, "*batch"],
    valid: Bool[Tensor, "*batch"],
    *,
    clip: float,
    huber_delta: float,
) -> Float[Tensor, ""]:
    r"""Huber loss of V, the worse of the new prediction and the one clipped around the old.

    .. math:: L = \mathbb{E}[\max(h(V - R),\ h(V_{old} + \mathrm{clip}(V - V_{old}, \pm c) - R))]

    Args:
        values: V(s) in normalised units; gradient flows.
        old_values: V(s) when the rollout was collected, same units, no gradient.
        targets: R, same units, no gradient.
        valid: False on padded steps.
        clip: c, largest change of the prediction that is still rewarded.
        huber_delta: where h turns linear.

    Reference: Yu et al. 2022, arXiv:2103.01955, appendix A (MAPPO's value loss).
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    plain = huber(values - targets, delta=huber_delta)
    pessimistic = torch.maximum(plain, huber(clipped - targets, delta=huber_delta))
    return valid_mean(pessimistic, valid)


def explained_variance(
    values: Float[Tensor, "*batch"],
    targets: Float[Tensor, "*batch"],
    valid: Bool[Tensor, "*batch"],
) -> Float[Tensor, ""]:
    r"""Share of the targets' variance that V explains: 1 is perfect, 0 a constant.

    .. math:: 1 - \mathrm{Var}[R - V] / \mathrm{Var}[R]
    """

    def variance(x: Tensor) -> Tensor:
        return valid_mean((x - valid_mean(x, valid)).square(), valid)

    return 1 - variance(targets - values) / variance(targets).clamp_min(1e-8)
