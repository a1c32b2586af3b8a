"""RLlib's own interface for actions of a policy, in every form of correlation."""

import numpy as np
import pytest
import torch
from algorithms_test_helpers import tiny

from rllib_agentmixer.adapters.classic.algorithms import IPPOConfig

FORMS = [
    {},
    {"use_gru": True},
    {"correlation": "signal", "igc": "gumbel"},
    {"correlation": "autoregressive", "igc": "gumbel"},
    {"correlation": "autoregressive", "agent_order": "random", "use_gru": True},
]


def spread_out(policy, seed=0):
    """Random parameters: fresh joint and individual policies are nearly uniform."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.normal_(0, 0.5, generator=generator)


def rows_of(algorithm, num_rows=6):
    env = algorithm.team_worker.team_env_creator.vector({}, num_rows)
    layout = algorithm.team_policy.model.layout
    rows = np.empty((num_rows, layout.row_size), np.float32)
    layout.pack(vars(env.reset(3)), rows)
    return rows


def state_of(policy, num_rows):
    return [np.stack([part] * num_rows) for part in policy.get_initial_state()]


@pytest.mark.parametrize("env", ["predator_prey", "continuous_game"])
@pytest.mark.parametrize("settings", FORMS, ids=str)
def test_actions_come_with_their_log_probability(build, env, settings):
    algorithm = build(env=env, **settings)
    policy = algorithm.team_policy
    spread_out(policy)
    rows = rows_of(algorithm)
    state = state_of(policy, len(rows))
    actions, after, extra = policy.compute_actions(rows, state, explore=True)
    assert actions.shape == (len(rows), policy.action_space.shape[0])
    assert len(after) == len(state)
    assert np.isfinite(extra["action_logp"]).all()
    if settings.get("correlation", "state") == "state" or "agent_order" not in settings:
        signal_free = settings.get("correlation") != "signal"
        again = policy.compute_log_likelihoods(actions, rows, state).numpy()
        agree = np.allclose(again, extra["action_logp"], atol=1e-4)
        assert agree == signal_free  # the signal that was drawn is not among the arguments


@pytest.mark.parametrize("settings", FORMS, ids=str)
def test_without_exploration_a_policy_repeats_itself(build, settings):
    algorithm = build(**settings)
    policy = algorithm.team_policy
    spread_out(policy)
    rows = rows_of(algorithm)
    state = state_of(policy, len(rows))
    first, *_ = policy.compute_actions(rows, state, explore=False)
    second, *_ = policy.compute_actions(rows, state, explore=False)
    assert (first == second).all()
    if settings.get("igc", "strict") == "strict":
        actor = algorithm.team.actor(torch.Generator())
        hidden = policy.module.initial_state(len(rows))
        alone = actor.act(rows, hidden, explore=False, policy="individual").actions
        assert (first == alone).all()


def test_a_recurrent_critic_moves_on_with_the_policy(build):
    algorithm = build(tiny(config_class=IPPOConfig, use_gru=True))
    policy = algorithm.team_policy
    spread_out(policy)
    rows = rows_of(algorithm)
    state = state_of(policy, len(rows))
    assert len(state) == 2
    _, after, _ = policy.compute_actions(rows, state, explore=True)
    hidden = policy.module.initial_state(len(rows))
    inputs = policy.model.inputs_of(torch.from_numpy(rows), len(rows))
    with torch.no_grad():
        expected = policy.module.values(inputs, hidden.critic).hidden
    assert after[1] == pytest.approx(expected.transpose(0, 1).numpy(), abs=1e-6)


def test_one_action_at_a_time(build):
    algorithm = build(correlation="autoregressive")
    policy = algorithm.team_policy
    action, _, extra = policy.compute_single_action(rows_of(algorithm, 1)[0], explore=False)
    assert policy.action_space.contains(np.asarray(action))
    assert extra["action_logp"] <= 0
