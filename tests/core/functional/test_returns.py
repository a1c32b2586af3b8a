"""Returns and advantages: one worked example, the definition as a sum, and the two limits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_agentmixer.core.functional.returns import discounted_returns, generalized_advantages

BOUNDED = settings(max_examples=40, deadline=None, derandomize=True)
FLOAT32 = {"atol": 1e-5, "rtol": 1e-5}
"""Tolerance of single precision, in which the discounts are multiplied."""

# Sub-environment 0 terminates after step 1, 1 is truncated after step 2; 8 and 6 are the values
# of the states that would have followed.
REWARDS = torch.tensor([[1.0, 2.0], [2.0, 0.0], [3.0, 4.0], [4.0, 8.0]])
VALUES = torch.tensor([[2.0, 4.0], [4.0, 2.0], [0.0, 4.0], [2.0, 0.0]])
NEXT_VALUES = torch.tensor([[4.0, 2.0], [8.0, 4.0], [2.0, 6.0], [6.0, 2.0]])
TERMINATED = torch.tensor([[False, False], [True, False], [False, False], [False, False]])
ENDED = torch.tensor([[False, False], [True, False], [False, True], [False, False]])


def advantages(gamma, lambda_):
    return generalized_advantages(
        REWARDS, VALUES, NEXT_VALUES, TERMINATED, ENDED, gamma=gamma, lambda_=lambda_
    )


def test_worked_example_with_termination_and_truncation():
    estimate = advantages(gamma=0.5, lambda_=0.25)
    # deltas: 1, -2 (no bootstrap), 4, 5 in sub-environment 0; -1, 0, 3 (bootstraps), 9 in 1.
    expected = torch.tensor([[0.75, -0.953125], [-2.0, 0.375], [4.625, 3.0], [5.0, 9.0]])
    torch.testing.assert_close(estimate.advantages, expected)
    torch.testing.assert_close(estimate.value_targets, expected + VALUES)


def test_lambda_0_is_the_one_step_temporal_difference():
    expected = REWARDS + 0.5 * NEXT_VALUES * ~TERMINATED - VALUES
    torch.testing.assert_close(advantages(0.5, 0.0).advantages, expected)


def test_gamma_0_is_the_reward_minus_the_value():
    torch.testing.assert_close(advantages(0.0, 0.7).advantages, REWARDS - VALUES)


def draw_rollout(seed, T=6, B=3):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rewards, values = normal(T, B), normal(T, B)
    next_values = torch.cat([values[1:], normal(1, B)])
    ended = torch.rand(T, B, generator=generator) < 0.3
    terminated = ended & (torch.rand(T, B, generator=generator) < 0.5)
    next_values = torch.where(ended, normal(T, B), next_values)
    return rewards, values, next_values, terminated, ended


@BOUNDED
@given(seed=st.integers(0, 2**31), gamma=st.floats(0, 1))
def test_lambda_1_is_monte_carlo_minus_the_value(seed, gamma):
    rewards, values, next_values, terminated, ended = draw_rollout(seed)
    # Monte Carlo over the fragment: what is cut off is worth its value.
    is_cut = ended & ~terminated
    is_cut[-1] |= ~ended[-1]
    outcomes = rewards + gamma * next_values * is_cut
    monte_carlo = discounted_returns(outcomes, ended, gamma=gamma)
    estimate = generalized_advantages(
        rewards, values, next_values, terminated, ended, gamma=gamma, lambda_=1.0
    )
    torch.testing.assert_close(estimate.advantages, monte_carlo - values, **FLOAT32)
    torch.testing.assert_close(estimate.value_targets, monte_carlo, **FLOAT32)


@BOUNDED
@given(seed=st.integers(0, 2**31), gamma=st.floats(0, 1), lambda_=st.floats(0, 1))
def test_advantages_are_discounted_sums_of_temporal_differences(seed, gamma, lambda_):
    rewards, values, next_values, terminated, ended = draw_rollout(seed)
    T, B = rewards.shape
    deltas = rewards + gamma * next_values * ~terminated - values
    expected = torch.zeros_like(rewards)
    for b in range(B):
        for t in range(T):
            for later in range(t, T):
                expected[t, b] += (gamma * lambda_) ** (later - t) * deltas[later, b]
                if ended[later, b]:
                    break
    estimate = generalized_advantages(
        rewards, values, next_values, terminated, ended, gamma=gamma, lambda_=lambda_
    )
    torch.testing.assert_close(estimate.advantages, expected, **FLOAT32)


def test_returns_by_hand_stop_where_an_episode_ends():
    returns = discounted_returns(REWARDS, ENDED, gamma=0.5)
    expected = torch.tensor([[2.0, 3.0], [2.0, 2.0], [5.0, 4.0], [4.0, 8.0]])
    torch.testing.assert_close(returns, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_the_return_of_a_constant_reward_is_the_geometric_sum(gamma):
    returns = discounted_returns(torch.ones(5, 1), torch.zeros(5, 1).bool(), gamma=gamma)
    expected = [sum(gamma**k for k in range(5 - t)) for t in range(5)]
    torch.testing.assert_close(returns[:, 0], torch.tensor(expected))


def test_a_single_step_is_enough():
    one, two = torch.ones(1, 2), torch.full((1, 2), 2.0)
    never = torch.zeros(1, 2).bool()
    assert torch.equal(discounted_returns(two, never, gamma=0.9), two)
    estimate = generalized_advantages(two, one, one, never, never, gamma=0.5, lambda_=0.9)
    torch.testing.assert_close(estimate.advantages, one + 0.5)
