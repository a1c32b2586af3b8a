"""Agreement of joint and individual policies, measured on a batch."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.functional import losses
from rllib_agentmixer.core.functional.distributions import TeamGaussian
from rllib_agentmixer.core.teams.outputs import PolicyOutput
from rllib_agentmixer.core.teams.product_policy import ProductPolicy


@torch.no_grad()
def consistency_metrics(team: ProductPolicy, batch: Experience) -> dict[str, Tensor]:
    """Distances of joint and individual policies on a batch.

    One extra forward pass, so callers run it once an iteration and not in every epoch.
    Without a policy modifier they are the same, and nothing is measured.
    """
    if team.is_product:
        return {}
    output: PolicyOutput = team(batch.inputs, batch.hidden, batch.actions)
    valid = batch.valid
    kl = output.joint.kl(output.individual)  # type: ignore[arg-type]
    return {
        "mode_agreement": losses.valid_mean(
            output.joint.agreement(output.individual),  # type: ignore[arg-type]
            valid,
        ),
        "kl_joint_individual": losses.valid_mean(kl, valid),
        "individual_entropy": losses.valid_mean(output.individual.entropy(), valid),
        "joint_entropy": losses.valid_mean(output.joint.entropy(), valid),
    }


@torch.no_grad()
def fit_individual_std(team: ProductPolicy, batch: Experience) -> None:
    r"""Set the individual std of continuous teams to the joint policy's, by moments.

    With equal means, :math:`\sigma_i^2 = \mathbb{E}[\sigma^2(s)]` minimises
    :math:`\mathbb{E}[KL(\text{joint} \,\|\, \text{individual})]`. It is used only when a
    deployed policy samples; discrete teams are left alone.
    """
    if team.sizes.action_kind == "discrete":
        return
    joint = cast(TeamGaussian, team(batch.inputs, batch.hidden, batch.actions).joint)
    counts = (batch.valid.unsqueeze(-1) & joint.alive.bool()).unsqueeze(-1) & joint.valid.bool()
    totals = counts.sum((0, 1))
    variance = (joint.std.square() * counts).sum((0, 1)) / totals.clamp_min(1)
    log_std = team.individual_policies.log_std
    log_std.copy_(torch.where(totals > 0, 0.5 * variance.clamp_min(1e-12).log(), log_std))
