"""Any ParallelEnv becomes team arrays: layout, actions, masks, rewards."""

import numpy as np
import pytest
from envs_test_fakes import box, noop, play
from gymnasium import spaces

from rllib_agentmixer.envs.games.predator_prey import PredatorPrey
from rllib_agentmixer.envs.games.predator_prey_vector import VectorPredatorPrey
from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.envs.stepping.team_env import TeamEnv
from rllib_agentmixer.envs.stepping.team_rows import new_arrays, rows_of
from rllib_agentmixer.errors import ConfigError, EnvContractError

# Spec and layout.


def test_the_spec_states_names_sizes_and_kinds(team):
    spec = team(agents=("b", "a"), obs_spaces={"a": box(3)}).spec
    assert spec.agents == ("b", "a")
    assert spec.obs_sizes == (2, 3)
    assert spec.action_kind == "discrete"
    assert spec.action_sizes == (3, 3)
    assert spec.state_kind == "concatenated"
    assert spec.state_size == 5
    assert not spec.has_action_mask


def test_the_loop_and_the_native_form_have_equal_specs():
    loop = LoopVectorEnv(PredatorPrey, 1, name="predator_prey", version="1").spec
    native = VectorPredatorPrey(1).spec
    for name in vars(native):
        assert getattr(loop, name) == getattr(native, name), name


def test_a_single_team_env_writes_into_the_given_row():
    env = TeamEnv(PredatorPrey(), "predator_prey")
    arrays = new_arrays(env.layout, 1)
    row = rows_of(env.layout, arrays, np.zeros((1, 2), np.float32))[0]
    env.reset(row, seed=0)
    assert arrays.alive.all()
    outcome = env.step(row, [4, 4])
    assert outcome.reward == pytest.approx(-0.01)
    assert arrays.obs[0, 0, -1] == pytest.approx(1 / 128)


def test_agents_keep_the_order_of_possible_agents(team):
    built = team(agents=("z", "a", "m"))
    obs = built.reset(seed=0).obs[0]
    np.testing.assert_allclose(obs, [[0.0, 0.0], [0.1, 0.1], [0.2, 0.2]])


def test_ragged_observations_and_actions_are_padded(team):
    built = team(
        obs_spaces={"a": box(4), "b": box(2)},
        action_spaces={"a": spaces.Discrete(2), "b": spaces.Discrete(5)},
    )
    seen = built.reset(seed=0)
    assert seen.obs.shape == (1, 2, 4)
    np.testing.assert_allclose(seen.obs[0, 1], [0.1, 0.1, 0, 0])
    np.testing.assert_array_equal(
        seen.action_mask[0], [[True, True, False, False, False], [True] * 5]
    )
    np.testing.assert_allclose(seen.state[0], [0, 0, 0, 0, 0.1, 0.1])
    assert seen.alive.all()


def test_images_dictionaries_and_discrete_observations_are_flattened(team):
    built = team(
        agents=("image", "number"),
        obs_spaces={"image": box(2, 3, dtype=np.uint8), "number": spaces.Discrete(4)},
    )
    assert built.spec.obs_sizes == (6, 4)
    assert built.spec.obs_shapes == ((2, 3), (4,))
    built.reset(seed=0)
    obs = built.step(noop(built)).observation.obs[0]
    np.testing.assert_allclose(obs[0], np.ones(6))
    np.testing.assert_allclose(obs[1], [0, 1, 0, 0, 0, 0])


def test_the_environments_own_state_is_used_where_there_is_one(team):
    built = team(state=lambda env: np.array([[7, env.step_count]], np.int32))
    assert (built.spec.state_kind, built.spec.state_size) == ("env", 2)
    np.testing.assert_array_equal(play(built).observation.state, [[7, 1]])


def test_a_state_that_does_not_work_is_replaced_by_all_observations(team, caplog):
    def fail(env):
        raise AssertionError("no state here")

    assert team(state=fail).spec.state_kind == "concatenated"
    assert "no state here" in caplog.text
    assert team(state=lambda env: None).spec.state_kind == "concatenated"


# Actions.


def test_discrete_actions_count_from_the_start_of_their_space(team):
    built = team(action_spaces={"b": spaces.Discrete(3, start=5)})
    built.reset(seed=0)
    built.step(np.array([[2, 1]]))
    received = built._envs[0].env.received[0]
    assert received == {"a": 2, "b": 6}
    # As Discrete.sample() gives them.
    assert {type(action) for action in received.values()} == {np.int64}


def test_continuous_actions_are_cut_reshaped_clipped_and_cast(team):
    built = team(
        action_spaces={
            "a": spaces.Box(-0.4, 0.4, (1,), np.float64),
            "b": spaces.Box(-np.inf, np.inf, (2, 2), np.float32),
        }
    )
    spec = built.spec
    assert (spec.action_kind, spec.action_sizes) == ("continuous", (1, 4))
    np.testing.assert_allclose(spec.action_high, [[0.4, 0, 0, 0], [np.inf] * 4])
    seen = built.reset(seed=0)
    np.testing.assert_array_equal(seen.action_mask[0], spec.action_valid)
    built.step(np.array([[[9, 9, 9, 9], [1, 2, 3, 4]]], np.float32))
    env = built._envs[0].env
    received = env.received[0]
    np.testing.assert_array_equal(received["b"], [[1, 2], [3, 4]])
    assert received["a"].dtype == np.float64
    assert all(env.action_space(name).contains(received[name]) for name in "ab")


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((1, 3), int), r"\(1, 2\).*\(1, 3\)"),
        (np.zeros((1, 2), np.float32), "integers.*float32"),
        (np.array([[0, 3]]), "below"),
        (np.array([[-1, 0]]), "below"),
    ],
)
def test_discrete_actions_that_do_not_fit_are_refused(team, actions, message):
    built = team()
    built.reset(seed=0)
    with pytest.raises(EnvContractError, match=message):
        built.step(actions)


@pytest.mark.parametrize("actions", [np.zeros((1, 2)), np.full((1, 2, 1), np.nan)])
def test_continuous_actions_that_do_not_fit_are_refused(team, actions):
    built = team(action_spaces={"a": box(1), "b": box(1)})
    built.reset(seed=0)
    with pytest.raises(EnvContractError, match="finite numbers of shape"):
        built.step(actions)


# Masks.


def dict_space():
    return spaces.Dict({"observation": box(2), "action_mask": spaces.MultiBinary(3)})


def forbid_first(env, returned):
    returned.obs["a"]["action_mask"] = np.array([0, 1, 1], np.int8)


def test_masks_are_read_from_observations(team):
    built = team(obs_spaces={"a": dict_space()}, tamper=forbid_first)
    assert built.spec.has_action_mask
    assert built.spec.obs_sizes == (2, 2)
    assert_only_the_first_action_of_a_is_forbidden(built)


def test_masks_are_read_from_infos(team):
    def tamper(env, returned):
        returned.infos["a"]["action_mask"] = np.array([False, True, True])
        returned.infos["b"]["action_mask"] = np.ones(3, bool)

    built = team(tamper=tamper)
    assert built.spec.has_action_mask
    assert_only_the_first_action_of_a_is_forbidden(built)


def assert_only_the_first_action_of_a_is_forbidden(built):
    for seen in (built.reset(seed=0), built.step(np.array([[1, 0]])).observation):
        np.testing.assert_array_equal(seen.action_mask[0], [[False, True, True], [True] * 3])


def test_a_final_observation_may_forbid_everything(team):
    def tamper(env, returned):
        allowed = env.step_count < env.length
        for name in env.possible_agents:
            returned.infos[name]["action_mask"] = np.full(3, allowed)

    built = team(tamper=tamper)
    result = play(built, 3)
    assert result.truncated[0]
    assert result.final_observation.action_mask.all()


# Rewards.


def uneven(env, returned):
    returned.rewards = {"a": 1.0, "b": 3.0}


@pytest.mark.parametrize(("mode", "reward"), [("sum", 4.0), ("mean", 2.0)])
def test_rewards_are_combined_as_asked(team, mode, reward):
    result = play(team(team_reward=mode, tamper=uneven))
    assert result.reward[0] == reward
    np.testing.assert_array_equal(result.agent_rewards, [[1, 3]])


def test_a_shared_reward_must_be_equal(team):
    assert play(team()).reward[0] == 1.0
    with pytest.raises(
        EnvContractError, match=r"sub-environment 0 of fake, step 1.*'b': 3.0.*'sum' or 'mean'"
    ):
        play(team(tamper=uneven))


def test_rounding_does_not_make_a_shared_reward_unequal(team):
    def nearly(env, returned):
        returned.rewards = {"a": -300.0, "b": np.float32(-300.00003)}

    assert play(team(tamper=nearly)).reward[0] == pytest.approx(-300)


def test_an_unknown_reward_mode_is_refused(team):
    with pytest.raises(ConfigError, match="'max'"):
        team(team_reward="max")


def test_rewards_of_agents_that_left_do_not_count(team):
    def tamper(env, returned):
        if env.step_count >= 1:
            env.agents = ["a"]
            returned.terminated["b"] = True
        if env.step_count >= 2:
            returned.rewards["b"] = 100.0

    built = team(tamper=tamper, length=9)
    assert play(built, 2).reward[0] == 1.0
    assert play(team(team_reward="sum", tamper=tamper, length=9), 2).reward[0] == 1.0
