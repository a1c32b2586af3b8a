"""Scaling of continuous actions: RLlib's two settings, bounded or not, dimension by dimension."""

import numpy as np
import pytest

from rllib_agentmixer.core.data.action_scaling import ActionScaling, action_scaling

INF = np.inf
LOW = np.array([[-2.0, 0.0], [-INF, -1.0], [0.0, -INF]], np.float32)
HIGH = np.array([[4.0, 1.0], [INF, INF], [0.0, 5.0]], np.float32)
# Dimensions: bounded twice, unbounded, half bounded, padding (0, 0), half bounded above.


def scaled(action, *, normalize, clip):
    scaling = action_scaling(LOW, HIGH, normalize_actions=normalize, clip_actions=clip)
    return scaling(np.full(LOW.shape, action, np.float32))


def test_clip_then_scale_then_shift():
    half = np.full(1, 0.5)
    scaling = ActionScaling(low=-half, high=half * 2, scale=half * 6, shift=half * 4)
    np.testing.assert_allclose(scaling(np.array([-9.0])), [-0.5 * 3 + 2])
    np.testing.assert_allclose(scaling(np.array([0.2])), [0.2 * 3 + 2])
    np.testing.assert_allclose(scaling(np.array([9.0])), [1 * 3 + 2])


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(
    ("action", "first", "second"), [(-1, -2, 0), (0, 1, 0.5), (1, 4, 1), (0.5, 2.5, 0.75)]
)
def test_normalised_actions_span_the_bounds(clip, action, first, second):
    result = scaled(action, normalize=True, clip=clip)
    np.testing.assert_allclose(result[0], [first, second])


@pytest.mark.parametrize("clip", [True, False])
def test_normalised_actions_never_leave_finite_bounds(clip):
    np.testing.assert_allclose(scaled(7, normalize=True, clip=clip)[0], [4, 1])
    np.testing.assert_allclose(scaled(-7, normalize=True, clip=clip)[0], [-2, 0])


def test_unbounded_dimensions_are_not_scaled_but_cut_where_a_bound_exists():
    # Agent 1: unbounded, bounded below by -1; agent 2: padding, bounded above by 5.
    np.testing.assert_allclose(scaled(-7, normalize=True, clip=True)[1:], [[-7, -1], [0, -7]])
    np.testing.assert_allclose(scaled(7, normalize=True, clip=True)[1:], [[7, 7], [0, 5]])
    np.testing.assert_allclose(scaled(-7, normalize=True, clip=False)[1:], [[-7, -7], [-7, -7]])


def test_clipping_without_normalising_cuts_at_the_bounds():
    expected = [[4, 1], [7, 7], [0, 5]]
    np.testing.assert_allclose(scaled(7, normalize=False, clip=True), expected)
    expected = [[-2, 0], [-7, -1], [0, -7]]
    np.testing.assert_allclose(scaled(-7, normalize=False, clip=True), expected)
    np.testing.assert_allclose(scaled(0.5, normalize=False, clip=True)[0], [0.5, 0.5])


@pytest.mark.parametrize("action", [-7.0, 0.3, 7.0])
def test_with_both_settings_off_actions_pass_unchanged(action):
    assert (scaled(action, normalize=False, clip=False) == np.float32(action)).all()


@pytest.mark.parametrize("clip", [True, False])
def test_bounds_too_far_apart_to_span_count_as_none(clip):
    # Many environments write the largest float32 where they mean infinity.
    largest = np.full((1, 1), np.finfo(np.float32).max)
    scaling = action_scaling(-largest, largest, normalize_actions=True, clip_actions=clip)
    for action in (-2.0, 0.0, 0.5):
        assert scaling(np.full((1, 1), action, np.float32)) == action


def test_scaling_keeps_single_precision():
    assert scaled(0.5, normalize=True, clip=True).dtype == np.float32
