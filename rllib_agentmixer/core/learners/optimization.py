"""Gradient steps: norms, skipping of non-finite gradients, and means of metrics."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from rllib_agentmixer.core.settings.base import NonFinite
from rllib_agentmixer.errors import LearningError

logger = logging.getLogger(__name__)

SKIPPED = "skipped_steps"
"""Metric: share of an update's gradient steps that were skipped."""


class MeanMetrics:
    """Means of metrics over gradient steps; a metric counts in the steps that have it."""

    def __init__(self) -> None:
        self.num_updates = 0
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Tensor] | Mapping[str, float]) -> None:
        """Add the metrics of one gradient step."""
        self.num_updates += 1
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def result(self) -> dict[str, float]:
        """Mean of each metric."""
        return {name: float(value) / self._counts[name] for name, value in self._sums.items()}


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Euclidean norm over all gradients; 0 where there are none."""
    known = list(parameters)
    gradients = [p.grad.flatten() for p in known if p.grad is not None]
    if not gradients:
        return known[0].new_zeros(())
    # One norm of all instead of one for each parameter: these are dozens of small tensors.
    return torch.linalg.vector_norm(torch.cat(gradients))


def take_step(optimizer: torch.optim.Optimizer, norm: Tensor) -> Tensor:
    """One step of a fused optimiser, skipped where the gradients' norm is non-finite.

    Returns:
        [] 1 if the step was skipped: weights and moments are as before.
    """
    is_bad = (~torch.isfinite(norm)).float()
    # What PyTorch's gradient scaler sets; the fused step reads it without waiting for it.
    optimizer.found_inf = is_bad  # type: ignore[attr-defined]
    optimizer.step()
    return is_bad


def report_non_finite(metrics: dict[str, float], policy: NonFinite) -> None:
    """Report skipped steps as ``policy`` demands.

    Args:
        metrics: means over the update, with ``skipped_steps``.
        policy: ``raise`` stops training, ``warn`` logs, ``skip`` leaves it to the metric.

    Raises:
        LearningError: with ``raise``, if a step was skipped.
    """
    if not metrics[SKIPPED] or policy == "skip":
        return
    message = (
        f"gradients were not finite in {metrics[SKIPPED]:.0%} of this update's steps, which left "
        "the weights unchanged. Lower lr or grad_clip, or scale the rewards"
    )
    if policy == "raise":
        raise LearningError(f'{message}; non_finite="skip" skips such steps and continues')
    logger.warning(message)


def check_targets(targets: Tensor) -> None:
    """Reject a batch with non-finite returns, before any statistic includes them.

    Raises:
        LearningError: a target is NaN or infinite.
    """
    if not bool(torch.isfinite(targets).all()):
        worst = targets[~torch.isfinite(targets)][0]
        raise LearningError(
            f"a value target is {float(worst)}: rewards or values outgrew float32; scale the "
            "rewards in the environment"
        )
