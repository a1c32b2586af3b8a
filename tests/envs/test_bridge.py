"""The bridge, rule by rule, in both forms; settings, snapshots, pictures."""

import numpy as np
import pytest
from envs_test_scenarios import cross_batched, cross_single_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test as check_parallel_api

from rllib_agentmixer.envs.games.bridge import GO, WAIT, Bridge
from rllib_agentmixer.envs.games.bridge_vector import VectorBridge
from rllib_agentmixer.errors import ConfigError, EnvContractError

COST = -0.01


@pytest.fixture(params=[cross_single_env, cross_batched], ids=["single", "batched"])
def play(request):
    def run(
        positions, actions, holder=0, is_visible=False, is_fined=False, time=0, length=2, **rules
    ):
        return request.param(
            positions, actions, holder, is_visible, is_fined, time, length=length, **rules
        )

    return run


def positions_of(seen):
    """Of both agents, from their own observations."""
    return tuple(seen.obs[:, :-2].argmax(axis=1))


# Moves.


@pytest.mark.parametrize(
    ("positions", "actions", "after"),
    [
        ((0, 0), (WAIT, WAIT), (0, 0)),
        ((0, 0), (GO, WAIT), (1, 0)),
        ((0, 0), (WAIT, GO), (0, 1)),
        ((1, 0), (GO, WAIT), (2, 0)),
        ((2, 0), (GO, GO), (3, 1)),
        ((3, 1), (GO, GO), (3, 2)),
        ((3, 1), (WAIT, WAIT), (3, 1)),
        ((0, 3), (GO, GO), (1, 3)),
    ],
)
def test_an_agent_that_goes_advances_one_cell_up_to_the_far_bank(play, positions, actions, after):
    seen = play(positions, actions, fine=0.0)
    assert positions_of(seen) == after
    assert (seen.terminated, seen.truncated) == (False, False)
    assert seen.reward == pytest.approx(COST)


# Jams.


@pytest.mark.parametrize(
    ("positions", "actions"),
    [
        ((0, 0), (GO, GO)),
        ((1, 0), (WAIT, GO)),
        ((1, 0), (GO, GO)),
        ((0, 2), (GO, WAIT)),
    ],
)
@pytest.mark.parametrize("holder", [0, 1])
def test_both_on_the_bridge_jam_which_ends_the_episode_without_a_fine(
    play, positions, actions, holder
):
    seen = play(positions, actions, holder, jam_cost=0.75)
    assert seen.reward == pytest.approx(COST - 0.75)
    assert (seen.terminated, seen.truncated) == (True, False)
    assert seen.state[-1] == 0


def test_a_jam_needs_no_common_cell(play):
    assert play((0, 0), (GO, GO), length=3).terminated


def test_entering_in_the_step_in_which_the_other_leaves_is_no_jam(play):
    seen = play((2, 0), (GO, GO))
    assert not seen.terminated
    assert positions_of(seen) == (3, 1)


# The right of way.


@pytest.mark.parametrize("other", [0, 1])
def test_the_agent_without_the_right_of_way_pays_the_fine_for_entering_first(play, other):
    actions = (GO, WAIT) if other == 0 else (WAIT, GO)
    seen = play((0, 0), actions, holder=1 - other, fine=0.25)
    assert seen.reward == pytest.approx(COST - 0.25)
    assert seen.state[-1] == 1
    assert not seen.terminated


@pytest.mark.parametrize("holder", [0, 1])
def test_the_holder_enters_without_a_fine(play, holder):
    actions = (GO, WAIT) if holder == 0 else (WAIT, GO)
    seen = play((0, 0), actions, holder=holder)
    assert seen.reward == pytest.approx(COST)
    assert seen.state[-1] == 0


@pytest.mark.parametrize("positions", [(2, 0), (3, 0)])
def test_the_other_may_enter_when_the_holder_reaches_the_far_bank(play, positions):
    assert play(positions, (GO, GO), holder=0).reward == pytest.approx(COST)
    assert play(positions[::-1], (GO, GO), holder=1).reward == pytest.approx(COST)


def test_going_on_after_an_early_entry_is_not_fined_again(play):
    seen = play((1, 0), (GO, WAIT), holder=1, is_fined=True)
    assert seen.reward == pytest.approx(COST)
    assert seen.state[-1] == 1


def test_the_holder_may_enter_while_the_other_leaves(play):
    assert play((2, 0), (GO, GO), holder=1, is_fined=True).reward == pytest.approx(COST)


# The end of an episode.


def test_both_on_the_far_bank_earn_one_and_end_the_episode(play):
    seen = play((3, 2), (WAIT, GO), time_cost=0.125)
    assert seen.reward == pytest.approx(1 - 0.125)
    assert (seen.terminated, seen.truncated) == (True, False)


def test_the_horizon_is_a_rule_that_terminates(play):
    seen = play((1, 0), (WAIT, WAIT), time=7)
    assert (seen.terminated, seen.truncated) == (True, False)
    assert seen.obs[0, -2] == seen.state[-4] == 1.0
    assert not play((1, 0), (WAIT, WAIT), time=6).terminated


@pytest.mark.parametrize(("positions", "actions"), [((3, 2), (GO, GO)), ((0, 0), (GO, GO))])
def test_an_end_in_the_last_step_terminates_and_does_not_truncate(play, positions, actions):
    seen = play(positions, actions, time=7)
    assert (seen.terminated, seen.truncated) == (True, False)


@pytest.mark.parametrize(("arguments", "horizon"), [({}, 8), ({"length": 3}, 10)])
def test_the_horizon_leaves_three_spare_steps_by_default(arguments, horizon):
    assert Bridge(**arguments).settings.horizon == horizon
    assert Bridge(**arguments, horizon=9).settings.horizon == 9


# What is seen.


@pytest.mark.parametrize("holder", [0, 1])
def test_the_right_of_way_is_seen_from_each_agents_side_or_not_at_all(play, holder):
    own = [1, -1] if holder == 0 else [-1, 1]
    np.testing.assert_array_equal(play((0, 0), (0, 0), holder, is_visible=True).obs[:, -1], own)
    np.testing.assert_array_equal(play((0, 0), (0, 0), holder).obs[:, -1], [0, 0])


def test_an_observation_holds_own_position_time_and_cue_but_not_the_team_mate(play):
    seen = play((1, 0), (GO, WAIT), holder=1, is_visible=True, time=3)
    np.testing.assert_array_equal(seen.obs[0], [0, 0, 1, 0, 4 / 8, -1])
    np.testing.assert_array_equal(seen.obs[1], [1, 0, 0, 0, 4 / 8, 1])
    np.testing.assert_array_equal(play((1, 3), (GO, WAIT), time=3).obs[0, :4], seen.obs[0, :4])


@pytest.mark.parametrize("is_visible", [False, True])
def test_the_state_holds_everything(play, is_visible):
    seen = play((3, 0), (GO, GO), 1, is_visible, is_fined=True, time=3)
    cells = [0, 0, 0, 1, 0, 1, 0, 0]
    np.testing.assert_array_equal(seen.state, [*cells, 4 / 8, -1, is_visible, 1])
    assert play((0, 0), (0, 0), holder=0).state[-3] == 1


@pytest.mark.parametrize(("visibility", "share"), [(0, 0), (0.25, 0.25), (1, 1)])
def test_right_of_way_and_visibility_are_drawn_with_their_probabilities(visibility, share):
    env = VectorBridge(4000, visibility=visibility)
    state = env.reset(seed=0).state
    assert (state[:, -3] == 1).mean() == pytest.approx(0.5, abs=0.04)
    assert (state[:, -2] == 1).mean() == pytest.approx(share, abs=0.04 if 0 < share < 1 else 0)
    both = (state[:, -3] == 1) & (state[:, -2] == 1)
    assert both.mean() == pytest.approx(share / 2, abs=0.04)


# Settings.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length.*>= 1.*0"),
        ({"length": "2"}, "length.*'2'"),
        ({"length": True}, "length.*True"),
        ({"horizon": 4}, "horizon.*>= 5.*4"),
        ({"length": 3, "horizon": 6}, "horizon.*>= 7.*6"),
        ({"horizon": 7.5}, "horizon.*7.5"),
        ({"jam_cost": -1}, "jam_cost.*-1"),
        ({"time_cost": float("nan")}, "time_cost.*nan"),
        ({"fine": "0.5"}, "fine.*'0.5'"),
        ({"fine": float("inf")}, "fine.*inf"),
        ({"visibility": -0.1}, "visibility.*-0.1"),
        ({"visibility": 1.5}, r"visibility.*\[0, 1\].*1.5"),
        ({"render_mode": "human"}, "human"),
    ],
)
def test_settings_that_make_no_bridge_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Bridge(**arguments)
    if "render_mode" not in arguments:
        with pytest.raises(ConfigError, match=message):
            VectorBridge(2, **arguments)


def test_the_smallest_horizon_is_just_enough():
    env = Bridge(length=1, horizon=3)
    env.reset(seed=0)
    env._holder = 0
    rewards = [
        env.step({"agent_0": first, "agent_1": second})[1]["agent_0"]
        for first, second in ((GO, WAIT), (GO, GO), (WAIT, GO))
    ]
    assert sum(rewards) == pytest.approx(env.optimum)
    with pytest.raises(EnvContractError, match="reset"):
        env.step({"agent_0": 0, "agent_1": 0})


# Both forms.


@given(
    length=st.integers(1, 3),
    spare=st.integers(0, 3),
    visibility=st.sampled_from([0.0, 0.5, 1.0]),
    eagerness=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_both_forms_agree_over_whole_episodes(helpers, length, spare, visibility, eagerness, seed):
    arguments = {
        "length": length,
        "visibility": visibility,
        "jam_cost": 0.7,
        "fine": 0.3,
        "horizon": 2 * length + 1 + spare,
    }
    envs = [Bridge(**arguments) for _ in range(4)]
    vector = VectorBridge(4, **arguments)
    rng = np.random.default_rng(seed)
    helpers.check_forms_agree(
        envs, vector, lambda _: (rng.random((4, 2)) < eagerness).astype(int), 40, seed
    )


def test_both_forms_agree_through_crossings_fines_jams_and_horizons(helpers):
    envs = [Bridge(visibility=0.5) for _ in range(8)]
    vector = VectorBridge(8, visibility=0.5)
    rng = np.random.default_rng(0)

    def one_after_the_other(vector):
        """Whoever is ahead goes on, whoever is behind mostly waits for it."""
        first, second = vector._positions
        ahead = np.stack([first >= second, second >= first], axis=1)
        on_bridge = ((vector._positions > 0) & (vector._positions < 3)).any(axis=0)
        chance = np.where(ahead, 0.8, np.where(on_bridge, 0.1, 0.8)[:, None])
        return (rng.random(chance.shape) < chance).astype(int)

    steps = helpers.check_forms_agree(envs, vector, one_after_the_other, 200, seed=0)
    rewards = np.concatenate([step.reward for step in steps]).astype(float).round(2)
    assert set(rewards.tolist()) == {0.99, -0.01, -0.51, -1.01}
    assert any((step.terminated & (step.reward == np.float32(-0.01))).any() for step in steps)
    assert not any(step.truncated.any() for step in steps)


def test_pettingzoos_api_test_passes():
    check_parallel_api(Bridge(visibility=0.5), num_cycles=60)


def test_a_snapshot_continues_bit_for_bit(helpers):
    helpers.check_continuation(lambda: VectorBridge(5, length=3, visibility=0.5), num_before=8)


# Pictures.


def drawn(positions, holder=0, is_visible=False, mode="rgb_array"):
    env = Bridge(render_mode=mode)
    env.reset(seed=0)
    env._positions, env._holder, env._is_visible = list(positions), holder, is_visible
    return env.render()


def test_agents_the_bridge_and_the_right_of_way_are_drawn():
    picture = drawn((0, 0))
    assert picture.dtype == np.uint8
    assert picture.shape == (3 * 48 + 1, 4 * 48 + 1, 3)
    bank, water, wood = (tuple(picture[at]) for at in ((72, 24), (24, 72), (72, 72)))
    assert len({bank, water, wood}) == 3
    different = [
        drawn(positions, holder, is_visible).tobytes()
        for positions in ((0, 0), (1, 0), (0, 1), (3, 0), (1, 2))
        for holder in (0, 1)
        for is_visible in (False, True)
    ]
    assert len(set(different)) == len(different)


def test_the_batched_form_draws_the_same_picture():
    vector = VectorBridge(2)
    vector.reset(seed=0)
    vector.step(np.array([[WAIT, WAIT], [GO, WAIT]]))
    vector._holder[1], vector._is_visible[1] = 1, True
    np.testing.assert_array_equal(vector.render(1), drawn((1, 0), 1, True))


@pytest.mark.parametrize(
    ("positions", "holder", "is_visible", "text"),
    [
        ((0, 0), 0, False, " 0 | . . | 1   right of way: 0 (hidden)"),
        ((2, 0), 1, True, "   | . 0 | 1   right of way: 1 (seen)"),
        ((3, 1), 0, False, "   | . 1 | 0   right of way: 0 (hidden)"),
        ((1, 2), 0, False, "   | 01 . |     right of way: 0 (hidden)"),
    ],
)
def test_the_text_picture_shows_where_both_are(positions, holder, is_visible, text):
    assert drawn(positions, holder, is_visible, "ansi") == text
