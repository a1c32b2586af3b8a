"""Random generators with and without a seed."""

import torch

from rllib_agentmixer.core.generators import seeded


def draws(seed):
    return torch.rand(4, generator=seeded(seed))


def test_a_seed_determines_the_stream():
    assert torch.equal(draws(3), draws(3))
    assert not torch.equal(draws(3), draws(4))


def test_without_a_seed_every_generator_has_its_own_stream():
    first = draws(None)
    assert not torch.equal(first, draws(None))
    assert not torch.equal(first, torch.rand(4, generator=torch.Generator()))
