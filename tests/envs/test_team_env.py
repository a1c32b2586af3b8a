"""Any ParallelEnv becomes team arrays; what breaks the contract is named."""

import logging

import numpy as np
import pytest
from gymnasium import spaces

from rllib_agentmixer.envs.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.envs.matrix_game import MatrixGame
from rllib_agentmixer.envs.predator_prey import PredatorPrey
from rllib_agentmixer.envs.predator_prey_vector import VectorPredatorPrey
from rllib_agentmixer.envs.team_env import TeamEnv
from rllib_agentmixer.envs.team_layout import new_arrays, rows_of
from rllib_agentmixer.errors import ConfigError, EnvContractError


def box(*shape, dtype=np.float32):
    return spaces.Box(-100, 100, shape, dtype)


def noop(team, num_envs=1):
    spec = team.spec
    if spec.action_kind == "discrete":
        return np.zeros((num_envs, spec.num_agents), np.int64)
    return np.zeros((num_envs, spec.num_agents, spec.num_actions), np.float32)


@pytest.fixture
def team(fakes):
    """Builds a team of one fake copy from the fake's arguments."""

    def build(team_reward="shared", **arguments):
        return LoopVectorEnv(
            lambda: fakes.FakeTeam(**arguments), 1, name="fake", team_reward=team_reward
        )

    return build


@pytest.fixture
def tampered(team):
    """A team whose fake changes what it returns in one step (0 is the reset)."""

    def build(step, change, **arguments):
        def tamper(env, returned):
            if env.step_count == step:
                change(env, returned)

        return team(tamper=tamper, **arguments)

    return build


def play(built, num_steps=1):
    built.reset(seed=0)
    for _ in range(num_steps):
        result = built.step(noop(built))
    return result


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


def test_a_team_of_one_copy_writes_into_the_given_row():
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


def test_discrete_actions_count_from_the_start_of_their_space(team, fakes):
    built = team(action_spaces={"b": spaces.Discrete(3, start=5)})
    built.reset(seed=0)
    built.step(np.array([[2, 1]]))
    received = built._copies[0].env.received[0]
    assert received == {"a": 2, "b": 6}
    assert type(received["b"]) is int


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
    env = built._copies[0].env
    received = env.received[0]
    np.testing.assert_array_equal(received["b"], [[1, 2], [3, 4]])
    assert received["a"].dtype == np.float64
    assert all(env.action_space(name).contains(received[name]) for name in "ab")


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((1, 3), int), r"\(1, 2\).*\(1, 3\)"),
        (np.zeros((1, 2), np.float32), "whole numbers.*float32"),
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
    assert_mask_forbids_first(built, expected_other=True)


def test_masks_are_read_from_infos(team):
    def tamper(env, returned):
        returned.infos["a"]["action_mask"] = np.array([False, True, True])
        returned.infos["b"]["action_mask"] = np.ones(3, bool)

    built = team(tamper=tamper)
    assert built.spec.has_action_mask
    assert_mask_forbids_first(built, expected_other=True)


def assert_mask_forbids_first(built, expected_other):
    seen = built.reset(seed=0)
    np.testing.assert_array_equal(seen.action_mask[0], [[False, True, True], [expected_other] * 3])
    seen = built.step(np.array([[1, 0]])).observation
    np.testing.assert_array_equal(seen.action_mask[0, 0], [False, True, True])


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
    with pytest.raises(EnvContractError, match=r"copy 0 of fake, step 1.*'b': 3.0.*'sum' or 'mean'"):
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


# Ends, deaths, resets.


def test_an_episode_that_is_cut_is_truncated_and_restarts(team):
    built = team(length=2)
    result = play(built, 2)
    assert (bool(result.terminated[0]), bool(result.truncated[0])) == (False, True)
    np.testing.assert_allclose(result.final_observation.obs[0, 0], [2, 2])
    np.testing.assert_allclose(result.final_observation.state[0], [2, 2, 2.1, 2.1])
    np.testing.assert_allclose(result.observation.obs[0, 0], [0, 0])
    assert result.final_observation.alive.all()
    assert result.observation.alive.all()


def test_only_the_first_reset_passes_a_seed(team):
    built = team(length=1)
    built.reset(seed=5)
    for _ in range(3):
        built.step(noop(built))
    # The first None is the reset that looked at the layout.
    seeds = built._copies[0].env.seeds
    assert seeds[0] is None
    assert isinstance(seeds[1], int)
    assert seeds[2:] == [None, None, None]


def test_copies_get_different_seeds(fakes):
    built = LoopVectorEnv(fakes.FakeTeam, 8)
    built.reset(seed=5)
    assert len({copy.env.seeds[-1] for copy in built._copies}) == 8


def test_finished_rows_restart_while_others_go_on(fakes):
    lengths = iter([2, 5])
    built = LoopVectorEnv(lambda: fakes.FakeTeam(length=next(lengths)), 2)
    built.reset(seed=0)
    built.step(noop(built, 2))
    result = built.step(noop(built, 2))
    np.testing.assert_array_equal(result.truncated, [True, False])
    np.testing.assert_allclose(result.observation.obs[:, 0, 0], [0, 2])
    np.testing.assert_allclose(result.final_observation.obs[:, 0, 0], [2, 2])


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        ({"a", "b"}, set(), (True, False)),
        (set(), {"a", "b"}, (False, True)),
        ({"a"}, {"b"}, (False, True)),
        ({"a", "b"}, {"a", "b"}, (True, False)),
        (set(), set(), (True, False)),  # agents that vanish without a word have nothing to follow
    ],
)
@pytest.mark.parametrize("keeps_agents", [False, True])
def test_an_ended_episode_is_terminated_or_truncated_and_never_both(
    team, terminated, truncated, expected, keeps_agents
):
    if keeps_agents and not terminated | truncated:
        pytest.skip("nothing would tell that the episode is over")

    def tamper(env, returned):
        if env.step_count == 1:
            returned.terminated = {name: name in terminated for name in "ab"}
            returned.truncated = {name: name in truncated for name in "ab"}
            env.agents = list("ab") if keeps_agents else []

    result = play(team(tamper=tamper, length=9))
    assert (bool(result.terminated[0]), bool(result.truncated[0])) == expected


def test_a_cut_episode_shows_only_agents_that_could_have_gone_on(team):
    def tamper(env, returned):
        if env.step_count == 1:
            returned.terminated["a"] = returned.truncated["b"] = True
            env.agents = []

    final = play(team(tamper=tamper, length=9)).final_observation
    np.testing.assert_array_equal(final.alive[0], [False, True])
    np.testing.assert_allclose(final.obs[0], [[0, 0], [1.1, 1.1]])


def kill_first(env, returned):
    if env.step_count >= 1:
        env.agents = ["b"] if env.step_count < env.length else []
        returned.terminated["a"] = env.step_count == 1
        if env.step_count > 1:
            for group in (returned.obs, returned.rewards, returned.terminated, returned.truncated):
                group.pop("a", None)


def test_an_agent_that_dies_leaves_a_zero_row_and_gets_no_more_actions(team):
    built = team(tamper=kill_first, length=4)
    result = play(built)
    assert not result.terminated[0]
    assert not result.truncated[0]
    for _ in range(2):
        seen = result.observation
        np.testing.assert_array_equal(seen.alive[0], [False, True])
        np.testing.assert_array_equal(seen.obs[0, 0], [0, 0])
        np.testing.assert_array_equal(seen.state[0, :2], [0, 0])
        assert seen.action_mask[0, 0].all()
        result = built.step(noop(built))
    assert built._copies[0].env.received[-1].keys() == {"b"}
    result = built.step(noop(built))
    assert result.truncated[0]
    np.testing.assert_array_equal(result.final_observation.alive[0], [False, True])
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
        if env.step_count == 0:
            env.agents = ["a"]
            returned.obs.pop("b")
        if env.step_count == 2:
            env.agents = ["a", "b"]

    built = team(tamper=tamper, length=5)
    np.testing.assert_array_equal(built.reset(seed=0).alive[0], [True, False])
    for expected in ([True, False], [True, True]):
        if expected[1]:
            built._copies[0].env.agents = ["a"]
        np.testing.assert_array_equal(built.step(noop(built)).observation.alive[0][0], True)


def test_numbers_in_the_last_infos_become_diagnostics(team):
    def tamper(env, returned):
        if env.step_count == env.length:
            returned.infos["a"].update(won=True, note="text")
            returned.infos["b"].update(won=False, score=2)

    built = team(tamper=tamper, length=2)
    built.reset(seed=0)
    assert built.step(noop(built)).info == {}
    info = built.step(noop(built)).info
    assert {key: value.tolist() for key, value in info.items()} == {"won": [1.0], "score": [2.0]}


# Contract violations.


def put(group, name, value):
    def change(env, returned):
        getattr(returned, group)[name] = value

    return change


def drop(group, name):
    def change(env, returned):
        getattr(returned, group).pop(name)

    return change


VIOLATIONS = {
    "wrong shape": (put("obs", "b", np.zeros(3, np.float32)), r"agent 'b'.*\(2,\).*\(3,\)"),
    "text": (put("obs", "b", np.array(["x", "y"])), "agent 'b'.*numeric"),
    "object": (put("obs", "b", None), r"agent 'b'.*shape \(\) of object"),
    "ragged list": (put("obs", "b", [[1], [1, 2]]), "agent 'b'.*does not fit"),
    "NaN": (put("obs", "b", np.array([0, np.nan], np.float32)), "agent 'b'.*entry 1 is nan"),
    "infinite": (put("obs", "a", np.array([-np.inf, np.inf])), "agent 'a'.*entry 0 is -inf"),
    "NaN reward": (put("rewards", "b", float("nan")), "agent 'b'.*nan"),
    "infinite reward": (put("rewards", "a", float("inf")), "agent 'a'.*inf"),
    "reward no number": (put("rewards", "a", "much"), "agent 'a'.*'much'"),
    "unknown in obs": (put("obs", "c", np.zeros(2)), r"observations for \['c'\]"),
    "unknown in rewards": (put("rewards", "c", 0.0), r"rewards for \['c'\]"),
    "unknown in terminated": (put("terminated", "c", False), r"terminated for \['c'\]"),
    "unknown in truncated": (put("truncated", "c", False), r"truncated for \['c'\]"),
    "no obs": (drop("obs", "a"), "agent 'a'.*no observation"),
    "no reward": (drop("rewards", "a"), "agent 'a'.*no reward"),
    "late mask": (lambda e, r: r.infos["a"].update(action_mask=np.ones(3)), "none came with reset"),
    "unknown agent": (lambda e, r: e.agents.append("c"), r"agents for \['c'\]"),
}


@pytest.mark.parametrize("kind", VIOLATIONS)
def test_a_broken_contract_is_named_with_copy_step_and_agent(tampered, kind):
    change, message = VIOLATIONS[kind]
    with pytest.raises(EnvContractError, match=f"copy 0 of fake, step 2.*{message}"):
        play(tampered(2, change), 2)


@pytest.mark.parametrize("kind", ["wrong shape", "NaN", "unknown in obs", "no obs"])
def test_a_contract_broken_by_reset_is_named_too(team, kind):
    change, message = VIOLATIONS[kind]
    resets = []

    def tamper(env, returned):
        resets.append(1)
        if len(resets) > 1:  # the first reset works out the layout
            change(env, returned)

    with pytest.raises(EnvContractError, match=f"step 0.*{message}"):
        team(tamper=tamper).reset(seed=0)


def test_a_reset_without_agents_is_refused(team):
    built = team(tamper=lambda env, returned: env.agents.clear())
    with pytest.raises(EnvContractError, match="left no agent"):
        built.reset(seed=0)


@pytest.mark.parametrize(
    ("mask", "message"),
    [(np.zeros(3), "allows nothing"), (np.ones(4), r"shape \(3,\), got \(4,\)")],
)
def test_a_mask_that_does_not_fit_is_refused(team, mask, message):
    def tamper(env, returned):
        for name in env.possible_agents:
            returned.infos[name]["action_mask"] = np.ones(3)
        if env.step_count == 1:
            returned.infos["b"]["action_mask"] = mask

    with pytest.raises(EnvContractError, match=f"step 1, agent 'b'.*{message}"):
        play(team(tamper=tamper))


def test_a_mask_that_stops_coming_is_refused(team):
    def tamper(env, returned):
        if env.step_count == 0:
            for name in env.possible_agents:
                returned.infos[name]["action_mask"] = np.ones(3)

    with pytest.raises(EnvContractError, match="no action mask"):
        play(team(tamper=tamper))


@pytest.mark.parametrize(
    ("state", "message"),
    [(np.zeros(3), "2 numbers.*3"), (np.array([0, np.nan]), "nan"), (None, "object")],
)
def test_a_state_that_changes_its_kind_is_refused(team, state, message):
    built = team(state=lambda env: state if env.step_count else np.zeros(2))
    with pytest.raises(EnvContractError, match=f"step 1.*state.*{message}"):
        play(built)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"agents": ()}, "possible_agents"),
        ({"action_spaces": {"b": box(1)}}, "all Discrete or all Box.*Discrete.*Box"),
        ({"action_spaces": {"b": spaces.MultiDiscrete([2, 2])}}, "'b'.*MultiDiscrete.*supported"),
        ({"action_spaces": {"b": spaces.Box(0, 3, (1,), np.int64)}}, "'b'.*int64.*supported"),
        ({"obs_spaces": {"b": spaces.Sequence(box(1))}}, "'b'.*no fixed size"),
        (
            {"obs_spaces": {"b": spaces.Dict({"x": box(1), "action_mask": box(3)})}},
            "'b'.*'action_mask', 'x'",
        ),
    ],
)
def test_environments_that_make_no_team_are_refused_at_once(team, arguments, message):
    with pytest.raises(EnvContractError, match=message):
        team(**arguments)


# Crashes.


def crash(env, returned):
    raise RuntimeError("simulator gone")


def test_a_crash_stops_and_names_copy_step_and_cause(tampered):
    with pytest.raises(EnvContractError, match="copy 0 of fake, step 2.*simulator gone") as info:
        play(tampered(2, crash), 2)
    assert isinstance(info.value.__cause__, RuntimeError)


@pytest.fixture
def fragile(fakes):
    """Three copies; the middle one crashes as told, its replacements do not."""

    def build(change, when, **arguments):
        made = []

        def make_one():
            number = len(made)

            def tamper(env, returned):
                if number == 1 and when(env):
                    change(env, returned)

            made.append(fakes.FakeTeam(tamper=tamper, length=4))
            return made[-1]

        built = LoopVectorEnv(make_one, 3, name="fake", restart_failed=True, **arguments)
        return built, made

    return build


def exit_process(env, returned):
    raise SystemExit(1)


@pytest.mark.parametrize("change", [crash, exit_process, VIOLATIONS["NaN"][0]])
def test_a_failed_copy_is_replaced_and_its_row_marked(fragile, caplog, change):
    built, made = fragile(change, lambda env: env.step_count == 2)
    built.reset(seed=0)
    built.step(noop(built, 3))
    with caplog.at_level(logging.WARNING):
        result = built.step(noop(built, 3))
    np.testing.assert_array_equal(result.faulty, [False, True, False])
    np.testing.assert_array_equal(result.truncated, [False, True, False])
    assert not result.terminated.any()
    np.testing.assert_array_equal(result.reward, [1, 0, 1])
    np.testing.assert_array_equal(result.agent_rewards, [[1, 1], [0, 0], [1, 1]])
    # The last good observation is that of step 1; the others have reached step 2.
    np.testing.assert_allclose(result.final_observation.obs[:, 0, 0], [2, 1, 2])
    np.testing.assert_allclose(result.observation.obs[:, 0, 0], [2, 0, 2])
    assert "copy 1 of fake, step 2" in caplog.text
    assert [env.is_closed for env in made] == [False, True, False, False]
    assert isinstance(made[3].seeds[-1], int)
    for _ in range(4):
        result = built.step(noop(built, 3))
        assert not result.faulty.any()


def test_a_copy_that_fails_in_an_automatic_reset_keeps_the_episode_it_finished(fragile):
    built, made = fragile(crash, lambda env: env.step_count == 0 and len(env.seeds) > 1)
    built.reset(seed=0)
    for _ in range(4):
        result = built.step(noop(built, 3))
    assert len(made) == 4
    assert result.truncated.all()
    assert not result.faulty.any()
    np.testing.assert_allclose(result.final_observation.obs[:, 0, 0], [4, 4, 4])
    np.testing.assert_allclose(result.observation.obs[:, 0, 0], [0, 0, 0])


def test_replacements_are_bounded(fakes):
    def tamper(env, returned):
        if env.step_count == 1:
            raise RuntimeError("always")

    built = LoopVectorEnv(
        lambda: fakes.FakeTeam(tamper=tamper), 1, restart_failed=True, max_restarts=3
    )
    built.reset(seed=0)
    for _ in range(3):
        assert built.step(noop(built)).faulty[0]
    with pytest.raises(EnvContractError, match="always.*gave up after 3 restarts"):
        built.step(noop(built))


def test_a_replacement_that_fails_to_start_is_replaced_too(fakes):
    built_so_far = []

    def make_one():
        built_so_far.append(1)
        if len(built_so_far) in (2, 3):
            raise OSError("port in use")
        broken = len(built_so_far) == 1
        return fakes.FakeTeam(tamper=lambda e, r: crash(e, r) if broken and e.step_count else None)

    built = LoopVectorEnv(make_one, 1, restart_failed=True)
    built.reset(seed=0)
    assert built.step(noop(built)).faulty[0]
    assert len(built_so_far) == 4
    assert not built.step(noop(built)).faulty[0]


def test_an_interrupt_is_never_swallowed(fakes):
    def interrupt(env, returned):
        if env.step_count:
            raise KeyboardInterrupt

    built = LoopVectorEnv(lambda: fakes.FakeTeam(tamper=interrupt), 1, restart_failed=True)
    built.reset(seed=0)
    with pytest.raises(KeyboardInterrupt):
        built.step(noop(built))


# Snapshots, pictures, wrappers.


def test_a_snapshot_continues_bit_for_bit(fakes, helpers):
    helpers.check_continuation(lambda: LoopVectorEnv(fakes.Countdown, 3))
    helpers.check_continuation(lambda: LoopVectorEnv(lambda: PredatorPrey(max_steps=20), 2))


def test_an_environment_that_cannot_be_copied_has_no_snapshot(fakes, team):
    built = team(tamper=lambda env, returned: None)  # a lambda does not pickle
    built.reset(seed=0)
    assert built.get_state() is None
    built.set_state(None)


def test_an_environment_that_would_forget_its_state_has_no_snapshot(fakes):
    built = LoopVectorEnv(fakes.ForgetfulCountdown, 1)
    built.reset(seed=0)
    assert built.get_state() is None


def test_a_snapshot_of_another_number_of_copies_is_refused(fakes):
    two, three = LoopVectorEnv(fakes.Countdown, 2), LoopVectorEnv(fakes.Countdown, 3)
    two.reset(seed=0)
    with pytest.raises(EnvContractError, match="2 copies.*3"):
        three.set_state(two.get_state())


def test_pictures_come_from_the_copy_and_only_if_it_draws(team):
    built = team()
    assert built.render().shape == (4, 4, 3)
    built._copies[0].env.render_mode = None
    assert built.render() is None
    built._copies[0].env.render_mode = "rgb_array"
    built._copies[0].env.render = lambda: "text"
    assert built.render() is None


def test_close_closes_all_copies(fakes):
    built = LoopVectorEnv(fakes.FakeTeam, 3)
    built.close()
    assert all(copy.env.is_closed for copy in built._copies)


def test_the_loop_over_native_copies_equals_the_native_batched_form(helpers):
    """Rewards and observations go through TeamEnv unchanged."""
    loop = LoopVectorEnv(lambda: PredatorPrey("7x7", max_steps=15), 2)
    plain = [PredatorPrey("7x7", max_steps=15) for _ in range(2)]
    loop.reset(seed=4)
    seeds = np.random.SeedSequence(4).generate_state(2)
    for env, seed in zip(plain, seeds, strict=True):
        env.reset(seed=int(seed))
    for step in range(50):
        actions = helpers.random_actions(loop, step)
        result = loop.step(actions)
        for index, env in enumerate(plain):
            names = env.possible_agents
            obs, rewards, *_ = env.step(dict(zip(names, actions[index], strict=True)))
            rows = np.stack([obs[name] for name in names])
            np.testing.assert_array_equal(result.final_observation.obs[index], rows)
            np.testing.assert_array_equal(result.final_observation.state[index], env.state())
            assert result.reward[index] == np.float32(rewards[names[0]])
            if not env.agents:
                env.reset()


def test_an_environment_wrapped_by_supersuit_works(fakes):
    supersuit = pytest.importorskip("supersuit")
    ragged = {"a": box(4), "b": box(2)}

    def make_one():
        return supersuit.agent_indicator_v0(
            supersuit.pad_observations_v0(fakes.FakeTeam(obs_spaces=ragged))
        )

    built = LoopVectorEnv(make_one, 2, name="wrapped")
    assert built.spec.obs_sizes == (6, 6)
    built.reset(seed=0)
    for _ in range(3):
        result = built.step(noop(built, 2))
    assert result.truncated.all()
    np.testing.assert_allclose(result.final_observation.obs[0, 0], [3, 3, 3, 3, 1, 0])
    np.testing.assert_allclose(result.final_observation.obs[0, 1], [3.1, 3.1, 0, 0, 0, 1])


def test_supersuits_frame_stack_of_a_native_environment_works():
    supersuit = pytest.importorskip("supersuit")
    built = LoopVectorEnv(lambda: supersuit.frame_stack_v1(PredatorPrey(), 2), 1)
    assert built.spec.obs_sizes == (56, 56)
    assert built.spec.state_size == 8
    built.reset(seed=0)
    assert built.step(noop(built)).observation.obs[0, 0, -1] == pytest.approx(1 / 128)


def test_a_repeated_matrix_game_pays_its_optimum_through_the_loop():
    built = LoopVectorEnv(lambda: MatrixGame("climbing", repeat=25), 1)
    built.reset(seed=0)
    steps = [built.step(np.array([[2, 0]])) for _ in range(25)]
    assert sum(step.reward[0] for step in steps) == 275
    assert steps[-1].terminated[0]
