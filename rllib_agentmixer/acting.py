"""Choosing actions for B teams at once, and playing whole episodes with them. Free of Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rllib_agentmixer.core.actions import ActionScaling
from rllib_agentmixer.core.batch import Draws, RecurrentState, map_tensors
from rllib_agentmixer.core.critics import StateValueCritic
from rllib_agentmixer.core.distributions import act
from rllib_agentmixer.core.layout import TeamLayout
from rllib_agentmixer.core.outputs import PolicyOutput
from rllib_agentmixer.core.team_network import TeamNetwork
from rllib_agentmixer.envs.vector_env import TeamObs, TeamStep, VectorTeamEnv
from rllib_agentmixer.errors import EnvContractError

PolicyKind = Literal["joint", "individual"]
RowFilter = Callable[[np.ndarray], np.ndarray]
"""Normalises rows [B, F] in place or returns new ones; masks must come through unchanged."""


class EpisodeRecord(NamedTuple):
    """One finished episode: team return, steps, each agent's own return, and diagnostics.

    Diagnostics are the environment's own numbers at the end, such as ``won``.
    """

    episode_return: float
    length: int
    agent_returns: np.ndarray
    is_faulty: bool = False
    diagnostics: dict[str, float] = {}  # noqa: RUF012  nobody writes to it


@dataclass
class EpisodeTracker:
    """Returns and lengths of the episodes that are under way in B copies."""

    num_envs: int
    num_agents: int
    returns: np.ndarray = field(init=False)
    agent_returns: np.ndarray = field(init=False)
    lengths: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.returns = np.zeros(self.num_envs, np.float64)
        self.agent_returns = np.zeros((self.num_envs, self.num_agents), np.float64)
        self.lengths = np.zeros(self.num_envs, np.int64)

    def add(self, step: TeamStep, ended: np.ndarray) -> dict[int, EpisodeRecord]:
        """Take in one step; records of the copies whose episode ended, by copy."""
        self.returns += step.reward
        self.agent_returns += step.agent_rewards
        self.lengths += 1
        records = {}
        for copy in np.flatnonzero(ended):
            records[int(copy)] = EpisodeRecord(
                float(self.returns[copy]),
                int(self.lengths[copy]),
                self.agent_returns[copy].copy(),
                bool(step.faulty[copy]),
                {name: float(v[copy]) for name, v in step.info.items() if np.isfinite(v[copy])},
            )
            self.returns[copy] = self.agent_returns[copy] = self.lengths[copy] = 0
        return records


@dataclass(frozen=True)
class Choice:
    """Actions of B teams as the policy means them, and how they came about.

    Attributes:
        actions: [B, N] or [B, N, A] as the network samples them.
        parameters: [B, P] flat parameters of the policy that acted.
        hidden: recurrent state after the step.
        draws: [B, ...] what a correlated joint policy drew, or None.
    """

    actions: np.ndarray
    parameters: np.ndarray
    hidden: RecurrentState | None
    draws: Draws | None = None


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
            inputs = self.network.draw(inputs, self.generator, explore=explore)
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
        draws = inputs.draws and map_tensors(inputs.draws, lambda x: x[0].cpu())
        parameters = distribution.flat()[0].cpu().numpy()
        return Choice(actions[0].cpu().numpy(), parameters, after, draws)

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


def forget(
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


def play(
    actor: TeamActor,
    env: VectorTeamEnv,
    num_episodes: int,
    *,
    policy: PolicyKind,
    explore: bool,
    seed: int | None,
    row_filter: RowFilter | None = None,
    before_step: Callable[[], None] | None = None,
) -> list[EpisodeRecord]:
    """Play exactly ``num_episodes`` episodes; none is dropped for being long.

    Every copy plays a quota fixed beforehand: taking whichever episodes end first would
    favour short ones.
    """
    rollout = start(actor, env, seed)
    copies = np.arange(env.num_envs)
    quota = num_episodes // env.num_envs + (copies < num_episodes % env.num_envs)
    records: list[EpisodeRecord] = []
    while quota.any():
        if before_step is not None:
            before_step()
        rows = pack_rows(actor.layout, rollout.observation)
        rows = row_filter(rows) if row_filter else rows
        choice = actor.act(rows, rollout.hidden, explore=explore, policy=policy)
        step = env.step(actor.to_env(choice.actions))
        ended = step.terminated | step.truncated
        for copy, record in rollout.tracker.add(step, ended).items():
            if quota[copy] and not record.is_faulty:
                quota[copy] -= 1
                records.append(record)
        rollout.observation = step.observation
        rollout.hidden = forget(choice.hidden, ended, actor.layout.alive(rows))
    return records


def render(
    actor: TeamActor,
    env: VectorTeamEnv,
    *,
    policy: PolicyKind,
    explore: bool,
    seed: int | None,
    row_filter: RowFilter | None = None,
) -> list[np.ndarray]:
    """RGB pictures of one episode in a single copy, one before each step.

    Raises:
        EnvContractError: the environment draws nothing.
    """
    frames: list[np.ndarray] = []

    def draw() -> None:
        frame = env.render(0)
        if frame is None:
            raise EnvContractError(f"{env.spec.name} draws nothing; it needs rgb_array rendering")
        frames.append(frame)

    play(
        actor,
        env,
        1,
        policy=policy,
        explore=explore,
        seed=seed,
        row_filter=row_filter,
        before_step=draw,
    )
    return frames
