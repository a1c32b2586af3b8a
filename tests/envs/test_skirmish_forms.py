"""Skirmish: fresh battles, settings, both forms against each other, snapshots, pictures."""

import numpy as np
import pytest
from envs_test_skirmish_scenes import ATTACK
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test as check_parallel_api

from rllib_agentmixer.envs import make_env, make_vector_env
from rllib_agentmixer.envs.games.skirmish.players import (
    PLAYERS,
    RandomPlayer,
    ScriptedPlayer,
    measure,
)
from rllib_agentmixer.envs.games.skirmish.rules import (
    MAP_SIZE,
    STARTS,
    STOP,
    UNIT_NAMES,
    checked_settings,
    deal_places,
    deal_types,
)
from rllib_agentmixer.envs.games.skirmish.script import script_actions
from rllib_agentmixer.envs.games.skirmish.skirmish import Skirmish
from rllib_agentmixer.envs.games.skirmish.vector import NO_UNIT, VectorSkirmish
from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.envs.stepping.team_env import TeamEnv
from rllib_agentmixer.envs.stepping.team_rows import new_arrays, rows_of
from rllib_agentmixer.envs.stepping.team_spaces import spaces_of
from rllib_agentmixer.errors import ConfigError, EnvContractError

# Fresh battles.


def rules(**changes):
    plain = {
        "num_allies": 3,
        "num_enemies": 3,
        "unit_types": None,
        "enemy_unit_types": None,
        "starts": "random",
        "max_steps": 100,
    }
    return checked_settings(**(plain | changes))


def dealt(count=4000, **changes):
    chosen = rules(**changes)
    draws = np.random.default_rng(0).random((count, chosen.draws.size))
    return deal_types(chosen, draws), deal_places(chosen, draws)


def test_types_are_drawn_evenly_and_are_the_same_on_both_sides():
    types, _ = dealt()
    np.testing.assert_array_equal(types[:, :3], types[:, 3:])
    for unit in range(3):
        assert np.bincount(types[:, unit], minlength=6).min() > 560  # 667 expected, sd 24
    assert np.corrcoef(types[:, 0], types[:, 1])[0, 1] == pytest.approx(0, abs=0.06)


def test_enemies_without_a_counterpart_have_drawn_types():
    types, _ = dealt(num_enemies=5)
    np.testing.assert_array_equal(types[:, :3], types[:, 3:6])
    assert np.bincount(types[:, 7], minlength=6).min() > 560
    types, _ = dealt(num_allies=5)
    np.testing.assert_array_equal(types[:, :3], types[:, 5:])


def test_a_fixed_team_is_repeated_by_the_enemies_unless_they_have_their_own():
    types, _ = dealt(2, unit_types=["zealot", "marine", "stalker"], num_enemies=4)
    assert types.tolist() == [[3, 0, 2, 3, 0, 2, 3]] * 2
    types, _ = dealt(1, unit_types=["zealot"] * 3, enemy_unit_types=["hydralisk"] * 3)
    assert types.tolist() == [[3, 3, 3, 5, 5, 5]]


def test_reflected_enemies_start_as_the_mirror_image_of_the_allies():
    _, places = dealt(starts="reflect", num_enemies=4)
    np.testing.assert_allclose(places[:, 3:6, 0], MAP_SIZE - places[:, :3, 0])
    np.testing.assert_array_equal(places[:, 3:6, 1], places[:, :3, 1])
    assert 1 <= places[:, :3, 0].min() < 1.01
    assert places[:, :3, 0].max() == pytest.approx(16, abs=0.1)
    assert places[:, :3, 0].mean() == pytest.approx(8.5, abs=0.2)
    assert 1 <= places[..., 1].min() < 1.01
    assert 30.99 < places[..., 1].max() <= 31
    assert places[:, :, 1].mean() == pytest.approx(16, abs=0.3)
    # The fourth enemy is on its own in the right half.
    assert places[:, 6, 0].min() == pytest.approx(16, abs=0.1)
    assert places[:, 6, 0].mean() == pytest.approx(23.5, abs=0.3)


def test_one_side_is_surrounded_by_groups_on_the_diagonals():
    _, places = dealt(starts="surround")
    inside = (abs(places - 16) <= 2).all(axis=-1)
    allies_inside = inside[:, :3].all(axis=1)
    enemies_inside = inside[:, 3:].all(axis=1)
    assert (allies_inside | enemies_inside).all()
    assert (allies_inside & ~enemies_inside).mean() == pytest.approx(0.5, abs=0.05)
    assert 1 <= places.min() < 1.2
    outside = np.concatenate([places[~allies_inside, :3], places[~enemies_inside, 3:]]) - 16
    # On a diagonal but for the scatter of two in each direction, and in all four quarters.
    assert (abs(abs(outside[..., 0]) - abs(outside[..., 1])) <= 4).all()
    clear = outside[(abs(outside) > 2).all(axis=-1)]
    quarters = np.unique(np.sign(clear), axis=0, return_counts=True)[1]
    assert len(quarters) == 4
    assert quarters.min() > 0.2 * quarters.sum()
    # Members of a group stand together.
    gaps = np.linalg.norm(outside[:, 0] - outside[:, 1], axis=-1)
    assert (gaps < 5.7).mean() > 0.25


def test_random_starts_are_reflected_or_surrounded_with_equal_chance():
    _, places = dealt()
    mirrored = np.isclose(places[:, 3:, 0], MAP_SIZE - places[:, :3, 0]).all(axis=1)
    assert mirrored.mean() == pytest.approx(0.5, abs=0.05)


def test_facing_teams_stand_in_the_middle_of_their_half():
    _, places = dealt(starts="facing")
    for side, middle in ((places[:, :3], 8), (places[:, 3:], 24)):
        scatter = side - [middle, 16]
        assert scatter.min() == pytest.approx(-2, abs=0.01)
        assert scatter.max() == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("starts", STARTS)
def test_nobody_starts_at_the_edge_or_in_another_unit(starts):
    env = VectorSkirmish(200, num_allies=5, num_enemies=5, starts=starts)
    env.reset(seed=0)
    assert env._places.min() > 0
    assert env._places.max() < MAP_SIZE
    np.testing.assert_allclose(env._goals, MAP_SIZE - env._places)
    gap = np.linalg.norm(env._places[:, :, None] - env._places[:, None], axis=0)
    overlap = (gap < 0.4) & ~np.eye(10, dtype=bool)[:, :, None]
    assert overlap.mean() < 0.01, "units are pushed apart at the start"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_allies": 0}, "num_allies.*0"),
        ({"num_enemies": 2.0}, "num_enemies.*2.0"),
        ({"max_steps": True}, "max_steps.*True"),
        ({"starts": "reflected"}, "'reflected', did you mean 'reflect'"),
        ({"unit_types": ["marine"]}, "unit_types must be 3 names"),
        ({"unit_types": "marine"}, "unit_types must be 3 names"),
        ({"unit_types": ["marine", "zealod", "zealot"]}, "'zealod', did you mean 'zealot'"),
        ({"enemy_unit_types": ["marine"] * 3}, "give both or neither"),
        ({"unit_types": ["zealot"] * 3, "enemy_unit_types": ["zealot"]}, "enemy_unit_types must"),
    ],
)
def test_settings_that_make_no_battle_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Skirmish(**arguments)


def test_a_name_with_a_size_keeps_it():
    assert len(make_env("skirmish_5v5").possible_agents) == 5
    assert make_vector_env("skirmish_10v10", 2).spec.num_actions == 15
    with pytest.raises(ConfigError, match=r"num_allies=3.*use 'skirmish'"):
        make_env("skirmish_3v3", num_allies=4)
    assert make_env("skirmish", num_enemies=4).settings.num_enemies == 4


# Both forms.


def play_together(helpers, envs, vector, choose, num_steps, seed):
    """Plays both forms on the same draws and compares everything; returns the steps seen."""
    layout = spaces_of(Skirmish(**vars(vector.settings)), "skirmish", "1")
    teams = [TeamEnv(env, "skirmish", layout=layout) for env in envs]
    arrays = new_arrays(layout, len(teams))
    rewards = np.zeros((len(teams), layout.spec.num_agents), np.float32)
    rows = rows_of(layout, arrays, rewards)
    recorder = vector._rng = helpers.RecordingGenerator(seed)

    def restart(indices):
        last = recorder.take()[-1][1]
        for index, draws in zip(indices, last if len(indices) else (), strict=True):
            envs[index].np_random.queue.append(draws)
            teams[index].reset(rows[index])

    for env in envs:
        env.np_random = helpers.ScriptedGenerator()
    observation = vector.reset()
    restart(np.arange(len(teams)))
    assert_same(observation, arrays, slice(None))
    steps = []
    for _ in range(num_steps):
        actions = choose(vector)
        result = vector.step(actions)
        draws = recorder.drawn[0][1]
        outcomes = []
        for index, team in enumerate(teams):
            envs[index].np_random.queue.append(draws[index])
            outcomes.append(team.step(rows[index], actions[index].tolist()))
        assert_same(result.final_observation, arrays, slice(None))
        np.testing.assert_allclose(result.agent_rewards, rewards, atol=1e-6)
        compare_outcomes(result, outcomes)
        ended = np.flatnonzero(result.terminated | result.truncated)
        restart(ended)
        assert_same(result.observation, arrays, ended)
        steps.append(result)
    return steps


def compare_outcomes(result, outcomes):
    for index, outcome in enumerate(outcomes):
        assert outcome.reward == pytest.approx(result.reward[index], abs=1e-6)
        assert outcome.terminated == result.terminated[index]
        assert outcome.truncated == result.truncated[index]
        won = result.info.get("won", np.full(len(outcomes), np.nan))[index]
        assert outcome.diagnostics == ({} if np.isnan(won) else {"won": won})


def assert_same(observation, arrays, rows):
    np.testing.assert_allclose(observation.obs[rows], arrays.obs[rows], atol=1e-5)
    np.testing.assert_allclose(observation.state[rows], arrays.state[rows], atol=1e-5)
    np.testing.assert_array_equal(observation.alive[rows], arrays.alive[rows])
    np.testing.assert_array_equal(observation.action_mask[rows], arrays.action_mask[rows])


def fighting(vector, rng):
    """Two thirds of the time as the script does, else anything, legal or not."""
    focus = np.full((vector.spec.num_agents, vector.num_envs), NO_UNIT)
    scripted = script_actions(vector.side(True), vector.side(False), vector.goals(True), focus).T
    anything = rng.integers(vector.spec.num_actions, size=scripted.shape)
    return np.where(rng.random(scripted.shape) < 0.67, scripted, anything)


@given(
    num_allies=st.integers(1, 6),
    num_enemies=st.integers(1, 6),
    starts=st.sampled_from(STARTS),
    max_steps=st.integers(5, 40),
    data=st.data(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_both_forms_agree_over_whole_episodes(
    helpers, num_allies, num_enemies, starts, max_steps, data, seed
):
    names = st.lists(st.sampled_from(UNIT_NAMES), min_size=num_allies, max_size=num_allies)
    arguments = {
        "num_allies": num_allies,
        "num_enemies": num_enemies,
        "unit_types": data.draw(st.none() | names),
        "starts": starts,
        "max_steps": max_steps,
    }
    envs = [Skirmish(**arguments) for _ in range(3)]
    vector = VectorSkirmish(3, **arguments)
    rng = np.random.default_rng(seed)
    play_together(helpers, envs, vector, lambda v: fighting(v, rng), 3 * max_steps, seed)


def test_both_forms_agree_through_wins_losses_deaths_and_time_limits(helpers):
    arguments = {"num_allies": 5, "num_enemies": 4, "max_steps": 30}
    envs = [Skirmish(**arguments) for _ in range(5)]
    vector = VectorSkirmish(5, **arguments)
    rng = np.random.default_rng(7)
    steps = play_together(helpers, envs, vector, lambda v: fighting(v, rng), 250, seed=7)
    wins = np.concatenate([step.info["won"] for step in steps if "won" in step.info])
    assert {0.0, 1.0} <= set(wins[~np.isnan(wins)])
    assert any(step.truncated.any() for step in steps)
    cut = [step.final_observation.alive[step.truncated] for step in steps]
    assert not np.concatenate(cut).all(), "somebody was dead when the time was up"
    hurt = [step for step in steps if not step.observation.alive.all()]
    assert len(hurt) > 20


def test_the_dead_of_a_batch_are_masked_as_the_contract_says(helpers):
    env = VectorSkirmish(16, num_allies=5, num_enemies=5)
    env.reset(seed=1)
    rng = np.random.default_rng(0)
    num_dead = 0
    for _ in range(60):
        step = env.step(fighting(env, rng))
        for seen in (step.observation, step.final_observation):
            dead = ~seen.alive
            assert not seen.obs[dead].any()
            assert seen.action_mask[dead].all()
            num_dead += dead.sum()
        ended = step.terminated | step.truncated
        assert step.final_observation.action_mask[ended].all()
        living = step.observation.alive
        assert step.observation.action_mask[living][:, STOP].all()
        # Most enemies are out of range of most allies.
        assert step.observation.action_mask[living][:, 5:].mean() < 0.9
        assert step.observation.alive[ended].all()
    assert num_dead > 100


def test_one_environment_of_a_batch_does_not_depend_on_the_others(helpers):
    lonely, crowded = (VectorSkirmish(count, num_allies=4, num_enemies=4) for count in (1, 5))
    lonely.reset(seed=3)
    crowded.reset(seed=1)
    for name in lonely.dynamic:
        source, target = getattr(lonely, name), getattr(crowded, name)
        target[..., 2] = source[..., 0]
    rng = np.random.default_rng(0)
    for _ in range(25):
        actions = rng.integers(9, size=(5, 4))
        draws = rng.random((5, 8, 8))
        for env, rows in ((lonely, slice(2, 3)), (crowded, slice(0, 5))):
            env._rng = helpers.ScriptedGenerator()
            env._rng.queue.append(draws[rows])
            env._advance(actions[rows], env._rng)
        np.testing.assert_array_equal(lonely._places[:, :, 0], crowded._places[:, :, 2])
        np.testing.assert_array_equal(lonely._health[:, 0], crowded._health[:, 2])


def test_the_loop_and_the_batch_describe_the_same_team():
    vector = VectorSkirmish(1, name="skirmish", num_allies=2, num_enemies=3)
    loop = LoopVectorEnv(lambda: Skirmish(2, 3), 1, name="skirmish", version="1")
    assert vars(vector.spec) == vars(loop.spec)
    assert vector.spec.has_action_mask


@pytest.mark.parametrize("size", [1, 3])
def test_pettingzoos_api_test_passes(size):
    check_parallel_api(Skirmish(size, size, max_steps=20), num_cycles=100)


def test_an_agent_that_dies_leaves_the_agents_and_is_not_asked_again():
    env = Skirmish(2, 2, starts="facing", unit_types=["zergling"] * 2)
    obs, infos = env.reset(seed=0)
    env._units[0].health = 0.5
    seen = []
    while env.agents:
        acting = list(env.agents)
        obs, rewards, terminated, truncated, infos = env.step(dict.fromkeys(acting, STOP))
        groups = (obs, rewards, terminated, truncated, infos)
        assert all(list(group) == acting for group in groups)
        seen.append((acting, dict(terminated)))
        assert all(type(reward) is float for reward in rewards.values())
    assert (["ally_0", "ally_1"], {"ally_0": True, "ally_1": False}) in seen
    assert seen[-1] == (["ally_1"], {"ally_1": True})
    assert infos["ally_1"]["won"] is False
    assert "won" not in env.reset()[1]["ally_0"]
    with pytest.raises(EnvContractError, match="ally_0"):
        env.step({"ally_1": STOP})


def test_an_agent_that_dies_when_the_time_is_up_is_terminated_and_not_truncated():
    env = Skirmish(2, 2, starts="facing", unit_types=["marine"] * 2, max_steps=1)
    env.reset(seed=0)
    env._units[0].place = [0.0, 9.0]
    _, _, terminated, truncated, _ = env.step(dict.fromkeys(env.agents, STOP))
    assert terminated == {"ally_0": True, "ally_1": False}
    assert truncated == {"ally_0": False, "ally_1": True}
    assert env.agents == []


def test_observations_stay_within_their_bounds_beyond_the_edge():
    # A push at the end of a step can do that; the unit dies in the next one.
    env, vector = Skirmish(1, 1), VectorSkirmish(1, num_allies=1, num_enemies=1)
    env.reset(seed=0)
    vector.reset(seed=0)
    env._units[0].place = [32.2, -0.2]
    vector._places[:, 0, 0] = 32.2, -0.2
    vector._observe(slice(None))
    for obs, state in ((env._observe(0), env.state()), (vector._obs[0, 0], vector._state[0])):
        assert obs[-9:-7].tolist() == state[1:3].tolist() == [1, 0]
        assert env.observation_space("ally_0").contains(obs)
        assert env.state_space.contains(state)


def test_a_snapshot_continues_bit_for_bit(helpers):
    helpers.check_continuation(lambda: VectorSkirmish(3, num_allies=4, max_steps=20))


# Pictures.


def test_both_forms_draw_the_same_picture():
    vector = VectorSkirmish(2, num_allies=2, num_enemies=2)
    vector.reset(seed=0)
    env = Skirmish(2, 2, render_mode="rgb_array")
    env.reset(seed=0)
    for index, unit in enumerate(env._units):
        vector._types[index, 1] = UNIT_NAMES.index(unit.kind.name)
        vector._places[:, index, 1] = unit.place
        vector._health[index, 1] = unit.health = unit.kind.health / (index + 1)
    env._units[3].health = vector._health[3, 1] = 0
    env._units[1].aimed_at = vector._hits[1, 1] = 3
    env._time = vector._time[1] = 42
    picture = env.render()
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(vector.render(1), picture)
    assert not np.array_equal(vector.render(0), picture)


def test_the_picture_shows_teams_health_and_shots():
    env = Skirmish(1, 2, unit_types=["marine"], render_mode="rgb_array")
    env.reset(seed=0)
    ally, enemy, dead = env._units
    ally.place, enemy.place, dead.place = [8.0, 8.0], [16.0, 24.0], [25.5, 25.5]
    dead.health = 0

    def pixel(x, y, right=0, down=0):
        # 20 pixels per unit below a header of 40; the letter is not where the disc is asked.
        return tuple(env.render()[40 + round((32 - y) * 20) + down, round(x * 20) + right].tolist())

    assert pixel(8, 8, right=9) == (45, 108, 192)
    assert pixel(16, 24, right=9) == (214, 69, 65)
    paper = pixel(21.5, 13.5)
    assert pixel(13, 18) == paper
    ally.aimed_at = 1
    assert pixel(13, 18) != paper
    assert pixel(25.5, 25.5, right=9) == paper
    assert pixel(25.5, 25.5) != paper
    fresh = env.render().copy()
    enemy.health = 10
    assert not np.array_equal(fresh, env.render())


def test_the_text_picture_lists_the_units():
    env = Skirmish(1, 2, unit_types=["zealot"], render_mode="ansi")
    env.reset(seed=0)
    ally, enemy, dead = env._units
    ally.place, enemy.place, dead.place = [1.0, 31.0], [31.0, 1.0], [9.0, 9.0]
    enemy.health, dead.health, ally.aimed_at = 75, 0, 1
    lines = env.render().splitlines()
    assert lines[0] == "step 0/100"
    assert lines[1] == "Z " + " ".join("." * 15)
    assert lines[16] == " ".join("." * 15) + " z"
    assert lines[17:] == [
        "0 Z zealot 100% (1.0, 31.0) hits 1",
        "1 z zealot 50% (31.0, 1.0)",
        "2 z zealot dead (9.0, 9.0)",
    ]


# Scripted allies.


def test_scripted_allies_set_the_marks():
    env = VectorSkirmish(100, num_allies=3, num_enemies=3)
    scores = {name: measure(build(), env, 5, seed=0) for name, build in PLAYERS.items()}
    assert scores["random"].win_rate < 0.02
    # Both sides play alike: half, but for draws.
    assert scores["attack the closest"].win_rate == pytest.approx(0.49, abs=0.07)
    assert 0.57 < scores["attack the weakest"].win_rate < 0.71
    # A won episode returns 2.
    for score in scores.values():
        assert score.win_rate <= score.episode_return / 2 <= 1
        assert score.episodes == 500
        assert score.length < 100


def test_a_scripted_ally_forgets_its_target_when_a_battle_begins():
    env = VectorSkirmish(2, num_allies=1, num_enemies=2, unit_types=["marine"])
    env.reset(seed=0)
    env._places[:, :] = np.array([[10, 13, 12], [10, 10, 10]])[:, :, None]
    player = ScriptedPlayer("closest")
    player(env)
    player._focus[:] = 0
    env._time[0] = 1
    assert player(env).tolist() == [[ATTACK], [ATTACK + 1]]


def test_the_random_player_chooses_every_legal_action_and_no_other():
    env = VectorSkirmish(1, num_allies=1, num_enemies=2, unit_types=["marine"])
    env.reset(seed=0)
    env._places[:, :, 0] = [[10, 13, 20], [10, 10, 10]]
    env._observe(slice(None))
    player = RandomPlayer()
    assert {int(player(env)[0, 0]) for _ in range(200)} == {0, 1, 2, 3, 4, ATTACK}
