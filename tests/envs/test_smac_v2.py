"""SMACv2's interface against a stand-in that plays by a script."""

import sys
from types import ModuleType

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from rllib_agentmixer.envs import ENVS, make_env, make_vector_env
from rllib_agentmixer.envs.simulators.smac_v2 import SmacV2
from rllib_agentmixer.errors import ConfigError, EnvContractError, MissingExtraError

STOP, ATTACK = 1, 2
LIMIT = 4


class FakeGame:
    """Three units against two; what happens in a step is scripted.

    ``script[t]`` may hold ``dead`` (units), ``result`` (1 won, -1 lost) and ``error`` (the
    connection is lost).
    """

    n_agents, n_enemies = 3, 2

    def __init__(self, script=(), **arguments):
        self.script, self.arguments = list(script), arguments
        self.dead = set()
        self.time = 0
        self.received = []
        self.is_closed = False
        self.forgets_first_observation = False
        self.is_broken = False

    def get_env_info(self):
        return {
            "n_agents": 3,
            "n_actions": 4,
            "obs_shape": 5,
            "state_shape": 7,
            "episode_limit": LIMIT,
        }

    def get_obs(self):
        assert not self.is_broken, "nothing is known after a lost connection"
        return [np.full(5, self.time + 10 * i, np.float64) for i in range(3)]

    def get_state(self):
        return np.full(7, self.time, np.float64)

    def get_avail_actions(self):
        raise ValueError("too many values to unpack (expected 2)")  # as in the real wrapper

    def get_avail_agent_actions(self, agent_id):
        return [1, 0, 0, 0] if agent_id in self.dead else [0, 1, 1, self.time % 2]

    def reset(self):
        self.dead, self.time = set(), 0
        self.is_broken = False
        return None if self.forgets_first_observation else (self.get_obs(), self.get_state())

    def step(self, actions):
        for index, action in enumerate(actions):
            assert self.get_avail_agent_actions(index)[action] == 1, "cannot perform action"
        self.received.append(list(actions))
        event = self.script[self.time] if self.time < len(self.script) else {}
        if event.get("error"):
            self.is_broken = True
            return 0, True, {}
        self.time += 1
        self.dead |= set(event.get("dead", ()))
        result = event.get("result")
        info = {"battle_won": result == 1, "dead_allies": len(self.dead), "dead_enemies": 0}
        return self.time / 2, result is not None or self.time >= LIMIT, info

    def close(self):
        self.is_closed = True


def battle(*script):
    env = SmacV2(FakeGame(script))
    env.reset()
    return env


def step(env, action=STOP):
    return env.step(dict.fromkeys(env.agents, action))


def test_a_battle_starts_with_everybody():
    env = SmacV2(FakeGame())
    obs, infos = env.reset(seed=3)
    assert env.agents == env.possible_agents == ["agent_0", "agent_1", "agent_2"]
    assert env.agents is not env.possible_agents
    for index, name in enumerate(env.agents):
        assert obs[name].tolist() == [10 * index] * 5
        assert env.observation_space(name).contains(obs[name])
        assert infos[name]["action_mask"].tolist() == [0, 1, 1, 0]
        assert infos[name]["won"] is False
    assert env.state_space.contains(env.state())
    assert env.action_space("agent_0").n == 4


def test_a_reset_that_returns_nothing_is_asked_again():
    game = FakeGame()
    game.forgets_first_observation = True
    obs, _ = SmacV2(game).reset()
    assert obs["agent_2"].tolist() == [20] * 5


def test_a_step_gives_everybody_the_same_reward_and_a_new_view():
    env = battle()
    obs, rewards, terminated, truncated, infos = step(env)
    assert rewards == dict.fromkeys(env.possible_agents, 0.5)
    assert obs["agent_1"].tolist() == [11] * 5
    assert env.state().tolist() == [1] * 7
    assert infos["agent_0"]["action_mask"].tolist() == [0, 1, 1, 1]
    assert not any(terminated.values())
    assert not any(truncated.values())


def test_a_unit_that_dies_leaves_and_does_nothing_from_then_on():
    env = battle({"dead": [1]})
    obs, rewards, terminated, truncated, _ = step(env)
    assert terminated == {"agent_0": False, "agent_1": True, "agent_2": False}
    assert not any(truncated.values())
    assert rewards["agent_1"] == 0.5
    assert set(obs) == set(env.possible_agents)
    assert env.agents == ["agent_0", "agent_2"]
    obs, rewards, terminated, *_ = step(env, ATTACK)
    assert set(obs) == set(rewards) == set(terminated) == {"agent_0", "agent_2"}
    assert env._game.received[-1] == [ATTACK, 0, ATTACK]


@pytest.mark.parametrize(
    ("result", "dead", "won"), [(1, [0], True), (-1, [0, 1, 2], False), (-1, [0], False)]
)
def test_a_battle_that_is_decided_terminates(result, dead, won):
    env = battle({"result": result, "dead": dead})
    *_, terminated, truncated, infos = step(env)
    assert set(terminated.values()) == {True}
    assert set(truncated.values()) == {False}
    assert {info["won"] for info in infos.values()} == {won}
    assert env.agents == []
    with pytest.raises(EnvContractError, match="call reset"):
        env.step({})


def test_the_time_limit_truncates_though_the_game_calls_it_an_end():
    env = battle({"dead": [2]})
    for _ in range(LIMIT):
        _, _, terminated, truncated, _ = step(env)
    assert truncated == {"agent_0": True, "agent_1": True}
    assert terminated == {"agent_0": False, "agent_1": False}
    assert env.agents == []


def test_a_unit_that_dies_in_the_last_step_before_the_limit_is_dead():
    env = battle({}, {}, {}, {"dead": [2]})
    for _ in range(LIMIT):
        *_, terminated, truncated, _ = step(env)
    assert terminated == {"agent_0": False, "agent_1": False, "agent_2": True}
    assert truncated == {"agent_0": True, "agent_1": True, "agent_2": False}


@pytest.mark.parametrize("last", [{"result": 1}, {"result": -1, "dead": [0, 1, 2]}])
def test_a_battle_decided_at_the_limit_terminates(last):
    env = battle({}, {}, {}, last)
    for _ in range(LIMIT):
        *_, terminated, truncated, _ = step(env)
    assert all(terminated.values())
    assert not any(truncated.values())


def test_a_lost_connection_truncates_with_the_last_view():
    env = battle({}, {"error": True})
    before, *_ = step(env)
    obs, rewards, terminated, truncated, infos = step(env)
    assert set(truncated.values()) == {True}
    assert set(terminated.values()) == {False}
    assert set(rewards.values()) == {0.0}
    assert all(np.array_equal(obs[name], before[name]) for name in before)
    assert infos["agent_0"]["won"] is False
    assert env.agents == []
    obs, _ = env.reset()
    assert len(env.agents) == len(obs) == 3


@pytest.mark.parametrize("action", [0, 3, 4, -1])
def test_an_unavailable_action_is_named(action):
    env = battle()
    with pytest.raises(EnvContractError, match=rf"step 0: agent_1 may do \[1, 2\], got {action}"):
        env.step({"agent_0": STOP, "agent_1": action, "agent_2": STOP})


def test_the_interface_is_pettingzoos():
    env = SmacV2(FakeGame([{"dead": [0]}, {"dead": [2]}]))
    for space in env.action_spaces.values():
        space.sample = lambda: STOP  # the test itself knows no masks in infos
    parallel_api_test(env, num_cycles=40)


# Through the registry.


@pytest.fixture
def installed(monkeypatch):
    """The package, made of the stand-in; yields the games that were built."""
    games = []

    def build(**arguments):
        games.append(FakeGame([{"dead": [1]}, {"result": 1}], **arguments))
        return games[-1]

    for name in ("smacv2", "smacv2.env", "smacv2.env.starcraft2", "smacv2.env.starcraft2.wrapper"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    module = sys.modules["smacv2.env.starcraft2.wrapper"]
    monkeypatch.setattr(module, "StarCraftCapabilityEnvWrapper", build, raising=False)
    return games


def test_a_name_stands_for_a_battle(installed):
    make_env("smacv2_protoss_10v11", conic_fov=True).close()
    (game,) = installed
    assert game.is_closed
    assert game.arguments["map_name"] == "10gen_protoss"
    assert game.arguments["conic_fov"] is True
    teams = game.arguments["capability_config"]
    assert (teams["n_units"], teams["n_enemies"]) == (10, 11)
    assert teams["team_gen"]["unit_types"] == ["stalker", "zealot", "colossus"]
    assert teams["team_gen"]["exception_unit_types"] == ["colossus"]
    assert teams["start_positions"]["n_enemies"] == 11


def test_teams_maps_and_settings_are_free(installed):
    make_env("smacv2", map_name="mine", capability_config={"n_units": 3})
    assert installed[0].arguments["map_name"] == "mine"
    assert installed[0].arguments["capability_config"] == {"n_units": 3}


def test_battles_train_as_teams_with_deaths_and_masks(installed):
    vector = make_vector_env("smacv2", 2)
    assert vector.spec.has_action_mask
    first = vector.reset(seed=0)
    assert first.action_mask[0].tolist() == [[False, True, True, False]] * 3
    result = vector.step(np.full((2, 3), STOP))
    assert result.observation.alive.tolist() == [[True, False, True]] * 2
    assert result.observation.action_mask[0, 1].all()
    result = vector.step(np.full((2, 3), STOP))
    assert result.terminated.all()
    assert result.info["won"].tolist() == [1, 1]
    assert result.observation.alive.all()
    assert vector.get_state() is None


def test_entries_say_that_seeds_do_not_fix_the_game():
    rows = [entry for name, entry in ENVS.items() if name.startswith("smacv2")]
    assert len(rows) == 16
    assert not any(entry.is_reproducible for entry in rows)


def test_without_the_game_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "smacv2", None)
    with pytest.raises(MissingExtraError, match=r"github\.com/oxwhirl/smacv2.*'smac' on PyPI"):
        make_env("smacv2_terran_5v5")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"race": "human"}, "race must be one of"),
        ({"n_units": 0}, "each side needs a unit, got n_units=0"),
        ({"render_mode": "rgb_array"}, "cannot render"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_env("smacv2", **settings)
