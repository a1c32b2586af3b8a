"""V(s): units, and predictions that stand still while the statistics move (PopArt)."""

import pytest
import torch
from torch import nn

from rllib_agentmixer.core.networks.critics import StateValueCritic

S = 4


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def critic_of(build, *, normalize_values=True):
    return build.randomize(StateValueCritic(S, (8, 6), normalize_values=normalize_values))


ALL = torch.ones(5, 3, dtype=torch.bool)


def test_the_body_is_norm_then_linear_relu_norm_layers(build):
    critic = critic_of(build)
    state = draw(2, 5, S)
    norm, *layers = critic.body
    x = norm(state)
    for linear, after in ((layers[0], layers[2]), (layers[3], layers[5])):
        x = after(torch.relu(linear(x)))
    torch.testing.assert_close(critic(state), critic.output(x)[..., 0])
    assert [layer.out_features for layer in critic.body if isinstance(layer, nn.Linear)] == [8, 6]


@pytest.mark.parametrize(
    ("state_size", "normalize_input", "has_norm"),
    [(4, True, True), (4, False, False), (3, True, False), (1, True, False)],
)
def test_a_small_state_is_not_normalised_away(build, state_size, normalize_input, has_norm):
    critic = build.randomize(
        StateValueCritic(state_size, (8,), normalize_values=True, normalize_input=normalize_input)
    )
    assert isinstance(critic.body[0], nn.LayerNorm) == has_norm
    state = draw(5, state_size)
    assert torch.allclose(critic(state + 1), critic(state), atol=1e-4) == has_norm


def test_value_is_the_prediction_in_reward_units(build):
    critic = critic_of(build)
    critic.observe_targets(3 * draw(5, 3) + 10, ALL)
    state = draw(5, 3, S, seed=1)
    expected = critic(state) * critic.normalizer.std + critic.normalizer.mean
    torch.testing.assert_close(critic.value(state), expected)


def test_new_targets_move_normalised_predictions_and_leave_values_in_reward_units(build):
    critic = critic_of(build)
    state = draw(5, 3, S, seed=1)
    # Far apart, then closer, then without any spread: the floor of the deviation is in play.
    for targets in (30 * draw(5, 3) + 100, draw(5, 3, seed=2) - 50, torch.full((5, 3), 9.0)):
        normalised, values = critic(state), critic.value(state)
        critic.observe_targets(targets, ALL)
        torch.testing.assert_close(critic.value(state), values, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(critic(state), normalised, rtol=1e-3)


def test_only_valid_targets_are_observed(build):
    critic = critic_of(build)
    valid = ALL.clone()
    valid[2:] = False
    critic.observe_targets(torch.where(valid, 2.0, 1e5), valid)
    assert critic.normalizer.mean == 2
    assert critic.normalizer.count == 6


def test_without_normalisation_nothing_moves(build):
    critic = critic_of(build, normalize_values=False)
    state = draw(5, 3, S, seed=1)
    before = critic(state)
    critic.observe_targets(30 * draw(5, 3) + 100, ALL)
    assert torch.equal(critic(state), before)
    assert torch.equal(critic.value(state), before)


def test_a_fresh_critic_predicts_with_unit_gain():
    torch.manual_seed(0)
    critic = StateValueCritic(S, (8,), normalize_values=True)
    assert critic.output.weight.norm().item() == pytest.approx(1)
    assert critic.output.bias.item() == 0


def test_gradient_flows_through_both_units(build):
    critic = critic_of(build)
    for predict in (critic, critic.value):
        critic.zero_grad()
        predict(draw(5, S)).square().sum().backward()
        assert all(p.grad is not None for p in critic.parameters())
