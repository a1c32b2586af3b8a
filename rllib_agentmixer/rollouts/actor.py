"""Choosing actions for B teams at once, and playing whole episodes with them. Free of Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rllib_agentmixer.core.data.action_scaling import ActionScaling
from rllib_agentmixer.core.data.batch import Latents, RecurrentState, map_tensors
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.functional.distributions import act
from rllib_agentmixer.core.networks.critics import StateValueCritic
from rllib_agentmixer.core.teams.joint_policy import TeamNetwork
from rllib_agentmixer.core.teams.outputs import PolicyOutput
from rllib_agentmixer.envs.vector_env import TeamObs, VectorTeamEnv
from rllib_agentmixer.rollouts.episodes import EpisodeTracker

PolicyKind = Literal["joint", "individual"]
RowFilter = Callable[[np.ndarray], np.ndarray]
"""Normalises rows [B, F] in place or returns new ones; masks must come through unchanged."""


@dataclass(frozen=True)
class Choice:
    """Actions of B teams as the policy means them, and how they came about.

    Attributes:
        actions: [B, N] or [B, N, A] as the network samples them.
        parameters: [B, P] flat parameters of the policy that acted.
        hidden: recurrent state after the step.
        latents: [B, ...] what a correlated joint policy drew, or None.
    """

    actions: np.ndarray
    parameters: np.ndarray
    hidden: RecurrentState | None
    latents: Latents | None = None


@dataclass
class TeamActor:
    """Chooses actions for B teams with a network; owns the randomness of the choice.

    Attributes:
        network: the team's networks, on any device; actions and noise stay on the processor.
        layout: how rows hold joint observations.
        generator: source of action noise, part of the exact-resume state.
        scaling: from policy to environment actions; None for discrete teams.
        forward: the network's forward pass in a compiled form, or None.
    """

    network: TeamNetwork
    layout: TeamLayout
    generator: torch.Generator
    scaling: ActionScaling | None = None
    forward: Callable[..., PolicyOutput] | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.individual_policies.log_std.device

    @torch.inference_mode()
    def act(
        self,
        rows: np.ndarray,
        hidden: RecurrentState | None,
        *,
        explore: bool,
        policy: PolicyKind = "joint",
    ) -> Choice:
        """Choose for rows [B, F]; the individual policies read no state even if it is there."""
        inputs = self.layout.inputs(torch.from_numpy(rows).to(self.device).unsqueeze(0))
        if policy == "joint":
            inputs = self.network.sample_latents(inputs, self.generator, explore=explore)
            decision = self.network.decide(
                inputs, hidden, explore=explore, generator=self.generator, forward=self.forward
            )
            actions, distribution, after = decision.actions, decision.policy, decision.hidden
        else:
            alone = self.network.decide_individually(inputs, hidden.individual if hidden else None)
            distribution, after = alone.policy, None
            actions = act(distribution, explore=explore, generator=self.generator)
            if hidden is not None and alone.hidden is not None:
                after = replace(hidden, individual=alone.hidden)
        latents = inputs.latents and map_tensors(inputs.latents, lambda x: x[0].cpu())
        parameters = distribution.flat()[0].cpu().numpy()
        return Choice(actions[0].cpu().numpy(), parameters, after, latents)

    @torch.inference_mode()
    def values(self, rows: np.ndarray, hidden: Tensor | None = None) -> Tensor:
        """V in reward units, on the processor: [...] of the state or [..., N] of histories.

        Args:
            rows: [..., F].
            hidden: [N, R, H] state of a recurrent critic before each of the R rows.
        """
        tensor = torch.from_numpy(rows).to(self.device)
        if isinstance(self.network.critic, StateValueCritic):
            return self.network.critic.value(tensor[..., self.layout.slices["state"]]).cpu()
        inputs = self.layout.inputs(tensor.reshape(1, -1, rows.shape[-1]))
        values = self.network.values(inputs, hidden).normalized
        values = self.network.critic.normalizer.denormalize(values).cpu()
        return values.reshape(*rows.shape[:-1], -1)

    def to_env(self, actions: np.ndarray) -> np.ndarray:
        """Policy actions -> environment actions."""
        return actions if self.scaling is None else self.scaling(actions)


@dataclass
class RolloutState:
    """Where B copies stand between two fragments."""

    observation: TeamObs
    hidden: RecurrentState | None
    tracker: EpisodeTracker


def start(actor: TeamActor, env: VectorTeamEnv, seed: int | None = None) -> RolloutState:
    """Fresh episodes in all copies."""
    observation = env.reset(seed)
    return RolloutState(
        observation,
        actor.network.initial_state(env.num_envs),
        EpisodeTracker(env.num_envs, env.spec.num_agents),
    )


def pack_rows(layout: TeamLayout, observation: TeamObs) -> np.ndarray:
    """[B, F] one row per copy."""
    rows = np.empty((len(observation.obs), layout.row_size), np.float32)
    layout.pack(vars(observation), rows)
    return rows


def reset_hidden(
    hidden: RecurrentState | None, ended: np.ndarray, alive: np.ndarray
) -> RecurrentState | None:
    """Recurrent state without what belongs to the past.

    Copies whose episode ended start from zero, and so does an agent that joins later or comes
    back: alone, it would have seen nothing while it was away. Critics go on.

    Args:
        hidden: after a step.
        ended: [B].
        alive: [B, N] agents that took part in the step.
    """
    if hidden is None:
        return hidden
    if ended.any():
        kept = torch.from_numpy(~ended).unsqueeze(-1)
        hidden = map_tensors(hidden, lambda x: x * kept.to(x.device))
    if not alive.all():
        present = torch.from_numpy(alive.T).unsqueeze(-1).to(hidden.individual.device)
        hidden = replace(hidden, individual=hidden.individual * present)
    return hidden
