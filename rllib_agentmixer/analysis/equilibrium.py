r"""Exact equilibrium gaps of joint distributions in normal-form games.

Every gap is the largest gain of one player by a unilateral deviation, in payoff units; 0
means equilibrium. With :math:`p` the distribution over joint actions and :math:`u_i` the
payoffs of player i:

* correlated: the deviation may depend on the recommended action (Aumann 1987),
* coarse correlated: the deviation is chosen before the recommendation,
* Nash: the players randomize independently.

AgentMixer's joint policy converges to an :math:`\epsilon`-approximate correlated equilibrium
(arXiv:2401.08728, theorem 2); these functions compute epsilon.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rllib_agentmixer.errors import ConfigError

MAX_ENTRIES = 20_000_000
"""Largest payoff table that is enumerated."""

TOLERANCE = 1e-6
"""Tolerance for the sum of probabilities."""

Array = NDArray[np.float64]


def correlated_equilibrium_gap(payoffs: ArrayLike, distribution: ArrayLike) -> float:
    r"""Largest gain of a player who may swap each recommended action for another.

    .. math:: \max_i \sum_{a_i} \max_{a_i'} \sum_{a_{-i}} p(a_i, a_{-i})
              [u_i(a_i', a_{-i}) - u_i(a_i, a_{-i})]

    Args:
        payoffs: [N, A_1, .., A_N] payoff of every player under every joint action.
        distribution: [A_1, .., A_N] probability of every joint action.

    Raises:
        ConfigError: mismatched shapes, not a distribution, or too large a game.
    """
    table, joint = _game(payoffs), _distribution(distribution)
    _check_fit(table, joint)
    return max(float(_swap_gains(table[i], joint, i).max(1).sum()) for i in range(len(table)))


def coarse_correlated_equilibrium_gap(payoffs: ArrayLike, distribution: ArrayLike) -> float:
    r"""Largest gain of a player who may choose one fixed action instead of following.

    .. math:: \max_i \max_{a_i'} \sum_a p(a) [u_i(a_i', a_{-i}) - u_i(a)]

    Arguments and errors as in :func:`correlated_equilibrium_gap`.
    """
    table, joint = _game(payoffs), _distribution(distribution)
    _check_fit(table, joint)
    gains = [float(_swap_gains(table[i], joint, i).sum(0).max()) for i in range(len(table))]
    return max(gains)


def nash_gap(payoffs: ArrayLike, strategies: Sequence[ArrayLike]) -> float:
    r"""Largest gain of a player who deviates from independent strategies.

    .. math:: \max_i \max_{a_i'} u_i(a_i', \sigma_{-i}) - u_i(\sigma)

    Args:
        payoffs: [N, A_1, .., A_N].
        strategies: N vectors of probabilities, [A_i] each.

    Raises:
        ConfigError: as in :func:`correlated_equilibrium_gap`.
    """
    vectors = [_distribution(strategy) for strategy in strategies]
    return coarse_correlated_equilibrium_gap(payoffs, product(vectors))


def product(strategies: Sequence[ArrayLike]) -> Array:
    """[A_1, .., A_N] product distribution of independent strategies."""
    return reduce(np.multiply.outer, [np.asarray(s, np.float64) for s in strategies])


def _swap_gains(payoff: Array, joint: Array, player: int) -> Array:
    """[recommended, played] expected gain of playing one action where another is recommended."""
    by_action = np.moveaxis(joint, player, 0).reshape(joint.shape[player], -1)
    worth = np.moveaxis(payoff, player, 0).reshape(joint.shape[player], -1)
    played = by_action @ worth.T
    return played - np.diag(played)[:, None]


def _game(payoffs: ArrayLike) -> Array:
    table = np.asarray(payoffs, np.float64)
    if table.size > MAX_ENTRIES:
        raise ConfigError(
            f"the payoff table has {table.size:,} entries, at most {MAX_ENTRIES:,} are enumerated"
        )
    if table.ndim < 2 or len(table) != table.ndim - 1:
        raise ConfigError(
            f"payoffs must have shape [N, A_1, .., A_N] with N axes of actions, got {table.shape}"
        )
    if not np.isfinite(table).all():
        raise ConfigError("payoffs must be finite, got NaN or infinity")
    return table


def _distribution(values: ArrayLike) -> Array:
    joint = np.asarray(values, np.float64)
    if not np.isfinite(joint).all() or (joint < -TOLERANCE).any():
        raise ConfigError(f"probabilities must not be negative, got {joint.min()}")
    if abs(joint.sum() - 1) > TOLERANCE:
        raise ConfigError(f"probabilities must sum to 1, got {joint.sum():.6g}")
    return joint


def _check_fit(table: Array, joint: Array) -> None:
    if table.shape[1:] != joint.shape:
        raise ConfigError(
            f"payoffs have actions {table.shape[1:]}, the distribution {joint.shape}; they must "
            "be equal"
        )
