"""Equilibrium gaps of a trained team on a normal-form game."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from rllib_agentmixer.analysis import equilibrium
from rllib_agentmixer.core.data.batch import TeamInputs, map_tensors
from rllib_agentmixer.core.functional.distributions import TeamCategorical
from rllib_agentmixer.core.generators import seeded
from rllib_agentmixer.envs.vector_env import VectorTeamEnv
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.rollouts.actor import TeamActor, pack_rows
from rllib_agentmixer.rollouts.team import Team

MAX_JOINT_ACTIONS = 50_000
"""Most joint actions whose probabilities are enumerated."""

NUM_DRAWS = 256
"""Signals, or orders of agents, that are averaged over: probabilities then have a standard
error of at most 0.03."""

LOGGED_DRAWS = 64
LOGGED_JOINT_ACTIONS = 1000
"""Games up to this size report their gaps at every training iteration."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GameAnalysis:
    """Policies of a team on a game of one decision.

    Attributes:
        payoffs: [N, A_1, .., A_N] of every player.
        joint: [A_1, .., A_N] probability of every joint action under the joint policy, with
            the latents of a correlated form integrated out.
        individual: N vectors [A_i]: the individual policies' probabilities.
    """

    payoffs: Array
    joint: Array
    individual: list[Array]

    def metrics(self) -> dict[str, float]:
        """Gaps in payoff units, and the team's expected payoff under both kinds of policies.

        ``joint_correlated_gap`` and ``joint_coarse_gap`` are the epsilons of an approximate
        (coarse) correlated equilibrium, ``individual_nash_gap`` that of a Nash equilibrium.
        """
        product = equilibrium.product(self.individual)
        team = self.payoffs.mean(0)
        return {
            "joint_correlated_gap": equilibrium.correlated_equilibrium_gap(
                self.payoffs, self.joint
            ),
            "joint_coarse_gap": equilibrium.coarse_correlated_equilibrium_gap(
                self.payoffs, self.joint
            ),
            "individual_nash_gap": equilibrium.nash_gap(self.payoffs, self.individual),
            "joint_expected_payoff": float((team * self.joint).sum()),
            "individual_expected_payoff": float((team * product).sum()),
        }


def from_team(
    team: Team, *, num_draws: int = NUM_DRAWS, seed: int = 0, payoffs: Array | None = None
) -> GameAnalysis:
    """Joint and individual policies of a team on its matrix game.

    Recurrent policies are read at the first decision of an episode.

    Args:
        team: trained on a game that says its ``payoffs()``.
        num_draws: signals or orders of agents to average over; other forms are exact.
        seed: of these latents.
        payoffs: [N, A_1, .., A_N]; None asks the environment.

    Raises:
        ConfigError: the environment is no matrix game, or too large to enumerate.
    """
    num_joint_actions = math.prod(team.spec.action_sizes)
    if num_joint_actions > MAX_JOINT_ACTIONS:
        raise ConfigError(
            f"the game has {num_joint_actions:,} joint actions, at most {MAX_JOINT_ACTIONS:,} "
            "are enumerated; analyse a smaller game"
        )
    env = team.vector_env(1)
    try:
        payoffs = env.payoffs() if payoffs is None else payoffs
        row = pack_rows(team.layout, env.reset(seed))
    finally:
        env.close()
    if payoffs is None:
        raise ConfigError(
            f"{team.spec.name} has no payoff table; equilibria are analysed on matrix games"
        )
    row = team.obs_filter.standardize(row) if team.obs_filter else row
    return analyse(team.actor(seeded(seed)), row, payoffs, num_draws=num_draws)


def from_algorithm(algorithm: Any, *, num_draws: int = NUM_DRAWS, seed: int = 0) -> GameAnalysis:
    """The same of an algorithm of RLlib, built or restored: see :func:`from_team`."""
    return from_team(algorithm.team, num_draws=num_draws, seed=seed)


@torch.inference_mode()
def analyse(actor: TeamActor, row: np.ndarray, payoffs: Array, *, num_draws: int) -> GameAnalysis:
    """The same from an actor and one joint observation [1, F]; knows no Ray."""
    module = actor.module
    inputs = actor.layout.inputs(torch.from_numpy(row).to(actor.device).unsqueeze(0))
    sizes = payoffs.shape[1:]
    alone = module.act_individually(
        inputs, module.initial_state(1), explore=False, generator=None
    ).policy
    probabilities = cast(TeamCategorical, alone).log_probs[0, 0].exp().double().cpu()
    individual = [p[:size].numpy() for p, size in zip(probabilities, sizes, strict=True)]
    joint = _joint_probabilities(actor, inputs, sizes, num_draws)
    return GameAnalysis(
        np.asarray(payoffs, np.float64),
        joint / joint.sum(),  # float32 networks: sums to one up to rounding
        [p / p.sum() for p in individual],
    )


def _joint_probabilities(
    actor: TeamActor, inputs: TeamInputs, sizes: tuple[int, ...], num_draws: int
) -> Array:
    """Every joint action evaluated by teacher forcing, averaged over latents."""
    every = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=-1)
    module, num_actions = actor.module, len(every)
    if module.sample_latents(inputs, torch.Generator(), explore=True).latents is None:
        num_draws = 1
    per_pass = max(1, MAX_JOINT_ACTIONS // num_actions)
    total = np.zeros(num_actions)
    for first in range(0, num_draws, per_pass):
        count = min(per_pass, num_draws - first)
        drawn = module.sample_latents(_repeat(inputs, count), actor.generator, explore=True)
        given = map_tensors(drawn, lambda x: x.repeat_interleave(num_actions, dim=1))
        actions = torch.from_numpy(every).to(actor.device).repeat(count, 1).unsqueeze(0)
        hidden = module.initial_state(count * num_actions)
        log_prob = module(given, hidden, actions).joint.log_prob(actions)
        probabilities = log_prob[0].double().exp().view(count, num_actions)
        total += probabilities.sum(0).cpu().numpy()
    return (total / num_draws).reshape(sizes)


def _repeat(inputs: TeamInputs, count: int) -> TeamInputs:
    """One row [1, 1, ..] as ``count`` rows."""
    return map_tensors(inputs, lambda x: x.expand(1, count, *x.shape[2:]))


def training_metrics(env: VectorTeamEnv, team: Callable[[], Team]) -> dict[str, float]:
    """Gaps of a matrix game that is small enough, for logging; nothing elsewhere.

    Args:
        env: that the team trains in.
        team: returns the team.
    """
    # The size first: the table of a large game is too much to build at every iteration.
    if math.prod(env.spec.action_sizes) > LOGGED_JOINT_ACTIONS:
        return {}
    payoffs = env.payoffs()
    if payoffs is None:
        return {}
    return from_team(team(), num_draws=LOGGED_DRAWS, payoffs=payoffs).metrics()
