"""The bridge's three closed forms against exact computation on its own dynamics."""

import copy
import itertools

import numpy as np
import pytest

from rllib_agentmixer.envs.games.bridge import GO, WAIT, Bridge
from rllib_agentmixer.envs.games.bridge_vector import VectorBridge

JOINT_ACTIONS = tuple(itertools.product((WAIT, GO), repeat=2))

SMALL = {"length": 1, "horizon": 4}

SETTINGS = {
    "default": {},
    "short": {"horizon": 3},
    "seen_sometimes": {"visibility": 0.3},
    "seen_always": {"visibility": 1.0},
    "free": {"time_cost": 0.0, "fine": 0.0, "jam_cost": 0.0},
    # Hidden, crossing earns less than waiting for the horizon or than a jam.
    "waiting_is_best": {"fine": 3.0, "visibility": 0.25},
    "waiting_is_just_best": {"fine": 2.01, "time_cost": 0.05, "horizon": 3},
    "jamming_is_best": {"fine": 3.0, "jam_cost": 0.0, "time_cost": 0.1, "visibility": 0.25},
    # Even the omniscient optimum is to jam at once.
    "time_is_dear": {"time_cost": 0.9, "jam_cost": 0.1, "visibility": 0.25},
}
"""Changes of :data:`SMALL`, whose deterministic policies can be counted out."""

LONGER = {
    "longer": {"length": 2},
    "longer_short": {"length": 2, "horizon": 5, "time_cost": 0.1},
    "longer_dear": {"length": 2, "time_cost": 0.4, "jam_cost": 0.1, "visibility": 0.5},
}

small = pytest.mark.parametrize("rules", SETTINGS.values(), ids=SETTINGS)
every = pytest.mark.parametrize("rules", [*SETTINGS.values(), *LONGER.values()])


def bridge(**rules):
    env = Bridge(**rules if "length" in rules else SMALL | rules)
    env.reset(seed=0)
    return env


def started(env, holder, is_visible):
    start = copy.deepcopy(env)
    start._holder, start._is_visible = holder, is_visible
    return start


def after(env, actions):
    """The bridge one step later, and the reward."""
    later = copy.deepcopy(env)
    rewards = later.step(dict(zip(env.possible_agents, actions, strict=True)))[1]
    return later, rewards["agent_0"]


# The optimum of agents that know the state.


def best_return(env, known):
    """Dynamic programming over the states that the environment itself reaches."""
    if not env.agents:
        return 0.0
    key = env.state().tobytes()
    if key not in known:
        steps = [after(env, actions) for actions in JOINT_ACTIONS]
        known[key] = max(reward + best_return(later, known) for later, reward in steps)
    return known[key]


@every
def test_the_optimum_is_that_of_dynamic_programming(rules):
    env = bridge(**rules)
    for holder, is_visible in itertools.product((0, 1), (False, True)):
        found = best_return(started(env, holder, is_visible), {})
        assert found == pytest.approx(env.optimum, abs=1e-9)


# The optimum of agents that know their own observations.


def plans(horizon):
    """Every action for each position and time at which one agent can be, [plans, p, t].

    A bridge of one cell: on the far bank the action has no effect, and no agent is on the
    bridge at time 0. Observations hold nothing else but the cue, and an agent that also
    remembers knows no more, as its past follows from its own actions.
    """
    places = [(p, t) for p in (0, 1) for t in range(horizon) if p <= t]
    found = np.zeros((2 ** len(places), 3, horizon), int)
    for index, actions in enumerate(itertools.product((WAIT, GO), repeat=len(places))):
        for (p, t), action in zip(places, actions, strict=True):
            found[index, p, t] = action
    return found


def returns_of_all_pairs(rules, holder):
    """[plans, plans] returns of every plan of agent_0 with every plan of agent_1."""
    single_env = bridge(**rules)
    horizon = single_env.settings.horizon
    table = plans(horizon)
    first, second = (grid.ravel() for grid in np.indices((len(table), len(table))))
    vector = VectorBridge(first.size, **SMALL | rules)
    vector.reset(seed=0)
    vector._holder[:] = holder
    total, running = np.zeros(first.size), np.ones(first.size, bool)
    for time in range(horizon):
        p = vector._positions
        actions = np.stack([table[first, p[0], time], table[second, p[1], time]], axis=1)
        result = vector.step(actions)
        total += np.where(running, result.reward, 0.0)
        running &= ~(result.terminated | result.truncated)
    assert not running.any()
    return total.reshape(len(table), len(table))


@small
def test_the_individual_optimum_is_that_of_the_best_pair_of_plans(rules):
    # One payoff for both: the expected return is linear in each agent's mixture, so no
    # random pair of policies beats the best deterministic one, whatever it observes.
    env = bridge(**rules)
    visibility = env.settings.visibility
    by_holder = [returns_of_all_pairs(rules, holder) for holder in (0, 1)]
    # Hidden, the same pair meets both; visible, each agent has a plan for each cue.
    hidden = (0.5 * (by_holder[0] + by_holder[1])).max()
    visible = 0.5 * (by_holder[0].max() + by_holder[1].max())
    assert visible == pytest.approx(env.optimum, abs=1e-6)
    expected = visibility * visible + (1 - visibility) * hidden
    assert env.individual_optimum == pytest.approx(expected, abs=1e-6)


def test_each_alternative_is_best_somewhere():
    idle = bridge(**SETTINGS["waiting_is_best"] | {"visibility": 0})
    assert idle.individual_optimum == pytest.approx(-0.04)
    jam = bridge(**SETTINGS["jamming_is_best"] | {"visibility": 0})
    assert jam.individual_optimum == pytest.approx(-0.1)
    assert bridge().individual_optimum == pytest.approx(1 - 0.03 - 0.25)
    assert bridge(**SETTINGS["time_is_dear"]).optimum == pytest.approx(-1.0)


# The return of the distilled expert.


def expert(env):
    """The omniscient optimum: the holder goes, the other enters as the holder leaves."""
    length, holder = env.settings.length, env._holder
    actions = [GO, GO]
    jams = env.settings.jam_return > env.settings.crossing_return
    if not jams and env._positions[holder] < length:
        actions[1 - holder] = WAIT
    return actions


def worlds(env):
    """Every start with its probability."""
    v = env.settings.visibility
    for holder, (is_visible, chance) in itertools.product((0, 1), ((True, v), (False, 1 - v))):
        if chance:
            yield started(env, holder, is_visible), chance / 2


def distilled(env):
    """Probability to go by agent and observation: the average over the expert's episodes."""
    weights, goes = {}, {}
    for start, chance in worlds(env):
        now, earned = start, 0.0
        while now.agents:
            actions = expert(now)
            for index, action in enumerate(actions):
                key = (index, now._observe(index).tobytes())
                weights[key] = weights.get(key, 0.0) + chance
                goes[key] = goes.get(key, 0.0) + chance * action
            now, reward = after(now, actions)
            earned += reward
        assert earned == pytest.approx(env.optimum), "the expert is not optimal"
    return {key: goes[key] / weight for key, weight in weights.items()}


def expected_return(env, policy):
    """Sum over all branches of independently sampled actions."""
    if not env.agents:
        return 0.0
    go = [policy[index, env._observe(index).tobytes()] for index in (0, 1)]
    total = 0.0
    for actions in JOINT_ACTIONS:
        chance = np.prod([p if a == GO else 1 - p for p, a in zip(go, actions, strict=True)])
        if chance:
            later, reward = after(env, actions)
            total += chance * (reward + expected_return(later, policy))
    return total


@every
def test_the_distilled_return_is_the_expectation_over_all_branches(rules):
    env = bridge(**rules)
    policy = distilled(env)
    found = sum(chance * expected_return(start, policy) for start, chance in worlds(env))
    assert found == pytest.approx(env.distilled_return, abs=1e-9)


def test_the_distilled_expert_has_a_hand_computed_return():
    # Half of the time 1 - 0.03 - 0.25, a quarter each a jam after one and after two steps.
    assert bridge().distilled_return == pytest.approx(0.36 - 0.25 * 1.01 - 0.25 * 1.02)


@every
def test_knowing_more_is_never_worse(rules):
    env = bridge(**rules)
    assert env.distilled_return <= env.individual_optimum + 1e-12
    assert env.individual_optimum <= env.optimum + 1e-12
