"""The gaps agree with open_spiel, which computes them by best responses in a game tree."""

import itertools

import numpy as np
import pytest

from rllib_agentmixer.analysis.equilibrium import (
    coarse_correlated_equilibrium_gap,
    correlated_equilibrium_gap,
    nash_gap,
    product,
)

pyspiel = pytest.importorskip("pyspiel")


def tree_of(payoffs):
    """The normal-form game as open_spiel's game tree, and each player's information state."""
    tables = [table.ravel().tolist() for table in payoffs]
    game = pyspiel.create_tensor_game(tables, list(payoffs.shape[1:]))
    tree = pyspiel.convert_to_turn_based(game)
    state, names = tree.new_initial_state(), []
    for player in range(len(payoffs)):
        names.append(state.information_state_string(player))
        state.apply_action(0)
    return tree, names


def device_of(joint, names):
    """A distribution as open_spiel's correlation device: weighted pure joint policies."""
    return [
        (
            float(joint[actions]),
            pyspiel.TabularPolicy(
                {
                    name: [(a, float(a == actions[i])) for a in range(joint.shape[i])]
                    for i, name in enumerate(names)
                }
            ),
        )
        for actions in itertools.product(*map(range, joint.shape))
    ]


@pytest.mark.parametrize("sizes", [(2, 2), (3, 2), (2, 3, 2)])
@pytest.mark.parametrize("seed", range(5))
def test_correlated_and_coarse_gaps_are_open_spiels(sizes, seed):
    rng = np.random.default_rng(seed)
    payoffs = rng.normal(size=(len(sizes), *sizes))
    joint = rng.dirichlet(np.full(np.prod(sizes), 0.5)).reshape(sizes)
    tree, names = tree_of(payoffs)
    device = device_of(joint, names)
    for ours, theirs in (
        (correlated_equilibrium_gap, pyspiel.ce_dist),
        (coarse_correlated_equilibrium_gap, pyspiel.cce_dist),
    ):
        expected = max(theirs(tree, device).deviation_incentives)
        assert ours(payoffs, joint) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_nash_gap_is_the_largest_of_open_spiels_gains(seed):
    rng = np.random.default_rng(seed)
    payoffs = rng.normal(size=(2, 3, 3))
    strategies = [rng.dirichlet(np.ones(3)) for _ in range(2)]
    tree, names = tree_of(payoffs)
    policy = pyspiel.TabularPolicy(
        {name: list(enumerate(s.tolist())) for name, s in zip(names, strategies, strict=True)}
    )
    expected = max(pyspiel.cce_dist(tree, [(1.0, policy)]).deviation_incentives)
    assert nash_gap(payoffs, strategies) == pytest.approx(expected, abs=1e-9)
    # In a two-player game with one payoff for both, NashConv is the sum of both gains.
    shared = np.stack([payoffs[0], payoffs[0]])
    tree, names = tree_of(shared)
    joint = product(strategies)
    gains = [float(g) for g in pyspiel.cce_dist(tree, device_of(joint, names)).deviation_incentives]
    total = pyspiel.nash_conv(tree, policy, use_state_get_policy=False)
    assert sum(gains) == pytest.approx(total, abs=1e-9)
    assert nash_gap(shared, strategies) == pytest.approx(max(gains), abs=1e-9)
