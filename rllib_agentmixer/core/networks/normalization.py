"""Running statistics of the critic's targets."""

from __future__ import annotations

import torch
from torch import nn

from rllib_agentmixer.core.shapes import Bool, Float, Tensor

SMALLEST_STD = 1e-2
"""Floor of the standard deviation: targets that hardly vary must not be blown up."""


class ValueNormalizer(nn.Module):
    """Mean and standard deviation of all value targets seen so far.

    Batches are merged exactly (Chan et al. 1983), so the order of rows does not matter.
    Before the first batch it is the identity.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("count", torch.zeros(()))

    @property
    def std(self) -> Tensor:
        return self.variance.sqrt().clamp_min(SMALLEST_STD)

    @torch.no_grad()
    def update(self, targets: Float[Tensor, "*batch"], valid: Bool[Tensor, "*batch"]) -> None:
        """Merge the statistics of one batch; rows that are not valid do not count."""
        chosen = targets[valid]
        count = float(chosen.numel())
        total = self.count + count
        delta = chosen.mean() - self.mean
        spread = self.variance * self.count + chosen.var(correction=0) * count
        spread = spread + delta.square() * self.count * count / total
        self.mean.add_(delta * count / total)
        self.variance.copy_(spread / total)
        self.count.copy_(total)

    def normalize(self, values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Reward units -> normalised units."""
        return (values - self.mean) / self.std

    def denormalize(self, values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Normalised units -> reward units."""
        return values * self.std + self.mean
