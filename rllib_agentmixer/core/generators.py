"""Random generators: reproducible with a seed, and different everywhere without one."""

from __future__ import annotations

import torch


def seeded(seed: int | None) -> torch.Generator:
    """Random generator of PyTorch.

    Args:
        seed: of its stream; None draws one from the system's entropy, since a new
            ``torch.Generator`` starts at the same number in every process.
    """
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator
