"""Episodes of a team: ends, cuts, deaths, automatic resets, diagnostics."""

import numpy as np
import pytest
from envs_test_fakes import FakeTeam, noop, play

from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.errors import EnvContractError


def test_an_episode_that_is_cut_is_truncated_and_restarts(team):
    built = team(length=2)
    result = play(built, 2)
    assert (bool(result.terminated[0]), bool(result.truncated[0])) == (False, True)
    np.testing.assert_allclose(result.final_observation.obs[0, 0], [2, 2])
    np.testing.assert_allclose(result.final_observation.state[0], [2, 2, 2.1, 2.1])
    np.testing.assert_allclose(result.observation.obs[0, 0], [0, 0])
    assert result.final_observation.alive.all()
    assert result.observation.alive.all()


def test_every_episode_has_a_seed_of_its_own_which_the_first_one_fixes(team):
    def seeds_of(seed):
        built = team(length=1)
        built.reset(seed=seed)
        for _ in range(3):
            built.step(noop(built))
        # The first None is the reset that looked at the layout.
        first, *others = built._envs[0].env.seeds
        assert first is None
        return others

    assert seeds_of(5) == seeds_of(5) != seeds_of(6)
    assert len(set(seeds_of(5))) == 4
    assert len(set(seeds_of(None))) == 4


def test_copies_get_different_seeds():
    built = LoopVectorEnv(FakeTeam, 8)
    built.reset(seed=5)
    assert len({team_env.env.seeds[-1] for team_env in built._envs}) == 8


def test_finished_rows_restart_while_others_go_on():
    lengths = iter([2, 5])
    built = LoopVectorEnv(lambda: FakeTeam(length=next(lengths)), 2)
    built.reset(seed=0)
    built.step(noop(built, 2))
    result = built.step(noop(built, 2))
    np.testing.assert_array_equal(result.truncated, [True, False])
    np.testing.assert_allclose(result.observation.obs[:, 0, 0], [0, 2])
    np.testing.assert_allclose(result.final_observation.obs[:, 0, 0], [2, 2])


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        ("ab", "", (True, False)),
        ("", "ab", (False, True)),
        ("a", "b", (False, True)),
        ("ab", "ab", (True, False)),
    ],
)
@pytest.mark.parametrize("remaining", ["", "ab"])
def test_an_ended_episode_is_terminated_or_truncated_and_never_both(
    team, terminated, truncated, expected, remaining
):
    def tamper(env, returned):
        if env.step_count == 1:
            returned.terminated = {name: name in terminated for name in "ab"}
            returned.truncated = {name: name in truncated for name in "ab"}
            env.agents = list(remaining)  # some environments never empty their list

    result = play(team(tamper=tamper, length=9))
    assert (bool(result.terminated[0]), bool(result.truncated[0])) == expected


def test_agents_that_vanish_without_a_flag_have_terminated(team):
    result = play(team(tamper=lambda env, _: env.agents.clear() if env.step_count else None))
    assert (bool(result.terminated[0]), bool(result.truncated[0])) == (True, False)


def test_a_cut_episode_shows_only_agents_that_could_have_gone_on(team):
    def tamper(env, returned):
        if env.step_count == 1:
            returned.terminated["a"] = returned.truncated["b"] = True
            env.agents = []

    final = play(team(tamper=tamper, length=9)).final_observation
    np.testing.assert_array_equal(final.alive[0], [False, True])
    np.testing.assert_allclose(final.obs[0], [[0, 0], [1.1, 1.1]])


def masks_for_all(env, returned):
    for name in env.possible_agents:
        returned.infos[name]["action_mask"] = np.array([False, True, True])


def second_dies_in_step_2(env, returned):
    masks_for_all(env, returned)
    if env.step_count >= 2:
        env.agents = ["a"] if env.step_count < env.length else []
        returned.terminated["b"] = env.step_count == 2


def second_dies_and_falls_silent(env, returned):
    second_dies_in_step_2(env, returned)
    if env.step_count > 2:
        for group in (returned.obs, returned.rewards, returned.terminated, returned.truncated):
            group.pop("b", None)


# An environment may go on sending observations and rewards of the dead: they do not count.
@pytest.mark.parametrize("dying", [second_dies_in_step_2, second_dies_and_falls_silent])
def test_an_agent_that_dies_leaves_an_empty_row_and_gets_no_more_actions(team, dying):
    built = team(team_reward="sum", tamper=dying, length=5)
    built.reset(seed=0)
    for _ in range(2):  # the second episode must not remember who died in the first
        assert built.step(np.ones((1, 2), int)).observation.alive.all()
        for step in range(2, 5):
            result = built.step(np.ones((1, 2), int))
            seen = result.observation
            assert not result.terminated[0]
            assert not result.truncated[0]
            np.testing.assert_array_equal(seen.alive[0], [True, False])
            np.testing.assert_allclose(seen.obs[0], [[step, step], [0, 0]])
            np.testing.assert_allclose(seen.state[0], [step, step, 0, 0])
            np.testing.assert_array_equal(seen.action_mask[0], [[False, True, True], [True] * 3])
            # The agent that died in this step was still paid for it.
            np.testing.assert_array_equal(result.agent_rewards[0], [1, float(step == 2)])
            assert result.reward[0] == 1 + (step == 2)
        assert built._envs[0].env.received[-1].keys() == {"a"}
        result = built.step(np.ones((1, 2), int))
        assert result.truncated[0]
        np.testing.assert_array_equal(result.final_observation.alive[0], [True, False])
        np.testing.assert_allclose(result.final_observation.obs[0], [[5, 5], [0, 0]])
        assert result.observation.alive.all()


def test_an_agent_may_die_in_an_environment_that_keeps_it_listed(team):
    def tamper(env, returned):
        if env.step_count >= 1:
            env.agents = list("ab")
            returned.terminated["a"] = env.step_count == 1
            returned.truncated = dict.fromkeys("ab", False)

    built = team(tamper=tamper, length=99)
    for num_steps in (1, 3):
        np.testing.assert_array_equal(play(built, num_steps).observation.alive[0], [False, True])


def test_an_agent_may_join_later(team):
    def tamper(env, returned):
        env.agents = ["a"] if env.step_count < 2 else ["a", "b"]
        if env.step_count < 2:
            returned.obs.pop("b")

    built = team(tamper=tamper, length=9)
    seen = [built.reset(seed=0), *(built.step(noop(built)).observation for _ in range(3))]
    # Arrays are reused, so only the last two observations still hold.
    assert seen[-1].alive.all()
    np.testing.assert_allclose(seen[-1].obs[0], [[3, 3], [3.1, 3.1]])
    received = [set(actions) for actions in built._envs[0].env.received]
    assert received == [{"a"}, {"a"}, {"a", "b"}]


def test_numbers_in_the_last_infos_become_diagnostics(team):
    def tamper(env, returned):
        if env.step_count == env.length:
            returned.infos["a"].update(won=True, note="text", fuel=np.nan, big=10**400)
            returned.infos["b"].update(won=False, score=2, fuel=np.float32(3))

    built = team(tamper=tamper, length=2)
    built.reset(seed=0)
    assert built.step(noop(built)).info == {}
    info = built.step(noop(built)).info
    # Means over the agents that report a finite number.
    found = {key: value.tolist() for key, value in info.items()}
    assert found == {"won": [0.5], "score": [2.0], "fuel": [3.0]}


def test_one_agent_may_take_anothers_place_without_a_flag(team):
    def tamper(env, returned):
        env.agents = ["a"] if env.step_count < 2 else ["b"]

    built = team(tamper=tamper, length=9)
    seen = [built.reset(seed=0).alive[0].tolist()]
    seen += [built.step(noop(built)).observation.alive[0].tolist() for _ in range(3)]
    assert seen == [[True, False]] * 2 + [[False, True]] * 2


def test_an_agent_that_ended_and_was_gone_may_come_back(team):
    def tamper(env, returned):
        env.agents = ["a"] if env.step_count == 2 else ["a", "b"]
        returned.terminated["b"] = env.step_count == 2

    built = team(tamper=tamper, length=9)
    built.reset(seed=0)
    alive = [built.step(noop(built)).observation.alive[0, 1].item() for _ in range(4)]
    assert alive == [True, False, True, True]


@pytest.mark.parametrize(
    "broken", [np.ones(0), np.full(2, np.nan), np.full(2, 1e300), None], ids=str
)
def test_a_terminal_state_that_cannot_be_read_is_zero(team, broken):
    def terminal(env, returned):
        returned.terminated, returned.truncated = returned.truncated, returned.terminated

    def state(env):
        if env.agents:
            return np.array([5.0, env.step_count], np.float32)
        if broken is None:
            raise RuntimeError("the game is over")
        return broken

    built = team(length=2, state=state, tamper=terminal)
    built.reset(seed=0)
    step = built.step(noop(built))
    np.testing.assert_array_equal(step.observation.state, [[5, 1]])
    with np.errstate(over="ignore"):
        step = built.step(noop(built))
    assert step.terminated.all()
    np.testing.assert_array_equal(step.final_observation.state, [[0, 0]])
    cut = team(length=1, state=state)  # a time limit's value is read from the state
    cut.reset(seed=0)
    with np.errstate(over="ignore"), pytest.raises(EnvContractError):
        cut.step(noop(cut))
