"""Environments with Tuple spaces as ParallelEnvs, and the two families that come as such."""

import pickle
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo.test import parallel_api_test

from rllib_agentmixer.envs import make_env, make_vector_env
from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.envs.stepping.tuple_env import Extras, TupleEnv
from rllib_agentmixer.errors import ConfigError, EnvContractError

BOX = spaces.Box(0, 9, (2,), np.float32)


class Pair(gymnasium.Env):
    """Two agents; reports its limit of two steps as an end."""

    def __init__(self, num_obs=2, length=2):
        self.observation_space = spaces.Tuple([BOX] * num_obs)
        self.action_space = spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)])
        self.length = length
        self.time = 0
        self.received = []

    def obs(self):
        return tuple(np.full(2, self.time + i, np.float32) for i in range(2))

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return self.obs(), {"level": 1}

    def step(self, action):
        self.received.append(action)
        self.time += 1
        return self.obs(), [1, np.float64(0.5)], self.time == self.length, False, {}


def masks(env):
    return [np.array([1, 0]), np.array([1, env.time % 2, 1])]


def is_time_up(env):
    return env.time == 2


# The converter.


def test_lists_become_dictionaries_in_order():
    env = TupleEnv(Pair(), "pair", Extras(action_masks=masks))
    obs, infos = env.reset()
    assert {name: value.tolist() for name, value in obs.items()} == {
        "agent_0": [0, 0],
        "agent_1": [1, 1],
    }
    assert infos["agent_0"]["level"] == infos["agent_1"]["level"] == 1
    assert infos["agent_1"]["action_mask"].tolist() == [1, 0, 1]
    obs, rewards, terminated, truncated, infos = env.step({"agent_1": 2, "agent_0": 1})
    assert env.env.received == [[1, 2]]
    assert rewards == {"agent_0": 1.0, "agent_1": 0.5}
    assert all(type(reward) is float for reward in rewards.values())
    assert infos["agent_1"]["action_mask"].tolist() == [1, 1, 1]
    assert terminated == truncated == {"agent_0": False, "agent_1": False}


@pytest.mark.parametrize(
    ("extras", "length", "was_cut"),
    [
        (Extras(), 2, False),
        (Extras(is_time_up=is_time_up), 2, True),
        (Extras(is_time_up=is_time_up), 1, False),
    ],
)
def test_a_time_limit_reported_as_an_end_is_a_cut(extras, length, was_cut):
    env = TupleEnv(Pair(length=length), "pair", extras)
    env.reset()
    for _ in range(length):
        *_, terminated, truncated, _ = env.step({"agent_0": 0, "agent_1": 0})
    assert set(terminated.values()) == {not was_cut}
    assert set(truncated.values()) == {was_cut}
    assert env.agents == []
    assert env.possible_agents == ["agent_0", "agent_1"]
    with pytest.raises(EnvContractError, match="call reset"):
        env.step({"agent_0": 0, "agent_1": 0})


def test_individual_rewards_add_up_to_the_teams():
    loop = LoopVectorEnv(lambda: TupleEnv(Pair(), "pair"), 1, team_reward="sum")
    loop.reset()
    assert loop.step(np.zeros((1, 2), int)).reward[0] == 1.5
    assert loop.spec.state_kind == "concatenated"


def test_what_cannot_be_converted_is_refused():
    with pytest.raises(EnvContractError, match="spaces must be Tuples"):
        TupleEnv(SimpleNamespace(observation_space=BOX, action_space=BOX), "plain")
    with pytest.raises(EnvContractError, match="3 observations and 2 actions"):
        TupleEnv(Pair(num_obs=3), "pair")
    with pytest.raises(ConfigError, match="render_mode must be"):
        TupleEnv(Pair(), "pair", render_mode="human")
    env = TupleEnv(Pair(), "pair")
    env.reset()
    with pytest.raises(EnvContractError, match=r"no action for \['agent_1'\]"):
        env.step({"agent_0": 0})
    with pytest.raises(NotImplementedError):
        env.state()


# Level-based foraging and the warehouse against their packages.

FAMILIES = {
    "lbf_8x8_2p_2f_coop": ("lbforaging", "Foraging-8x8-2p-2f-coop-v3"),
    "lbf_2s_8x8_2p_2f_coop": ("lbforaging", "Foraging-2s-8x8-2p-2f-coop-v3"),
    "lbf_10x10_3p_3f": ("lbforaging", "Foraging-10x10-3p-3f-v3"),
    "rware_tiny_2ag": ("rware", "rware-tiny-2ag-v2"),
    "rware_small_4ag": ("rware", "rware-small-4ag-v2"),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    pytest.importorskip(FAMILIES[request.param][0])
    return request.param


def test_named_tasks_are_the_packages(family):
    ours = make_env(family)
    package = gymnasium.make(FAMILIES[family][1], disable_env_checker=True).unwrapped
    obs, _ = ours.reset(seed=3)
    expected, _ = package.reset(seed=3)
    rng = np.random.default_rng(0)
    steps = 0
    while ours.agents:
        for name, own in zip(ours.possible_agents, expected, strict=True):
            assert ours.observation_space(name).contains(obs[name])
            np.testing.assert_array_equal(obs[name], own)
        actions = {name: int(rng.integers(ours.action_space(name).n)) for name in ours.agents}
        obs, rewards, terminated, truncated, _ = ours.step(actions)
        expected, own_rewards, is_over, *_ = package.step(list(actions.values()))
        assert list(rewards.values()) == list(own_rewards)
        assert any(terminated.values()) | any(truncated.values()) == is_over
        steps += 1
    assert steps == (50 if family.startswith("lbf") else 500)
    assert all(truncated.values())


def test_the_interface_is_pettingzoos(family):
    parallel_api_test(make_env(family), num_cycles=60)


def test_a_snapshot_continues_bit_for_bit(family, helpers):
    def make():
        return make_vector_env(family, 2, config={"max_steps": 20})

    helpers.check_continuation(make, num_before=15, num_after=30)


def test_the_state_has_one_size_and_changes_with_time(family):
    env = make_env(family)
    env.reset(seed=0)
    first = env.state()
    assert env.state_space.contains(first)
    env.step(dict.fromkeys(env.agents, 0))
    assert env.state().shape == first.shape
    assert env.state()[-1] > first[-1] == 0
    assert not np.array_equal(env.state(), first)


# Level-based foraging.


@pytest.fixture
def foraging():
    """A reset board of chosen agents and food: ``(row, column, level)`` each."""
    pytest.importorskip("lbforaging")

    def build(agents, food, **settings):
        env = make_env("lbf", num_agents=len(agents), num_food=max(1, len(food)), **settings)
        env.reset(seed=0)
        game = env.env
        game.field[:] = 0
        for row, column, level in food:
            game.field[row, column] = level
        for player, (row, column, level) in zip(game.players, agents, strict=True):
            player.position, player.level = (row, column), level
        game._food_spawned = game.field.sum()
        game._gen_valid_moves()
        return env

    return build


LOAD = 5


def test_masks_allow_what_the_rules_allow(foraging):
    env = foraging([(0, 0, 1), (3, 4, 1)], [(3, 3, 2)])
    infos = env._infos({})
    # Nothing, north, south, west, east, load.
    assert infos["agent_0"]["action_mask"].tolist() == [1, 0, 1, 0, 1, 0]
    assert infos["agent_1"]["action_mask"].tolist() == [1, 1, 1, 0, 1, 1]


def test_food_is_loaded_by_those_who_are_strong_enough_together(foraging):
    env = foraging([(3, 2, 1), (3, 4, 2)], [(3, 3, 3)])
    _, rewards, *_ = env.step({"agent_0": LOAD, "agent_1": 0})
    assert rewards == {"agent_0": 0.0, "agent_1": 0.0}
    _, rewards, terminated, truncated, _ = env.step({"agent_0": LOAD, "agent_1": LOAD})
    assert rewards == {"agent_0": pytest.approx(1 / 3), "agent_1": pytest.approx(2 / 3)}
    assert all(terminated.values())
    assert not any(truncated.values())


def test_an_end_at_the_time_limit_is_an_end(foraging):
    env = foraging([(3, 2, 1), (3, 4, 2)], [(3, 3, 3)], max_steps=1)
    *_, terminated, truncated, _ = env.step({"agent_0": LOAD, "agent_1": LOAD})
    assert all(terminated.values())
    assert not any(truncated.values())


def test_agents_that_load_are_worked_off_in_their_order(foraging):
    # Agent 1 stands beside two pieces and would take the upper one by itself; agent 0 comes
    # first and takes it along for the other. Where objects lie in memory must not matter.
    keep = []
    for _ in range(8):
        env = foraging([(4, 2, 1), (4, 4, 1)], [(4, 3, 2), (3, 4, 1)])
        again = pickle.loads(pickle.dumps(env))  # noqa: S301
        keep += [env, again]
        for copy in (env, again):
            copy.step({"agent_0": LOAD, "agent_1": LOAD})
            assert copy.env.field[4, 3] == 0
            assert copy.env.field[3, 4] == 1


def test_where_agents_stood_does_not_change_what_a_seed_gives():
    pytest.importorskip("lbforaging")
    settings = {"size": 5, "num_agents": 6, "num_food": 1}
    fresh, used = make_env("lbf", **settings), make_env("lbf", **settings)
    for seed in range(20):
        used.reset()
        first, second = (make_env("lbf", **settings).reset(seed=seed), used.reset(seed=seed))
        for name in fresh.possible_agents:
            np.testing.assert_array_equal(first[0][name], second[0][name])


def test_settings_that_cannot_work_are_refused():
    pytest.importorskip("lbforaging")
    with pytest.raises(ConfigError, match="num_food must be an integer of at least 1"):
        make_env("lbf", num_food=0)
    with pytest.raises(ConfigError, match="no argument 'penality'"):
        make_env("lbf", penality=1)
    with pytest.raises(ConfigError, match=r"stands for size=8.*use 'lbf'"):
        make_env("lbf_8x8_2p_2f_coop", size=9)


# The warehouse.


def test_the_warehouses_state_shows_loads_and_requests():
    pytest.importorskip("rware")
    env = make_env("rware_tiny_2ag")
    env.reset(seed=1)
    game = env.env
    agent, shelf = game.agents[0], game.request_queue[0]
    state = env.state()
    rows, columns = game.grid_size
    assert state[:2] == pytest.approx([agent.x / columns, agent.y / rows])
    assert state[2:6].tolist() == [agent.dir.value == d for d in range(4)]
    assert state[6] == 0
    assert state[14:16] == pytest.approx([shelf.x / columns, shelf.y / rows])
    assert state[18:-1].sum() == len(game.shelfs)
    agent.carrying_shelf = shelf
    assert env.state()[6] == 1


def test_what_a_warehouse_cannot_be_is_refused():
    pytest.importorskip("rware")
    with pytest.raises(ConfigError, match="size must be one of"):
        make_env("rware", size="huge")
    with pytest.raises(ConfigError, match="difficulty must be one of"):
        make_env("rware", difficulty="mean")
    with pytest.raises(ConfigError, match="requests no shelf"):
        make_env("rware", num_agents=1, difficulty="hard")
