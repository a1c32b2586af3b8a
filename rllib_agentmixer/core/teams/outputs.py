"""What a team's networks put out."""

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
class JointDecision:
    """What the team does: [T, B, N] or [T, B, N, A] actions, and the policy they come from."""

    actions: Tensor
    policy: TeamDistribution
    hidden: RecurrentState | None


@dataclass(frozen=True)
class IndividualDecision:
    """Decentralised policies of some rows, and their recurrent state [N, B, H] or None."""

    policy: TeamDistribution
    hidden: Tensor | None


@dataclass(frozen=True)
class Values:
    """V in normalised units, [T, B] of the state or [T, B, N] of histories; critics' state."""

    normalized: Tensor
    hidden: Tensor | None
