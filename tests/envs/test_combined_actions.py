"""MultiDiscrete and MultiBinary: an agent chooses among all combinations."""

import numpy as np
import pytest
from envs_test_fakes import FakeTeam, box
from gymnasium import spaces

from rllib_agentmixer.errors import EnvContractError

ARM = spaces.MultiDiscrete([2, 3], start=[0, 5])


def test_every_choice_is_another_combination(team):
    built = team(action_spaces={"a": ARM, "b": spaces.MultiBinary(2)}, length=99)
    assert built.spec.action_kind == "discrete"
    assert built.spec.action_sizes == (6, 4)
    built.reset(seed=0)
    for choice in range(6):
        built.step(np.array([[choice, choice % 4]]))
    received = built._envs[0].env.received
    expected = [[0, 5], [0, 6], [0, 7], [1, 5], [1, 6], [1, 7]]
    assert [actions["a"].tolist() for actions in received] == expected
    assert [actions["b"].tolist() for actions in received[:4]] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert all(ARM.contains(actions["a"]) for actions in received)


def masks(env, returned):
    returned.infos["a"]["action_mask"] = (np.array([1, 0]), np.array([0, 1, 1]))


def test_masks_of_the_places_become_one_of_the_combinations(team):
    built = team(action_spaces={"a": ARM}, tamper=masks)
    seen = built.reset(seed=0)
    assert built.spec.has_action_mask
    # Only the first place's 0 with the second place's 1 or 2.
    assert seen.action_mask[0, 0].tolist() == [False, True, True, False, False, False]
    assert seen.action_mask[0, 1].tolist() == [True, True, True, False, False, False]


@pytest.mark.parametrize("kind", [np.array, list])
def test_one_mask_of_all_combinations_is_taken_as_it_is(team, kind):
    def combined(env, returned):
        returned.infos["a"]["action_mask"] = kind([0, 0, 1, 0, 0, 1])

    seen = team(action_spaces={"a": ARM}, tamper=combined).reset(seed=0)
    assert np.flatnonzero(seen.action_mask[0, 0]).tolist() == [2, 5]


def test_a_mask_that_allows_nothing_in_one_place_is_refused(team):
    def nothing(env, returned):
        empty = np.zeros(3) if env.step_count else np.ones(3)
        returned.infos["a"]["action_mask"] = (np.ones(2), empty)

    built = team(action_spaces={"a": ARM}, tamper=nothing)
    built.reset(seed=0)
    with pytest.raises(EnvContractError, match="allows nothing"):
        built.step(np.zeros((1, 2), int))


def test_combined_and_plain_discrete_agents_make_one_team(team):
    spec = team(action_spaces={"a": ARM}, obs_spaces={"a": box(5)}).spec
    assert spec.action_sizes == (6, 3)
    np.testing.assert_array_equal(spec.action_valid[1], [True] * 3 + [False] * 3)


# Flat masks: one entry per choice in each place, or one per combination.


def sends(mask):
    def change(env, returned):
        returned.infos["a"]["action_mask"] = np.array(mask, np.int8)

    return change


def test_a_flat_mask_of_choices_is_told_by_its_length(team):
    # The first place's 0; the second place's 1 or 2.
    seen = team(action_spaces={"a": ARM}, tamper=sends([1, 0, 0, 1, 1])).reset(seed=0)
    assert seen.action_mask[0, 0].tolist() == [False, True, True, False, False, False]


@pytest.mark.parametrize("space", [spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(2)])
def test_a_flat_mask_that_can_mean_both_is_refused(team, space):
    with pytest.raises(EnvContractError, match=r"4 entries .*per choice.*or one per"):
        team(action_spaces={"a": space}, tamper=sends([1, 0, 1, 1])).reset(seed=0)


@pytest.mark.parametrize(("form", "legal"), [("choices", [0, 1]), ("combinations", [0, 2, 3])])
def test_a_declared_form_is_believed(monkeypatch, team, form, legal):
    monkeypatch.setitem(FakeTeam.metadata, "action_mask_form", form)
    space = spaces.MultiDiscrete([2, 2])
    seen = team(action_spaces={"a": space}, tamper=sends([1, 0, 1, 1])).reset(seed=0)
    assert np.flatnonzero(seen.action_mask[0, 0]).tolist() == legal


def test_one_place_has_one_meaning(team):
    space = spaces.MultiDiscrete([4])
    seen = team(action_spaces={"a": space}, tamper=sends([1, 0, 1, 1])).reset(seed=0)
    assert np.flatnonzero(seen.action_mask[0, 0]).tolist() == [0, 2, 3]


def test_an_unknown_form_is_refused(monkeypatch, team):
    monkeypatch.setitem(FakeTeam.metadata, "action_mask_form", "flat")
    with pytest.raises(EnvContractError, match="'choices' or 'combinations', got 'flat'"):
        team(action_spaces={"a": ARM})
