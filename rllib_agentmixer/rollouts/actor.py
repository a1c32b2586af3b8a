"""Actor of B teams at once. Free of Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch

from rllib_agentmixer.core.data.action_scaling import ActionScaling
from rllib_agentmixer.core.data.batch import Latents, RecurrentState, map_tensors
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.teams.outputs import PolicyOutput
from rllib_agentmixer.core.teams.team_module import TeamModule
from rllib_agentmixer.envs.vector_env import TeamObs, VectorTeamEnv
from rllib_agentmixer.rollouts.episodes import EpisodeTracker

PolicyKind = Literal["joint", "individual"]
RowFilter = Callable[[np.ndarray], np.ndarray]
"""Normalises rows [B, F] in place or returns new ones; masks must come through unchanged."""


@dataclass(frozen=True)
class ActionOutput:
    """Actions of B teams in policy units, and the policy that they come from.

    Attributes:
        actions: [B, N] or [B, N, A] as the network samples them.
        parameters: [B, P] flat parameters of the policy that acted.
        hidden: recurrent state after the step.
        latents: [B, ...] of a correlated joint policy, or None.
    """

    actions: np.ndarray
    parameters: np.ndarray
    hidden: RecurrentState | None
    latents: Latents | None = None


class Actor(Protocol):
    """What chooses the actions of B teams."""

    layout: TeamLayout

    def initial_state(self, num_envs: int) -> RecurrentState | None: ...

    def act(
        self,
        rows: np.ndarray,
        hidden: RecurrentState | None,
        *,
        explore: bool,
        policy: PolicyKind,
    ) -> ActionOutput: ...

    def to_env(self, actions: np.ndarray) -> np.ndarray: ...


@dataclass
class TeamActor:
    """Actor of B teams, with its own random state.

    Attributes:
        module: networks of the team, on any device; actions and noise remain on the CPU.
        layout: how rows hold joint observations.
        generator: source of action noise, part of the exact-resume state.
        scaling: from policy to environment actions; None for discrete teams.
        forward: the module's forward pass in a compiled form, or None.
    """

    module: TeamModule
    layout: TeamLayout
    generator: torch.Generator
    scaling: ActionScaling | None = None
    forward: Callable[..., PolicyOutput] | None = None

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return self.module.device

    def initial_state(self, num_envs: int) -> RecurrentState | None:
        """Recurrent state at the start of an episode; None for feed-forward policies."""
        return self.module.initial_state(num_envs)

    @torch.inference_mode()
    def act(
        self,
        rows: np.ndarray,
        hidden: RecurrentState | None,
        *,
        explore: bool,
        policy: PolicyKind = "joint",
    ) -> ActionOutput:
        """Choose for rows [B, F]; the individual policies read no state even if it is there."""
        inputs = self.layout.inputs(torch.from_numpy(rows).to(self.device).unsqueeze(0))
        noise = self.generator
        if policy == "joint":
            inputs = self.module.sample_latents(inputs, noise, explore=explore)
            decision = self.module.act(
                inputs, hidden, explore=explore, generator=noise, forward=self.forward
            )
        else:
            decision = self.module.act_individually(
                inputs, hidden, explore=explore, generator=noise
            )
        latents = inputs.latents and map_tensors(inputs.latents, lambda x: x[0].cpu())
        parameters = decision.policy.flat()[0].cpu().numpy()
        actions = decision.actions[0].cpu().numpy()
        return ActionOutput(actions, parameters, decision.hidden, latents)

    def to_env(self, actions: np.ndarray) -> np.ndarray:
        """Policy actions -> environment actions."""
        return actions if self.scaling is None else self.scaling(actions)


@dataclass
class RolloutState:
    """State of B sub-environments between two fragments."""

    observation: TeamObs
    hidden: RecurrentState | None
    tracker: EpisodeTracker


def start(actor: Actor, env: VectorTeamEnv, seed: int | None = None) -> RolloutState:
    """Fresh episodes in all sub-environments."""
    observation = env.reset(seed)
    return RolloutState(
        observation,
        actor.initial_state(env.num_envs),
        EpisodeTracker(env.num_envs, env.spec.num_agents),
    )


def pack_rows(layout: TeamLayout, observation: TeamObs) -> np.ndarray:
    """[B, F] one row per sub-environment."""
    rows = np.empty((len(observation.obs), layout.row_size), np.float32)
    layout.pack(vars(observation), rows)
    return rows


def reset_hidden(
    hidden: RecurrentState | None, ended: np.ndarray, alive: np.ndarray
) -> RecurrentState | None:
    """Recurrent state with zeros where an episode or an agent's presence ended.

    It is zero after the end of an episode, and for an agent that joins later or returns: alone,
    it would have observed nothing while it was absent. Critics continue.

    Args:
        hidden: after a step.
        ended: [B].
        alive: [B, N] agents that took part in the step.
    """
    if hidden is None:
        return hidden
    if ended.any():
        continues = torch.from_numpy(~ended).unsqueeze(-1)
        hidden = map_tensors(hidden, lambda x: x * continues.to(x.device))
    if not alive.all():
        present = torch.from_numpy(alive.T).unsqueeze(-1).to(hidden.individual.device)
        hidden = replace(hidden, individual=hidden.individual * present)
    return hidden
