"""VMAS: both forms agree with VMAS and with each other, sub-environments are independent."""

import pickle

import numpy as np
import pytest
import torch

from rllib_agentmixer.envs import ENVS, make_env, make_vector_env
from rllib_agentmixer.envs.simulators.vmas import VectorVmas
from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.errors import ConfigError, EnvContractError

package = pytest.importorskip("vmas")

NAMES = [name for name, entry in ENVS.items() if entry.extra == "vmas" and entry.fixed]


def scenario_of(name):
    return ENVS[name].fixed["scenario"]


def rows_of(step):
    return (step.observation.obs, step.observation.state, step.reward, step.terminated)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_what_vmas_computes(name, helpers):
    vector = make_vector_env(name, 5)
    assert isinstance(vector, VectorVmas)
    env = package.make_env(
        scenario_of(name), 5, dict_spaces=True, terminated_truncated=True, max_steps=100
    )
    first = vector.reset(seed=3)
    expected = env.reset(seed=3)
    names = vector.spec.agents
    assert names == tuple(expected)
    own = np.stack([expected[agent].numpy() for agent in names], axis=1)
    np.testing.assert_array_equal(first.obs, own)
    for t in range(8):
        actions = np.clip(
            helpers.random_actions(vector, t), vector.spec.action_low, vector.spec.action_high
        )
        step = vector.step(actions)
        obs, rewards, terminated, _, _ = env.step(
            {agent: torch.as_tensor(actions[:, i]) for i, agent in enumerate(names)}
        )
        for i, agent in enumerate(names):
            np.testing.assert_array_equal(step.final_observation.obs[:, i], obs[agent].numpy())
            np.testing.assert_array_equal(step.agent_rewards[:, i], rewards[agent].numpy())
        np.testing.assert_array_equal(step.terminated, terminated.numpy())
        mean = torch.stack([rewards[agent] for agent in names]).mean(0).numpy()
        np.testing.assert_allclose(step.reward, mean, atol=1e-6)


@pytest.mark.parametrize("continuous", [True, False])
def test_one_environment_plays_as_a_batch_of_one(continuous, helpers):
    config = {"continuous_actions": continuous, "max_steps": 7}
    vector = make_vector_env("vmas_balance", 1, config=config)
    one = make_env("vmas_balance", **config)
    names = one.possible_agents
    batch, (obs, _) = vector.reset(seed=4).obs, one.reset(seed=4)
    for t in range(7):
        np.testing.assert_array_equal(batch[0], np.stack([obs[name] for name in names]))
        actions = helpers.random_actions(vector, t)
        step = vector.step(actions)
        obs, rewards, terminated, truncated, infos = one.step(
            dict(zip(names, actions[0], strict=True))
        )
        assert list(rewards.values()) == step.agent_rewards[0].tolist()
        assert set(truncated.values()) == {bool(step.truncated[0])} == {t == 6}
        assert set(terminated.values()) == {bool(step.terminated[0])} == {False}
        batch = step.final_observation.obs
    assert one.agents == []
    assert infos["agent_0"] is not infos["agent_1"]
    assert infos["agent_0"]["ground_rew"] == step.info["ground_rew"][0]


def test_discrete_and_continuous_actions_have_their_spaces():
    assert make_vector_env("vmas_balance", 2).spec.action_kind == "continuous"
    discrete = make_vector_env("vmas_balance", 2, config={"continuous_actions": False}).spec
    assert (discrete.action_kind, discrete.action_sizes) == ("discrete", (9, 9, 9))


def test_discrete_actions_are_vmas_own(helpers):
    vector = make_vector_env("vmas_give_way", 3, config={"continuous_actions": False})
    env = package.make_env("give_way", 3, continuous_actions=False)
    vector.reset(seed=0)
    env.reset(seed=0)
    for t in range(5):
        actions = helpers.random_actions(vector, t)
        step = vector.step(actions)
        obs, *_ = env.step([torch.as_tensor(actions[:, [i]]).float() for i in range(2)])
        for i in range(2):
            np.testing.assert_array_equal(step.observation.obs[:, i], obs[i].numpy())


# Copies.


def test_a_copy_that_starts_over_leaves_the_others_alone(helpers):
    calm, vector = (make_vector_env("vmas_balance", 4, config={"max_steps": 20}) for _ in "ab")
    calm.reset(seed=1)
    vector.reset(seed=1)
    vector._simulation.env.steps[2] = 16.0
    others = [0, 1, 3]
    for t in range(10):
        actions = helpers.random_actions(vector, t)
        plain, step = calm.step(actions), vector.step(actions)
        assert step.truncated.tolist() == [False, False, t == 3, False]
        for mine, expected in zip(rows_of(step), rows_of(plain), strict=True):
            np.testing.assert_array_equal(mine[others], expected[others])
        if t == 3:
            np.testing.assert_array_equal(step.final_observation.obs, plain.observation.obs)
            assert not np.array_equal(step.observation.obs[2], plain.observation.obs[2])
            np.testing.assert_array_equal(
                step.observation.state[2], step.observation.obs[2].ravel()
            )
            assert np.isnan(step.info["pos_rew"][others]).all()
            assert np.isfinite(step.info["pos_rew"][2])


def test_all_copies_that_end_at_once_start_over():
    vector = make_vector_env("vmas_transport", 3, config={"max_steps": 2})
    vector.reset(seed=0)
    still = np.zeros((3, 4, 2), np.float32)
    vector.step(still)
    step = vector.step(still)
    assert step.truncated.all()
    assert not step.terminated.any()
    assert not np.array_equal(step.observation.obs, step.final_observation.obs)
    assert not vector.step(still).truncated.any()


def test_a_goal_reached_terminates_even_at_the_time_limit(monkeypatch):
    vector = make_vector_env("vmas_transport", 2, config={"max_steps": 1})
    vector.reset(seed=0)
    monkeypatch.setattr(
        vector._simulation.env.scenario, "done", lambda: torch.tensor([True, False])
    )
    step = vector.step(np.zeros((2, 4, 2), np.float32))
    assert step.terminated.tolist() == [True, False]
    assert step.truncated.tolist() == [False, True]


def test_simulations_do_not_share_random_numbers(helpers):
    def run(disturb):
        vector = make_vector_env("vmas_navigation", 2, config={"max_steps": 3})
        other = make_vector_env("vmas_navigation", 3, config={"max_steps": 2})
        vector.reset(seed=5)
        seen = []
        for t in range(8):
            if disturb:
                other.reset(seed=t)
                torch.rand(3)
            seen.append(helpers.packed(vector.step(helpers.random_actions(vector, t))))
        return seen

    assert run(disturb=False) == run(disturb=True)


def test_random_numbers_go_on_from_episode_to_episode():
    vector = make_vector_env("vmas_navigation", 2)
    starts = [vector.reset(seed=5).obs.tobytes(), *(vector.reset().obs.tobytes() for _ in "ab")]
    assert len(set(starts)) == 3


def test_noisy_observations_of_copies_that_go_on_are_made_once(monkeypatch):
    vector = make_vector_env("vmas_balance", 3)
    vector.reset(seed=0)
    vector._simulation.env.steps[1] = 99.0
    scenario = vector._simulation.env.scenario
    monkeypatch.setattr(scenario, "observation", lambda agent: torch.rand(3, 16))
    step = vector.step(np.zeros((3, 3, 2), np.float32))
    assert step.truncated.tolist() == [False, True, False]
    for now, final in (
        (step.observation.obs, step.final_observation.obs),
        (step.observation.state, step.final_observation.state),
    ):
        np.testing.assert_array_equal(now[[0, 2]], final[[0, 2]])
        assert not np.array_equal(now[1], final[1])


def test_a_simulation_leaves_the_processs_random_numbers_alone(helpers):
    vector = make_vector_env("vmas_navigation", 2, config={"max_steps": 2})
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    vector.reset(seed=5)
    for t in range(3):
        vector.step(helpers.random_actions(vector, t))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("name", ["vmas_navigation", "vmas_joint_passage"])
def test_a_snapshot_continues_bit_for_bit(name, helpers):
    def make():
        return make_vector_env(name, 3, config={"max_steps": 6})

    helpers.check_continuation(make, num_before=4, num_after=10)


def test_one_environment_can_be_pickled_on_its_way():
    env = make_env("vmas_give_way")
    env.reset(seed=0)
    actions = {name: env.action_space(name).high for name in env.possible_agents}
    env.step(actions)
    other = pickle.loads(pickle.dumps(env))  # noqa: S301
    for _ in range(3):
        mine, theirs = env.step(actions), other.step(actions)
        assert mine[1] == theirs[1]
        assert all(np.array_equal(mine[0][name], theirs[0][name]) for name in actions)


# Rewards.


def test_rewards_combine_as_asked_for(helpers):
    results = {}
    for how in ("sum", "mean"):
        vector = make_vector_env("vmas_navigation", 6, team_reward=how)
        assert isinstance(vector, VectorVmas)
        vector.reset(seed=0)
        step = [vector.step(helpers.random_actions(vector, t)) for t in range(30)][-1]
        results[how] = step.reward
        np.testing.assert_allclose(
            step.reward, getattr(step.agent_rewards, how)(1), rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(results["sum"], 4 * results["mean"], rtol=1e-5)


def test_rewards_that_differ_are_not_taken_for_shared(monkeypatch):
    vector = make_vector_env("vmas_balance", 2)
    vector.reset(seed=0)
    still = np.zeros((2, 3, 2), np.float32)
    vector.step(still)
    scenario = vector._simulation.env.scenario
    monkeypatch.setattr(scenario, "reward", lambda agent: torch.full((2,), float(agent.name[-1])))
    with pytest.raises(EnvContractError, match="different rewards; choose team_reward"):
        vector.step(still)


# What is refused.


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match=r"no scenario 'balanse'; it has .*'balance'"):
        make_env("vmas", scenario="balanse")
    with pytest.raises(ConfigError, match=r"'balance' does not know all of .*n_agnets"):
        make_env("vmas_balance", n_agnets=2)
    with pytest.raises(ConfigError, match="max_steps must be at least 1"):
        make_env("vmas_balance", max_steps=0)
    with pytest.raises(ConfigError, match="needs the argument 'scenario'"):
        make_vector_env("vmas", 2)
    with pytest.raises(ConfigError, match=r"stands for scenario='balance'.*use 'vmas'"):
        make_env("vmas_balance", scenario="transport")


def test_other_scenarios_go_by_name(helpers):
    vector = make_vector_env("vmas", 2, config={"scenario": "mpe.simple_spread"})
    assert vector.spec.obs_sizes == (14, 14, 14)
    vector.reset(seed=0)
    vector.step(helpers.random_actions(vector, 0))
    assert make_vector_env("vmas_balance", 2, config={"n_agents": 2}).spec.num_agents == 2


def test_wrong_shapes_and_numbers_are_named(monkeypatch):
    vector = make_vector_env("vmas_balance", 2)
    vector.reset(seed=0)
    with pytest.raises(EnvContractError, match=r"shape \(2, 3, 2\), got \(2, 3\)"):
        vector.step(np.zeros((2, 3), np.float32))
    scenario = vector._simulation.env.scenario
    monkeypatch.setattr(scenario, "observation", lambda agent: torch.full((2, 16), torch.nan))
    with pytest.raises(EnvContractError, match="not finite"):
        vector.step(np.zeros((2, 3, 2), np.float32))


def test_one_environment_runs_in_a_loop_too(helpers):
    loop = LoopVectorEnv(lambda: make_env("vmas_balance", max_steps=4), 2, name="loop")
    helpers.check_continuation(lambda: loop, num_before=2, num_after=6)


def test_a_copy_can_be_drawn():
    vector = make_vector_env("vmas_balance", 2, config={"render_mode": "rgb_array"})
    vector.reset(seed=0)
    try:
        picture = vector.render(1)
    except ConfigError as error:
        pytest.skip(str(error))
    assert picture.shape[2] == 3
    assert picture.std() > 5
    assert make_vector_env("vmas_balance", 1).render() is None
    vector.close()
