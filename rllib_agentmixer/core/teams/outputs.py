"""Outputs of the networks of a team."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rllib_agentmixer.core.data.batch import RecurrentState
from rllib_agentmixer.core.functional.distributions import TeamDistribution


@dataclass(frozen=True)
class PolicyOutput:
    """Joint and individual policies of the same rows.

    Attributes:
        joint: the policy that explores and is trained; under the autoregressive form, each
            agent's given the actions of those before it.
        individual: the product of the policies that will be deployed.
        hidden: recurrent state after the last step, or None.
    """

    joint: TeamDistribution
    individual: TeamDistribution
    hidden: RecurrentState | None


@dataclass(frozen=True)
class Decision:
    """Actions of a team, the policy that they come from, and the recurrent state after them.

    Attributes:
        actions: [T, B, N] indices or [T, B, N, A] vectors.
        policy: distribution of the actions, as probabilities are stored of it.
        hidden: recurrent state after the step, or None.
    """

    actions: Tensor
    policy: TeamDistribution
    hidden: RecurrentState | None


@dataclass(frozen=True)
class Values:
    """V in normalised units, [T, B] of the state or [T, B, N] of histories; critics' state."""

    normalized: Tensor
    hidden: Tensor | None


@dataclass(frozen=True)
class LossTerm:
    """Part of a loss: a scalar and its weight."""

    value: Tensor
    weight: float
