"""Skirmish, rule by rule, in both forms."""

import numpy as np
import pytest
from envs_test_skirmish_scenes import (
    ATTACK,
    DOWN,
    LEFT,
    NO_UNIT,
    RIGHT,
    STOP,
    UP,
    Placed,
    far_away,
    fight_batched,
    fight_single_env,
)

from rllib_agentmixer.envs.games.skirmish.rules import NUM_MOVES, UNIT_TYPES

TYPES = {kind.name: kind for kind in UNIT_TYPES}
MEAN_DELAY = 1 / 32
"""Added to a cooldown by the draw 1/2."""


@pytest.fixture(params=[fight_single_env, fight_batched], ids=["single", "batched"])
def fight(request):
    def run(allies, enemies, plan, draw=0.5, time=0, **arguments):
        plan = plan if isinstance(plan[0], list) else [plan]
        return request.param(allies, enemies, plan, draw, time, arguments)

    return run


def stalemate(fight, ally, action, **arguments):
    """One ally acts, nobody is near."""
    return fight([ally], [far_away()], [action], **arguments)


# Moves.


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize(
    ("action", "direction"),
    [(UP, (0, 1)), (RIGHT, (1, 0)), (DOWN, (0, -1)), (LEFT, (-1, 0)), (STOP, (0, 0))],
)
def test_a_move_takes_half_a_second_at_the_units_speed(fight, name, action, direction):
    seen = stalemate(fight, Placed(name, 8, 9), action)
    np.testing.assert_allclose(
        seen.places[0], np.array([8, 9]) + np.array(direction) * TYPES[name].speed / 2
    )
    assert seen.reward == 0
    assert not seen.terminated


def test_types_have_smaxs_numbers():
    numbers = {
        name: (t.speed, t.damage, t.attack_range, t.sight_range, t.radius, t.health, t.cooldown)
        for name, t in TYPES.items()
    }
    assert numbers == {
        "marine": (3.15, 9, 5, 9, 0.375, 45, 0.61),
        "marauder": (2.25, 10, 6, 10, 0.5625, 125, 1.07),
        "stalker": (4.13, 13, 6, 10, 0.625, 160, 1.87),
        "zealot": (3.15, 8, 2, 9, 0.5, 150, 0.86),
        "zergling": (4.13, 5, 2, 8, 0.375, 35, 0.5),
        "hydralisk": (3.15, 12, 5, 9, 0.625, 80, 0.59),
    }


@pytest.mark.parametrize(
    ("place", "action"),
    [((2, 9), LEFT), ((9, 2), DOWN), ((30, 9), RIGHT), ((9, 30), UP)],
)
def test_the_edge_of_the_map_kills(fight, place, action):
    # A stalker moves 2.065.
    allies = [Placed("stalker", *place), Placed("marine", 20, 20)]
    seen = fight(allies, [Placed("zealot", 16, 2, goal=(16, 2))], [action, STOP])
    assert seen.health[0] == 0
    assert seen.alive == [False, True]
    survivor = fight(allies, [Placed("zealot", 16, 2, goal=(16, 2))], [STOP, STOP])
    assert survivor.health[0] == 160


def test_an_enemy_that_is_pushed_over_the_edge_counts_as_damage(fight):
    enemies = [Placed("marine", 0.01, 9, health=9), far_away()]
    seen = fight([Placed("zealot", 0.3, 9)], enemies, [STOP])
    assert seen.health[1] == 0
    assert seen.reward == pytest.approx(9 / 45 / 2)


# Shots.


@pytest.mark.parametrize("name", TYPES)
def test_a_shot_takes_the_types_damage_within_its_range_and_rests_the_weapon(fight, name):
    kind = TYPES[name]
    near = kind.attack_range - 0.001
    target = Placed("marauder", 10 + near, 10, cooldown=9)
    seen = fight([Placed(name, 10, 10)], [target], [ATTACK])
    # One shot in the first sub-step, then seven of rest.
    assert seen.health[1] == 125 - kind.damage
    assert seen.reward == pytest.approx(kind.damage / 125)
    assert seen.cooldown[0] == pytest.approx(kind.cooldown + MEAN_DELAY - 7 / 16)
    assert seen.hits[0] == 1


@pytest.mark.parametrize(("distance", "sub_step"), [(4.999, 0), (5, 1)])
def test_a_target_at_the_range_itself_is_out_of_range(fight, distance, sub_step):
    # It comes closer in the first sub-step and is then hit in the second.
    target = Placed("marine", 10 + distance, 10, cooldown=9)
    seen = fight([Placed("marine", 10, 10)], [target], [ATTACK])
    assert seen.cooldown[0] == pytest.approx(0.61 + MEAN_DELAY - (7 - sub_step) / 16)


@pytest.mark.parametrize(("draw", "delay"), [(0.0, -1 / 16), (1.0, 2 / 16)])
def test_the_rest_of_a_weapon_is_up_to_one_sub_step_shorter_or_two_longer(fight, draw, delay):
    enemies = [Placed("marauder", 12, 10, cooldown=9)]
    seen = fight([Placed("marauder", 10, 10)], enemies, [ATTACK], draw=draw)
    assert seen.cooldown[0] == pytest.approx(1.07 + delay - 7 / 16)


def test_a_weapon_shoots_again_when_it_is_ready(fight):
    # A marine's rest of .61 + 1/32 s is over after 11 sub-steps: shots in 0, 12 and 24.
    allies, enemies = [Placed("marine", 10, 10)], [Placed("zealot", 14, 10, cooldown=99)]
    seen = fight(allies, enemies, [[ATTACK]] * 4)
    np.testing.assert_allclose(seen.rewards, np.array([9, 9, 0, 9]) / 150)


@pytest.mark.parametrize(("cooldown", "shots"), [(0.4, 1), (0.4375, 1), (0.44, 0)])
def test_a_resting_weapon_waits(fight, cooldown, shots):
    allies = [Placed("marine", 10, 10, cooldown=cooldown)]
    seen = fight(allies, [Placed("zealot", 13, 10, cooldown=9)], [ATTACK])
    assert seen.health[1] == 150 - 9 * shots


def test_a_target_that_comes_into_range_in_mid_step_is_shot_at(fight):
    # A zergling 6 away walks to 5 and less after 4 sub-steps of .258.
    enemies = [Placed("zergling", 16, 10)]
    assert fight([Placed("marine", 10, 10)], enemies, [ATTACK]).health[1] == 35 - 9


def test_shots_of_one_moment_all_count(fight):
    seen = fight(
        [Placed("marine", 10, 10, health=9)], [Placed("marine", 14, 10, health=9)], [ATTACK]
    )
    assert seen.health.tolist() == [0, 0]
    # Everybody is dead: the damage counts, the battle is not won.
    assert (seen.terminated, seen.won) == (True, False)
    assert seen.reward == pytest.approx(9 / 45)


def test_two_shots_at_one_unit_add_up(fight):
    allies = [Placed("marine", 10, 10), Placed("hydralisk", 10, 12)]
    seen = fight(allies, [Placed("zealot", 14, 11, cooldown=9)], [ATTACK, ATTACK])
    assert seen.health[2] == 150 - 9 - 12


def test_more_damage_than_health_counts_as_health(fight):
    enemies = [Placed("marine", 12, 10, health=3, cooldown=9), far_away()]
    seen = fight([Placed("hydralisk", 10, 10)], enemies, [ATTACK])
    assert seen.health[1] == 0
    assert seen.reward == pytest.approx(3 / 45 / 2)


def test_the_second_attack_aims_at_the_second_enemy(fight):
    enemies = [Placed("marine", 12, 10, cooldown=9), Placed("marine", 10, 12, cooldown=9)]
    assert fight([Placed("marine", 10, 10)], enemies, [ATTACK + 1]).health.tolist() == [45, 45, 36]


def test_the_dead_neither_shoot_nor_move_nor_are_hit(fight):
    allies = [Placed("marine", 10, 10, health=0), Placed("zealot", 13, 10)]
    enemies = [Placed("marine", 12, 10, health=0), Placed("zealot", 16, 10, cooldown=9)]
    seen = fight(allies, enemies, [ATTACK + 1, ATTACK])
    assert seen.health.tolist() == [0, 150, 0, 150]
    assert seen.hits[:2] == [NO_UNIT, NO_UNIT]
    moved = fight(allies, enemies, [RIGHT, STOP])
    assert moved.places[0].tolist() == [10, 10]


def test_a_unit_that_dies_in_mid_step_stops_moving_and_shooting(fight):
    # The marine dies of the first shots; the second ally's weapon is ready in sub-step 2.
    allies = [Placed("zealot", 11, 10), Placed("zealot", 11, 11.5, health=8, cooldown=1 / 16)]
    enemies = [Placed("zealot", 10, 10.75, focus=1)]
    seen = fight(allies, enemies, [STOP, ATTACK])
    assert seen.health.tolist() == [150, 0, 150]
    moved = fight(allies, enemies, [STOP, UP])
    # It has moved by one sub-step before it is dead.
    assert moved.places[1, 1] == pytest.approx(11.5 + 3.15 / 16)


# Pushes.


def test_units_that_overlap_are_pushed_until_they_touch(fight):
    allies = [Placed("marine", 10, 10), Placed("marine", 10.3, 10.4)]
    seen = fight(allies, [far_away()], [STOP, STOP])
    gap = seen.places[1] - seen.places[0]
    assert np.linalg.norm(gap) == pytest.approx(0.75, abs=1e-4)
    np.testing.assert_allclose(gap / np.linalg.norm(gap), [0.6, 0.8])
    np.testing.assert_allclose(seen.places[:2].mean(axis=0), [10.15, 10.2])


def test_pushes_of_several_neighbours_add_up(fight):
    # Distances .5 < .75 on both sides of the middle one: it stays, the outer ones move .125.
    allies = [Placed("marine", x, 10) for x in (9.5, 10, 10.5)]
    seen = fight(allies, [far_away()], [STOP] * 3)
    np.testing.assert_allclose(seen.places[1], [10, 10])
    assert seen.places[2, 0] - seen.places[1, 0] == pytest.approx(0.75, abs=2e-3)


def test_the_dead_push_nobody(fight):
    allies = [Placed("marine", 10, 10, health=0), Placed("marine", 10.3, 10)]
    seen = fight(allies, [far_away()], [STOP, STOP])
    assert seen.places[:2].tolist() == [[10, 10], [10.3, 10]]


# The end.


def test_killing_the_last_enemy_wins(fight):
    enemies = [Placed("marine", 12, 10, health=9, cooldown=9), Placed("marine", 20, 20, health=0)]
    seen = fight([Placed("marine", 10, 10)], enemies, [ATTACK])
    assert (seen.terminated, seen.truncated, seen.won) == (True, False, True)
    assert seen.reward == pytest.approx(1 + 9 / 45 / 2)


def test_losing_the_last_ally_loses(fight):
    seen = fight([Placed("marine", 10, 10, health=9)], [Placed("marine", 14, 10)], [STOP])
    assert (seen.terminated, seen.truncated, seen.won) == (True, False, False)
    assert seen.reward == 0
    assert seen.alive == [False]


def test_a_win_returns_two(fight):
    seen = fight(
        [Placed("marine", 10, 10)], [Placed("marine", 14, 10, cooldown=99)], [[ATTACK]] * 7
    )
    assert seen.terminated
    assert sum(seen.rewards) == pytest.approx(2)


def test_the_time_limit_truncates(fight):
    seen = stalemate(fight, Placed("marine", 10, 10), STOP, time=98)
    assert (seen.terminated, seen.truncated, seen.won) == (False, False, None)
    seen = stalemate(fight, Placed("marine", 10, 10), STOP, time=99)
    assert (seen.terminated, seen.truncated, seen.won) == (False, True, False)
    seen = stalemate(fight, Placed("marine", 10, 10), STOP, time=4, max_steps=5)
    assert seen.truncated


def test_a_win_in_the_last_step_terminates(fight):
    enemies = [Placed("marine", 12, 10, health=9, cooldown=9)]
    seen = fight([Placed("marine", 10, 10)], enemies, [ATTACK], time=99)
    assert (seen.terminated, seen.truncated, seen.won) == (True, False, True)


def test_an_agent_that_dies_leaves_and_the_others_go_on(fight):
    allies = [Placed("marine", 10, 10, health=5), Placed("marine", 30, 2)]
    seen = fight(allies, [Placed("zergling", 11, 10)], [STOP, STOP])
    assert seen.alive == [False, True]
    assert (seen.terminated, seen.truncated, seen.won) == (False, False, None)
    assert not seen.obs[0].any()
    assert seen.mask[0].all(), "rows of the dead hold every valid action"
    assert not seen.state[:10].any()


# Masks.


def test_masks_allow_moves_and_attacks_on_the_living_in_range(fight):
    allies = [Placed("marine", 10, 10), Placed("zealot", 10, 14), Placed("stalker", 3, 3)]
    enemies = [
        Placed("marine", 14, 10, health=0),
        Placed("zealot", 14.9, 10, cooldown=9, goal=(14.9, 10)),
        Placed("zergling", 10, 15.9, cooldown=9),
    ]
    seen = fight(allies, enemies, [STOP] * 3, draw=0.5)
    assert seen.mask[:, :NUM_MOVES].all()
    distances = np.linalg.norm(seen.places[:3, None] - seen.places[None, 3:], axis=-1)
    ranges = np.array([[5], [2], [6]])
    np.testing.assert_array_equal(
        seen.mask[:, NUM_MOVES:], (distances < ranges) & [False, True, True]
    )
    assert seen.mask[:, NUM_MOVES:].any(axis=1).tolist() == [True, True, False]


# The script.


def one_enemy(fight, allies, enemy, **arguments):
    return fight(allies, [enemy], [STOP] * len(allies), **arguments).actions[-1]


def test_an_enemy_shoots_at_the_closest_unit_in_range(fight):
    allies = [Placed("zealot", 13, 10, health=1), Placed("zealot", 10, 12)]
    assert one_enemy(fight, allies, Placed("marine", 10, 10)) == ATTACK + 1


def test_an_enemy_stays_with_its_target_while_it_lives_and_is_in_range(fight):
    allies = [Placed("zealot", 13, 10), Placed("zealot", 10, 12)]
    assert one_enemy(fight, allies, Placed("marine", 10, 10, focus=0)) == ATTACK
    escaped = [Placed("zealot", 16, 10), Placed("zealot", 10, 12)]
    assert one_enemy(fight, escaped, Placed("marine", 10, 10, focus=0)) == ATTACK + 1
    dead = [Placed("zealot", 13, 10, health=0), Placed("zealot", 10, 12)]
    assert one_enemy(fight, dead, Placed("marine", 10, 10, focus=0)) == ATTACK + 1


def test_a_target_out_of_range_is_forgotten(fight):
    # Nobody is in range at first; then both allies are, and the second is closer.
    allies = [Placed("zealot", 15.1, 10), Placed("zealot", 10, 15.05)]
    enemy = Placed("marine", 10, 10, focus=0, cooldown=9)
    seen = fight(allies, [enemy], [[LEFT, DOWN], [STOP, STOP]])
    assert seen.actions[-1] == ATTACK + 1


@pytest.mark.parametrize(
    ("offset", "action"),
    [((1, 6), UP), ((6, 1), RIGHT), ((1, -6), DOWN), ((-6, 1), LEFT)],
)
def test_an_enemy_pursues_the_closest_unit_in_sight(fight, offset, action):
    farther = Placed("zealot", 16 - 1.3 * offset[0], 16 - 1.3 * offset[1])
    allies = [farther, Placed("zealot", 16 + offset[0], 16 + offset[1])]
    assert one_enemy(fight, allies, Placed("marine", 16, 16)) == action


def test_an_enemy_that_sees_nobody_goes_to_its_goal(fight):
    # The ally is 9.01 away: a marine sees less far than 9.
    allies = [Placed("zealot", 25.01, 16)]
    assert one_enemy(fight, allies, Placed("marine", 16, 16, goal=(2, 15))) == LEFT
    assert (
        one_enemy(fight, [Placed("zealot", 24.99, 16)], Placed("marine", 16, 16, goal=(2, 15)))
        == RIGHT
    )


def test_an_enemy_does_not_walk_into_the_edge(fight):
    # A zergling's 2.065 to the left would be past the edge; downwards is the next best.
    allies = [Placed("marine", 20, 20)]
    assert one_enemy(fight, allies, Placed("zergling", 2.06, 10, goal=(1, 9.5))) == DOWN
    assert one_enemy(fight, allies, Placed("zergling", 2.07, 10, goal=(1, 9.5))) == LEFT
    assert one_enemy(fight, allies, Placed("zergling", 29.94, 10, goal=(31, 10.5))) == UP


def test_enemies_do_not_shoot_before_allies_do(fight):
    # Both sides' first shots fall in the same sub-step.
    seen = fight([Placed("marine", 10, 10)], [Placed("marine", 14, 10)], [ATTACK])
    assert seen.health.tolist() == [36, 36]


# What is seen.


def test_an_ally_observes_others_in_sight_and_itself(fight):
    allies = [Placed("marine", 10, 10), Placed("zealot", 10, 16, health=75), far_away("stalker")]
    enemies = [
        Placed("marauder", 13, 13, cooldown=0.535, health=25, focus=1),
        Placed("zealot", 20, 2, goal=(20, 2)),
    ]
    seen = fight(allies, enemies, [ATTACK, STOP, LEFT])
    own = seen.obs[0, -10:]
    # Shots at 0 leave .64125 - 7/16 = .20375 of .61.
    expected = [1, 10 / 32, 10 / 32, 0.20375 / 0.61, 1, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(own, expected, rtol=1e-6)
    zealot, stalker, marauder, other = seen.obs[0, :-10].reshape(4, 13)
    assert not stalker.any(), "out of sight"
    assert not other.any(), "out of sight"
    np.testing.assert_allclose(zealot, [0.5, 0, 6 / 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], rtol=1e-6)
    # Its last attack, on ally 1, is action 6 of 0 to 7.
    rest = (0.535 - 0.5) / 1.07
    np.testing.assert_allclose(
        marauder, [16 / 125, 3 / 9, 3 / 9, 0, 0, 6 / 7, rest, 0, 1, 0, 0, 0, 0], rtol=1e-6
    )
    marine, *_ = seen.obs[1, :-10].reshape(4, 13)
    np.testing.assert_allclose(marine[:7], [1, 0, -6 / 9, 0, 0, 5 / 6, 0.20375 / 0.61], rtol=1e-6)


def test_the_last_move_is_seen(fight):
    allies = [Placed("marine", 10, 10), Placed("zealot", 10, 14)]
    seen = fight(allies, [far_away()], [DOWN, LEFT])
    assert seen.obs[0, 3:6].tolist() == [-1, 0, 0]
    assert seen.obs[1, 3:6].tolist() == [0, -1, 0]


def test_the_state_holds_every_unit_and_the_time(fight):
    allies, enemies = [Placed("marine", 8, 16, cooldown=-3)], [far_away("hydralisk", cooldown=99)]
    seen = fight(allies, enemies, [STOP], time=24)
    ally, enemy = seen.state[:-1].reshape(2, 10)
    np.testing.assert_allclose(ally, [1, 8 / 32, 16 / 32, 0, 1, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(enemy[3:], [1, 0, 0, 0, 0, 0, 1])
    np.testing.assert_allclose(enemy[1:3], seen.places[1] / 32, rtol=1e-6)
    assert seen.state[-1] == np.float32(0.25)
