"""Multi-agent MuJoCo: equal to the package's environment, without its traps."""

import os
import pickle

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from rllib_agentmixer.envs import ENVS, make_env, make_vector_env
from rllib_agentmixer.envs.simulators.ma_mujoco import ma_mujoco
from rllib_agentmixer.envs.simulators.ma_mujoco_partitions import (
    PARTITIONS,
    SEGMENTED,
    Partition,
    resolve_partition,
)
from rllib_agentmixer.envs.simulators.ma_mujoco_views import PARTS_OF_THE_WHOLE
from rllib_agentmixer.errors import ConfigError, EnvContractError

mamujoco_v1 = pytest.importorskip("gymnasium_robotics").mamujoco_v1

SIZES = {
    "Ant": ("2x4", "2x4d", "4x2", "8x1"),
    "HalfCheetah": ("2x3", "3x2", "6x1"),
    "Hopper": ("3x1",),
    "Humanoid": ("9|8", "17x1"),
    "HumanoidStandup": ("9|8", "17x1"),
    "ManySegmentAnt": ("2x2",),
    "ManySegmentSwimmer": ("3x2",),
    "Pusher": ("3p",),
    "Reacher": ("2x1",),
    "Swimmer": ("2x1",),
    "Walker2d": ("2x3", "3x2", "6x1"),
}
CASES = [(scenario, name) for scenario, names in SIZES.items() for name in names]


def cheetah(**settings):
    return ma_mujoco(scenario="HalfCheetah", partition="2x3", **settings)


def draw(env, rng):
    spaces = {name: env.action_space(name) for name in env.possible_agents}
    return {name: rng.uniform(s.low, s.high).astype(np.float32) for name, s in spaces.items()}


def package_of(scenario, name, **settings):
    """The package's own environment, given the partition that it does not know by name."""
    partition = resolve_partition(scenario, name)
    package = mamujoco_v1.parallel_env(
        scenario, name, agent_factorization=partition.factorization, **settings
    )
    if scenario == "Pusher":  # sorts two joints of one name by their addresses
        for joints in package.k_dicts:
            for nodes in joints.values():
                nodes.sort(key=lambda node: (node.label, node.act_ids))
    return package


def assert_equal_to_package(ours, package, num_steps):
    rng = np.random.default_rng(0)
    obs, _ = ours.reset(seed=5)
    expected, _ = package.reset(seed=5)
    assert ours.possible_agents == package.possible_agents
    for _ in range(num_steps):
        for name in ours.possible_agents:
            assert obs[name].dtype == np.float32
            np.testing.assert_array_equal(obs[name], expected[name].astype(np.float32))
        np.testing.assert_array_equal(ours.state(), package.state().astype(np.float32))
        actions = draw(ours, rng)
        obs, rewards, terminated, truncated, _ = ours.step(actions)
        expected, package_rewards, package_terminated, package_truncated, _ = package.step(actions)
        assert rewards == package_rewards
        assert terminated == package_terminated
        assert truncated == package_truncated
        if not ours.agents:
            obs, expected = ours.reset()[0], package.reset()[0]


@pytest.mark.parametrize("observation", ["own", "package"])
@pytest.mark.parametrize(("scenario", "name"), CASES)
def test_observations_rewards_and_ends_are_the_packages(scenario, name, observation):
    ours = ma_mujoco(scenario=scenario, partition=name, observation=observation)
    shown = {"agent_obsk": 0, "global_categories": ()} if observation == "own" else {}
    # Walker2d's velocities must pass 10 to show that they are not clipped.
    assert_equal_to_package(ours, package_of(scenario, name, **shown), num_steps=80)


@pytest.mark.parametrize("scenario", PARTS_OF_THE_WHOLE)
def test_far_joints_are_seen_as_in_the_package(scenario):
    name = SIZES[scenario][-1]
    shown = {"agent_obsk": 2, "global_categories": ("qvel",)}
    ours = ma_mujoco(scenario=scenario, partition=name, **shown)
    assert_equal_to_package(ours, package_of(scenario, name, **shown), num_steps=10)
    ours = ma_mujoco(scenario=scenario, partition=name, agent_obsk=2)
    assert ours._views.are_cut
    package = package_of(scenario, name, agent_obsk=2, global_categories=())
    assert_equal_to_package(ours, package, num_steps=30)


def test_other_categories_and_settings_are_the_packages():
    # Forces are clipped to another range here, in the whole observation alone.
    shown = {
        "agent_obsk": 1,
        "local_categories": [["qpos", "cfrc_ext"], ["qvel"]],
        "global_categories": ("qpos",),
    }
    ours = ma_mujoco(scenario="Ant", partition="4x2", **shown, contact_force_range=(-2.0, 0.5))
    package = package_of("Ant", "4x2", **shown, contact_force_range=(-2.0, 0.5))
    assert_equal_to_package(ours, package, num_steps=40)
    ours = ma_mujoco(scenario="Ant", partition="4x2", contact_force_range=(-2.0, 0.01))
    package = package_of(
        "Ant", "4x2", agent_obsk=0, global_categories=(), contact_force_range=(-2.0, 0.01)
    )
    assert_equal_to_package(ours, package, num_steps=40)


@pytest.mark.parametrize(
    ("scenario", "name", "shown"),
    [
        ("HalfCheetah", "2x3", {"local_categories": [["qfrc_actuator"]], "global_categories": ()}),
        ("Ant", "2x4", {"global_categories": ("qfrc_actuator",)}),
    ],
)
def test_quantities_outside_the_whole_observation_are_the_packages(scenario, name, shown):
    ours = ma_mujoco(scenario=scenario, partition=name, **shown)
    assert_equal_to_package(ours, package_of(scenario, name, agent_obsk=0, **shown), num_steps=20)


def test_every_partition_is_tested_and_has_a_name():
    known = {(scenario, name) for scenario, names in PARTITIONS.items() for name in names}
    assert known == {case for case in CASES if case[0] not in SEGMENTED}
    rows = {
        (entry.fixed["scenario"], entry.fixed["partition"])
        for entry in ENVS.values()
        if "partition" in entry.fixed
    }
    assert known <= rows
    assert set(SEGMENTED) <= {scenario for scenario, _ in rows}


@pytest.mark.parametrize(("scenario", "name"), CASES)
def test_every_joint_moves_by_the_action_of_one_agent(scenario, name):
    env = ma_mujoco(scenario=scenario, partition=name)
    joints = np.concatenate(env._joints)
    assert sorted(joints) == list(range(env._robot.action_space.shape[0]))
    found = name.split("x")
    if len(found) == 2 and found[1].isdigit() and scenario not in SEGMENTED:
        assert [len(part) for part in env._joints] == [int(found[1])] * int(found[0])


def test_pushers_joints_of_one_name_keep_their_order():
    for _ in range(5):
        env = ma_mujoco(scenario="Pusher", partition="3p")
        env.reset(seed=0)
        for _ in range(3):
            obs = env.step(draw(env, np.random.default_rng(0)))[0]
        np.testing.assert_allclose(obs["agent_2"][[0, 2, 4]], env._robot.data.qpos[4:7], rtol=1e-5)


def test_an_action_reaches_the_joint_that_its_agent_owns():
    env = ma_mujoco(scenario="Ant", partition="8x1")
    env.reset(seed=0)
    actions = {name: np.full(1, i / 10, np.float32) for i, name in enumerate(env.possible_agents)}
    env.step(actions)
    # hip1, ankle1, hip2, .. are the robot's motors 2, 3, 4, .. and hip4, ankle4 its 0 and 1.
    np.testing.assert_allclose(env._robot.data.ctrl, np.array([6, 7, 0, 1, 2, 3, 4, 5]) / 10)


def test_joints_may_be_shared_out_by_name():
    by_name = ma_mujoco(
        scenario="HalfCheetah",
        partition=[["ffoot", "bthigh"], ["fthigh", "fshin", "bshin", "bfoot"]],
    )
    assert [space.shape for space in by_name.action_spaces.values()] == [(2,), (4,)]
    assert [space.shape for space in by_name.observation_spaces.values()] == [(4,), (8,)]
    same = ma_mujoco(scenario="Hopper", partition=[["thigh_joint"], ["leg_joint"], ["foot_joint"]])
    obs, _ = same.reset(seed=1)
    named, _ = ma_mujoco(scenario="Hopper", partition="3x1").reset(seed=1)
    assert all(np.array_equal(obs[name], named[name]) for name in named)


# The ParallelEnv contract.


def test_the_interface_is_pettingzoos():
    parallel_api_test(ma_mujoco(scenario="Hopper", partition="3x1"), num_cycles=100)


def test_lists_and_dictionaries_are_fresh():
    env = cheetah(max_steps=1)
    _, infos = env.reset(seed=0)
    assert env.agents == env.possible_agents
    assert env.agents is not env.possible_agents
    assert infos["agent_0"] is not infos["agent_1"]
    infos = env.step(draw(env, np.random.default_rng(0)))[-1]
    infos["agent_0"]["mine"] = 1
    assert "mine" not in infos["agent_1"]
    assert env.agents == []
    assert env.possible_agents == ["agent_0", "agent_1"]
    with pytest.raises(EnvContractError, match="call reset"):
        env.step({})


def test_spaces_hold_what_they_say():
    env = ma_mujoco(scenario="Humanoid", partition="9|8")
    obs, _ = env.reset(seed=0)
    for name in env.possible_agents:
        assert env.observation_space(name) is env.observation_space(name)
        assert env.observation_space(name).contains(obs[name])
        assert env.action_space(name).dtype == np.float32
        np.testing.assert_allclose(env.action_space(name).high, 0.4)
        np.testing.assert_allclose(env.action_space(name).low, -0.4)
    assert env.state_space.contains(env.state())
    assert env.state_space.shape == (348,)


def test_a_missing_action_is_named():
    env = cheetah()
    env.reset(seed=0)
    with pytest.raises(EnvContractError, match="no action for 'agent_1'"):
        env.step({"agent_0": np.zeros(3, np.float32)})


def test_the_time_limit_truncates_and_a_fall_terminates():
    env = cheetah(max_steps=3)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    flags = [env.step(draw(env, rng))[2:4] for _ in range(3)]
    no, yes = ({"agent_0": value, "agent_1": value} for value in (False, True))
    assert flags == [(no, no), (no, no), (no, yes)]
    env = ma_mujoco(scenario="Hopper", partition="3x1")
    env.reset(seed=0)
    while env.agents:
        *_, terminated, truncated, _ = env.step(draw(env, rng))
    assert set(terminated.values()) == {True}
    assert set(truncated.values()) == {False}


@pytest.mark.parametrize(("name", "limit"), [("reacher_2x1", 50), ("pusher_3p", 100)])
def test_the_tasks_own_time_limit_is_kept(name, limit):
    env = make_env(name)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    lengths = 0
    while env.agents:
        env.step(draw(env, rng))
        lengths += 1
    assert lengths == limit


def test_standardized_observations_have_mean_0_and_deviation_1():
    plain, scaled = cheetah(), cheetah(standardize=True)
    obs, seen = plain.reset(seed=2)[0], scaled.reset(seed=2)[0]
    for name, numbers in obs.items():
        wide = numbers.astype(np.float64)
        expected = (wide - wide.mean()) / wide.std()
        np.testing.assert_allclose(seen[name], expected, rtol=1e-4)
    np.testing.assert_array_equal(plain.state(), scaled.state())


# Snapshots.


@pytest.mark.parametrize("name", ["ant_4x2", "hopper_3x1", "humanoid_9_8", "reacher_2x1"])
def test_a_snapshot_continues_bit_for_bit(name, helpers):
    def make():
        return make_vector_env(name, 2, config={"max_steps": 12})

    helpers.check_continuation(make, num_before=15, num_after=20)
    helpers.check_continuation(make, num_before=0, num_after=5)


def test_a_snapshot_is_small():
    env = make_env("ant_4x2")
    env.reset(seed=0)
    env.step(draw(env, np.random.default_rng(0)))
    assert len(pickle.dumps(env)) < 10_000


# What is refused.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scenario": "CoupledHalfCheetah", "partition": "1p1"}, "does not work.*mujoco 3.6"),
        ({"scenario": "Giraffe", "partition": "2x3"}, "scenario must be one of"),
        ({"partition": "5x5"}, r"one of \['2x3', '3x2', '6x1'\].*got '5x5'"),
        ({"partition": [["bfoot"], ["bshin"]]}, "exactly one agent"),
        ({"partition": [["bfoot", "bshin", "bthigh", "ffoot", "fshin", "fthigh"], []]}, "exactly"),
        ({"scenario": "Pusher", "partition": [["r_elbow_flex_joint"]]}, "must be '3p'"),
        ({"scenario": "ManySegmentSwimmer", "partition": "2d3"}, "<agents>x<segments"),
        ({"scenario": "ManySegmentSwimmer", "partition": "1x1"}, "at least 2 segments"),
        ({"agent_obsk": None}, "ONE agent"),
        ({"agent_obsk": -1}, "at least 0, got -1"),
        ({"observation": "all"}, "'own' or 'package'"),
        ({"local_categories": [["qpos"], ["qpos"]]}, "must hold agent_obsk . 1 = 1 lists"),
        ({"global_categories": ["qposs"]}, "got 'qposs'"),
        ({"local_categories": [[]]}, "would see nothing"),
        (
            {"scenario": "Ant", "partition": "4x2", "local_categories": [["cvel"]]},
            "cannot provide local_categories=.*'cvel'.*of Ant",
        ),
        ({"render_mode": "depth_array"}, "render_mode must be None or one of"),
        ({"max_steps": 0}, "max_steps must be None or at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ma_mujoco(**{"scenario": "HalfCheetah", "partition": "2x3", **settings})


def test_names_stand_for_their_arguments():
    assert make_env("ant_4x2")._arguments[:2] == ("Ant", "4x2")
    with pytest.raises(ConfigError, match=r"partition='4x2'.*use 'ma_mujoco'"):
        make_env("ant_4x2", partition="2x4")
    with pytest.raises(ConfigError, match="needs the argument 'scenario'"):
        make_env("ma_mujoco")
    with pytest.raises(ConfigError, match="no argument 'wings'"):
        make_env("ant_4x2", wings=2)


def test_segmented_robots_leave_no_files_with_the_package():
    from gymnasium_robotics.envs.multiagent_mujoco import mujoco_multi

    folder = os.path.join(os.path.dirname(mujoco_multi.__file__), "assets")
    before = os.stat(folder).st_mtime_ns
    env = ma_mujoco(scenario="ManySegmentSwimmer", partition="2x2")
    assert len(env.possible_agents) == 2
    assert os.stat(folder).st_mtime_ns == before
    assert resolve_partition("ManySegmentAnt", "2x3") == Partition("2x3", num_segments=6)


def test_models_that_mujoco_warns_about_leave_no_log_file(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    cheetah()
    assert list(tmp_path.iterdir()) == []
    assert "WARNING" not in capfd.readouterr().err


# Pictures.


def test_a_robot_can_be_drawn():
    env = cheetah(render_mode="rgb_array")
    env.reset(seed=0)
    try:
        picture = env.render()
    except ConfigError as error:
        pytest.skip(str(error))
    assert picture.shape == (480, 480, 3)
    assert picture.std() > 10
    env.close()


def test_a_machine_that_cannot_draw_says_what_to_do(monkeypatch):
    env = cheetah(render_mode="rgb_array")

    def fail():
        raise RuntimeError("no OpenGL")

    monkeypatch.setattr(env._robot, "render", fail)
    with pytest.raises(ConfigError, match=r"no OpenGL.*MUJOCO_GL to 'egl' or 'osmesa'"):
        env.render()
    assert cheetah().render() is None
