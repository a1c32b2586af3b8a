"""Distributions over joint actions of trained teams on matrix games."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from rllib_agentmixer.analysis.equilibrium import nash_gap, product
from rllib_agentmixer.analysis.games import analyse
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.core.data.batch import Latents
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.envs import make_vector_env
from rllib_agentmixer.rollouts.actor import TeamActor, pack_rows

GAPS = {
    "joint_correlated_gap",
    "joint_coarse_gap",
    "individual_nash_gap",
    "joint_expected_payoff",
    "individual_expected_payoff",
}
FORMS = [
    {},
    {"use_gru": True},
    {"correlation": "signal"},
    {"correlation": "autoregressive"},
    {"correlation": "autoregressive", "agent_order": [1, 0]},
    {"correlation": "autoregressive", "agent_order": "random"},
]


def actor_on(game, seed=0, **settings):
    """A team with random parameters, so that every form differs from the others."""
    env = make_vector_env(game, 1)
    spec = env.spec
    sizes = TeamSizes(spec.obs_sizes, spec.state_size, spec.action_kind, spec.action_sizes)
    small = {"hidden_size": 8, "modifier_width": 6, "critic_hidden": (4,), "igc": "gumbel"}
    network = ALGORITHMS["agentmixer"].team(
        sizes, ALGORITHMS["agentmixer"].make_settings(**(small | settings))
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.7, generator=generator)
    layout = TeamLayout(sizes)
    actor = TeamActor(network, layout, torch.Generator().manual_seed(seed))
    return actor, env, pack_rows(layout, env.reset(0))


@pytest.mark.parametrize("settings", FORMS, ids=str)
def test_probabilities_are_what_the_joint_policy_samples(settings):
    actor, env, row = actor_on("climbing", **settings)
    found = analyse(actor, row, env.payoffs(), num_draws=2000)
    assert found.joint.sum() == pytest.approx(1)
    num_samples = 20_000
    rows = np.repeat(row, num_samples, axis=0)
    hidden = actor.module.initial_state(num_samples)
    actions = actor.act(rows, hidden, explore=True).actions
    counts = np.zeros((3, 3))
    np.add.at(counts, tuple(actions.T), 1)
    # Four standard errors of a share.
    assert np.abs(counts / num_samples - found.joint).max() < 4 * 0.5 / np.sqrt(num_samples)


def test_a_joint_policy_given_the_state_alone_is_a_product():
    actor, env, row = actor_on("climbing")
    joint = analyse(actor, row, env.payoffs(), num_draws=1).joint
    assert joint == pytest.approx(product([joint.sum(1), joint.sum(0)]), abs=1e-6)


@pytest.mark.parametrize("correlation", ["signal", "autoregressive"])
def test_a_correlated_joint_policy_is_no_product(correlation):
    # A steep squashing, so that what the modifier hears shows.
    actor, env, row = actor_on("climbing", correlation=correlation, dispersion_gain=10.0)
    joint = analyse(actor, row, env.payoffs(), num_draws=500).joint
    assert np.abs(joint - product([joint.sum(1), joint.sum(0)])).max() > 1e-4


def test_a_signal_is_averaged_over_draw_by_draw():
    actor, env, row = actor_on("climbing", correlation="signal")
    found = analyse(actor, row, env.payoffs(), num_draws=7).joint
    generator = torch.Generator().manual_seed(0)
    inputs = actor.layout.inputs(torch.from_numpy(row).unsqueeze(0))
    signals = torch.zeros(1, 7, 4).normal_(generator=generator)
    expected = np.zeros((3, 3))
    for draw in range(7):
        given = replace(inputs, latents=Latents(signal=signals[:, draw : draw + 1]))
        with torch.no_grad():
            probs = actor.module(given).joint.logits[0, 0].softmax(-1)
        for a in itertools.product(range(3), repeat=2):
            expected[a] += float(probs[0, a[0]] * probs[1, a[1]]) / 7
    assert found == pytest.approx(expected, abs=1e-6)


def test_individual_policies_are_read_from_their_own_observations():
    actor, env, row = actor_on("penalty_100")
    found = analyse(actor, row, env.payoffs(), num_draws=1)
    inputs = actor.layout.inputs(torch.from_numpy(row).unsqueeze(0))
    with torch.no_grad():
        probs = (
            actor.module.act_individually(inputs, None, explore=False, generator=None)
            .policy.logits[0, 0]
            .softmax(-1)
        )
    for i, vector in enumerate(found.individual):
        assert vector == pytest.approx(probs[i].numpy(), abs=1e-6)
    metrics = found.metrics()
    assert metrics.keys() == GAPS
    assert metrics["individual_nash_gap"] == nash_gap(found.payoffs, found.individual)
    expected = float((env.payoffs()[0] * product(found.individual)).sum())
    assert metrics["individual_expected_payoff"] == pytest.approx(expected)
    assert metrics["joint_coarse_gap"] <= metrics["joint_correlated_gap"] + 1e-12


@pytest.mark.parametrize("game", ["climbing", "penalty_25", "permutation"])
def test_payoffs_of_the_batched_game_are_the_rules(game):
    env = make_vector_env(game, 1)
    payoffs = env.payoffs()
    assert len(payoffs) == env.spec.num_agents
    env.reset(0)
    for actions in list(itertools.product(*map(range, payoffs.shape[1:])))[::7]:
        reward = env.step(np.array([actions])).reward[0]
        assert all(table[actions] == reward for table in payoffs)


def test_only_small_games_have_a_table():
    assert make_vector_env("permutation", 1, config={"num_agents": 8}).payoffs() is None
    assert make_vector_env("predator_prey", 1).payoffs() is None
