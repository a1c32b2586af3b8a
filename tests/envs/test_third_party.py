"""Third-party ParallelEnvs: PettingZoo's own, SuperSuit's wrappers, AEC, and their traps."""

import copy

import numpy as np
import pytest
from envs_test_fakes import FakeTeam, box
from gymnasium import spaces
from pettingzoo import AECEnv

from rllib_agentmixer.envs import make_env, make_vector_env
from rllib_agentmixer.envs.checks.stepping_speed import random_team_actions
from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.errors import ConfigError, EnvContractError


def played(vector_env, num_steps, seed=0):
    """Steps of random legal play."""
    rng = np.random.default_rng(seed)
    seen, results = vector_env.reset(seed=seed), []
    for _ in range(num_steps):
        result = vector_env.step(random_team_actions(vector_env.spec, seen, rng))
        seen = result.observation
        results.append(copy.deepcopy(result))  # arrays are reused
    return results


# PettingZoo's environments.


def test_speaker_and_listener_are_a_team_of_different_agents():
    pytest.importorskip("mpe2")
    vector_env = make_vector_env("simple_speaker_listener", 2)
    assert vector_env.spec.obs_sizes == (3, 11)
    assert vector_env.spec.action_sizes == (3, 5)
    assert vector_env.spec.state_size == 14
    assert played(vector_env, 25)[-1].truncated.all()


@pytest.mark.parametrize(
    "name", ["simple_spread", "simple_reference", "simple_speaker_listener", "simple_tag"]
)
def test_the_state_is_that_of_the_package(name):
    pytest.importorskip("mpe2")
    env = make_env(name)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(25):
        state = env.state()
        np.testing.assert_array_equal(state, env.unwrapped.state())
        assert state.dtype == np.float32
        assert env.state_space.contains(state)
        env.step({name: int(rng.integers(env.action_space(name).n)) for name in env.agents})


def test_reference_shares_one_reward():
    pytest.importorskip("mpe2")
    vector_env = make_vector_env("simple_reference", 1)
    assert vector_env.spec.action_sizes == (50, 50)
    results = played(vector_env, 5)  # a difference would raise
    assert results[0].agent_rewards[0, 0] == results[0].agent_rewards[0, 1]
    with pytest.raises(EnvContractError, match="different rewards"):
        played(make_vector_env("simple_reference", 1, config={"local_ratio": 0.5}), 5)


class Prey:
    """simple_tag with the prey and its predators put where a test wants them."""

    def __init__(self, **settings):
        self.env = make_env("simple_tag", num_obstacles=0, **settings)
        self.env.reset(seed=0)
        self.world = self.env.unwrapped.world

    @property
    def prey(self):
        return next(agent for agent in self.world.agents if not agent.adversary)

    def after_a_step(self, prey, predators):
        """The prey's velocity after a step in which the predators stay."""
        others = [agent for agent in self.world.agents if agent.adversary]
        for agent, place in zip([self.prey, *others], [prey, *predators], strict=True):
            agent.state.p_pos = np.array(place, float)
            agent.state.p_vel = np.zeros(2)
        # One step for the prey to see, one to act.
        stay = dict.fromkeys(self.env.agents, 0)
        if self.env.action_space(self.env.agents[0]).shape:
            stay = {name: np.zeros(5, np.float32) for name in stay}
        self.env.step(stay)
        self.prey.state.p_pos, self.prey.state.p_vel = np.array(prey, float), np.zeros(2)
        self.env.step(stay)
        return self.prey.state.p_vel


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(
    ("place", "axis", "sign"),
    [((0.5, 0.1), 0, -1), ((-0.5, 0.1), 0, 1), ((0.1, 0.5), 1, -1), ((0.1, -0.5), 1, 1)],
)
def test_the_scripted_prey_runs_from_the_nearest_predator(continuous, place, axis, sign):
    pytest.importorskip("mpe2")
    prey = Prey(continuous_actions=continuous)
    far = [(0.0, 9.0), (0.0, -9.0)]
    velocity = prey.after_a_step((0.0, 0.0), [place, *far])
    assert sign * velocity[axis] > 0.1
    assert abs(velocity[1 - axis]) < 1e-9


def test_the_scripted_prey_turns_back_at_the_border():
    pytest.importorskip("mpe2")
    velocity = Prey().after_a_step((1.1, 0.0), [(0.3, 0.0), (0.0, 9.0), (0.0, -9.0)])
    assert velocity[0] < 0


def test_a_frozen_prey_stays():
    pytest.importorskip("mpe2")
    velocity = Prey(prey="freeze").after_a_step((0.0, 0.0), [(0.5, 0.1), (0.0, 9.0), (0.0, -9.0)])
    assert np.abs(velocity).max() < 1e-9
    with pytest.raises(ConfigError, match="'flee' or 'freeze', got 'hide'"):
        make_env("simple_tag", prey="hide")


def test_the_prey_is_no_member_of_the_team():
    pytest.importorskip("mpe2")
    vector_env = make_vector_env("simple_tag", 1)
    assert vector_env.spec.agents == ("adversary_0", "adversary_1", "adversary_2")
    assert vector_env.spec.state_size == 3 * 16 + 14
    assert played(vector_env, 25)[-1].truncated.all()


def test_multiwalkers_limit_is_a_truncation_and_a_fall_is_not():
    pytest.importorskip("Box2D")
    results = played(make_vector_env("multiwalker", 1, config={"max_cycles": 5}), 5)
    assert [bool(result.truncated[0]) for result in results] == [False] * 4 + [True]
    assert not results[-1].terminated[0]
    assert results[-1].final_observation.state.any()
    falls = played(make_vector_env("multiwalker", 1), 120)
    assert any(result.terminated[0] for result in falls)
    assert not any(result.truncated[0] for result in falls)


def test_multiwalker_has_a_state_also_when_walkers_have_been_removed():
    pytest.importorskip("Box2D")
    config = {"terminate_on_fall": False, "remove_on_fall": True, "max_cycles": 200}
    vector_env = make_vector_env("multiwalker", 1, config=config)
    rng, seen = np.random.default_rng(0), vector_env.reset(seed=0)
    for _ in range(200):
        seen = vector_env.step(random_team_actions(vector_env.spec, seen, rng)).observation
        if not seen.alive.all():
            break
    gone = int(np.flatnonzero(~seen.alive[0])[0])
    assert seen.state.shape == (1, 75)
    assert (seen.state[0, 24 * gone : 24 * gone + 24] == 0).all()
    assert (seen.obs[0, gone] == 0).all()


def test_pursuits_images_become_rows():
    pytest.importorskip("pygame")
    vector_env = make_vector_env("pursuit", 1, config={"max_cycles": 3})
    assert vector_env.spec.obs_shapes == ((7, 7, 3),) * 8
    assert vector_env.spec.obs_size == 147
    assert played(vector_env, 3)[-1].truncated.all()


def test_knights_and_archers_die_one_by_one_and_kills_are_summed():
    pytest.importorskip("pygame")
    vector_env = make_vector_env("knights_archers_zombies", 1)
    assert vector_env.spec.team_reward == "sum"
    alive, kills = [], 0.0
    rng, seen = np.random.default_rng(0), vector_env.reset(seed=0)
    for _ in range(400):
        result = vector_env.step(random_team_actions(vector_env.spec, seen, rng))
        seen = result.observation
        assert result.reward[0] == result.agent_rewards[0].sum()
        kills += result.reward[0]
        alive.append(int(seen.alive.sum()))
    assert 0 < min(alive) < 4
    assert kills > 0


# Ways to name and to build one.


def test_a_petting_zoo_module_is_an_environment():
    pytest.importorskip("mpe2")
    vector_env = make_vector_env("mpe2.simple_spread_v3", 1, config={"local_ratio": 0.0, "N": 2})
    assert vector_env.spec.num_agents == 2
    assert vector_env.spec.name == "mpe2.simple_spread_v3"


@pytest.mark.parametrize(
    ("module", "message"),
    [("no.such.module", "no module 'no'"), ("rllib_agentmixer.errors", "has no 'parallel_env'")],
)
def test_a_module_that_is_none_is_named(module, message):
    with pytest.raises(ConfigError, match=message):
        make_env(module)


class InTurn(AECEnv):
    """Two agents in turn; the first action of each is kept."""

    metadata = {"name": "in_turn", "is_parallelizable": True}  # noqa: RUF012

    def __init__(self):
        self.possible_agents = ["x", "y"]
        self.box, self.choice = box(1), spaces.Discrete(2)

    def observation_space(self, agent):
        return self.box

    def action_space(self, agent):
        return self.choice

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self.agent_selection, self.count = "x", 0
        for name in ("terminations", "truncations"):
            setattr(self, name, dict.fromkeys(self.agents, False))
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.infos = {name: {} for name in self.agents}

    def observe(self, agent):
        return np.array([self.count], np.float32)

    def step(self, action):
        self._clear_rewards()
        self.count += 1
        if self.agent_selection == "y":
            self.rewards = dict.fromkeys(self.agents, 1.0)
            self.terminations = dict.fromkeys(self.agents, self.count == 4)
        self.agent_selection = "y" if self.agent_selection == "x" else "x"
        self._accumulate_rewards()


def test_an_environment_in_turns_is_converted():
    results = played(make_vector_env(InTurn, 1), 2)
    assert [float(result.reward[0]) for result in results] == [1.0, 1.0]
    assert [bool(result.terminated[0]) for result in results] == [False, True]


def test_one_that_needs_its_turns_is_refused(monkeypatch):
    monkeypatch.setitem(InTurn.metadata, "is_parallelizable", False)
    with pytest.raises(EnvContractError, match="InTurn does not say that its agents may act at on"):
        make_env(InTurn)


# SuperSuit.


def ragged(**arguments):
    """Agents of different sizes; b dies in step 2, and nothing is sent for it after that."""

    def dying(env, returned):
        if env.step_count >= 2:
            env.agents = ["a"] if env.step_count < env.length else []
            returned.terminated["b"] = True
        if env.step_count > 2:
            for group in vars(returned).values():
                del group["b"]

    finite = {"a": spaces.Box(-5, 5, (4,), np.float32), "b": spaces.Box(-5, 5, (2,), np.float32)}
    choices = {"a": spaces.Discrete(2), "b": spaces.Discrete(5)}
    defaults = {"obs_spaces": finite, "action_spaces": choices, "tamper": dying, "length": 4}
    return FakeTeam(**(defaults | arguments))


def even(**arguments):
    """All agents alike, nobody dies."""
    finite = {name: spaces.Box(-5, 5, (2,), np.float32) for name in "ab"}
    return FakeTeam(**({"obs_spaces": finite, "length": 4} | arguments))


def boxed():
    return even(action_spaces={name: spaces.Box(-1, 1, (2,), np.float32) for name in "ab"})


WRAPPERS = {
    "pad_observations_v0": (ragged, (), {"obs_sizes": (4, 4)}),
    "pad_action_space_v0": (ragged, (), {"action_sizes": (5, 5)}),
    "frame_stack_v1": (even, (3,), {"obs_sizes": (6, 6)}),
    "agent_indicator_v0": (even, (), {"obs_sizes": (4, 4)}),
    "dtype_v0": (even, (np.float16,), {"obs_sizes": (2, 2)}),
    "black_death_v3": (ragged, (), {"obs_sizes": (4, 2)}),
    "clip_actions_v0": (boxed, (), {"action_sizes": (2, 2)}),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_supersuits_wrappers_are_accepted_in_front(name):
    supersuit = pytest.importorskip("supersuit")
    make, arguments, expected = WRAPPERS[name]
    # The dead of black_death go on with a reward of 0, so rewards are summed.
    vector_env = LoopVectorEnv(
        lambda: getattr(supersuit, name)(make(), *arguments), 2, team_reward="sum"
    )
    for attribute, value in expected.items():
        assert getattr(vector_env.spec, attribute) == value
    results = played(vector_env, 9)
    assert sum(int((r.terminated | r.truncated).sum()) for r in results) == 4  # 2 episodes each
    if name == "black_death_v3":  # the dead are kept alive with an empty observation
        assert results[2].observation.alive.all()
    elif make is ragged:
        assert any(not r.observation.alive.all() for r in results)


@pytest.mark.parametrize("is_cut", [False, True])
def test_black_death_ends_as_the_environment_below_it_does(is_cut):
    """SuperSuit's own goes on for ever, stepping an environment that is over."""
    supersuit = pytest.importorskip("supersuit")

    def end(env, returned):
        if env.step_count == env.length and not is_cut:
            returned.terminated = dict.fromkeys("ab", True)
            returned.truncated = dict.fromkeys("ab", False)

    vector_env = LoopVectorEnv(lambda: supersuit.black_death_v3(even(tamper=end)), 1)
    results = played(vector_env, 4)
    assert [bool(r.terminated[0] or r.truncated[0]) for r in results] == [False] * 3 + [True]
    assert bool(results[-1].truncated[0]) == is_cut


def test_an_environment_behind_black_death_is_copied_as_it_stands(helpers):
    pytest.importorskip("mpe2")
    supersuit = pytest.importorskip("supersuit")
    helpers.check_continuation(
        lambda: LoopVectorEnv(lambda: supersuit.black_death_v3(make_env("simple_spread")), 2)
    )


def test_frames_are_stacked_as_they_were_seen():
    supersuit = pytest.importorskip("supersuit")
    vector_env = LoopVectorEnv(lambda: supersuit.frame_stack_v1(even(), 3), 1)
    results = played(vector_env, 3)
    np.testing.assert_allclose(results[-1].observation.obs[0, 0], [1, 1, 2, 2, 3, 3])


@pytest.mark.parametrize("name", ["pad_observations_v0", "agent_indicator_v0", "normalize_obs_v0"])
def test_a_wrapper_that_refuses_masks_in_observations_says_where_they_go(name):
    supersuit = pytest.importorskip("supersuit")
    masked = spaces.Dict({"observation": box(2), "action_mask": spaces.MultiBinary(3)})
    with pytest.raises(EnvContractError, match=r"SuperSuit wrapper rejects it.*masks in infos"):
        make_env(lambda: getattr(supersuit, name)(FakeTeam(obs_spaces=dict.fromkeys("ab", masked))))


def test_an_assertion_of_the_environment_itself_is_not_blamed_on_a_wrapper():
    def broken():
        raise AssertionError("mine")

    with pytest.raises(EnvContractError, match=r"'broken': its constructor raised .*mine"):
        make_env(broken)


def test_a_mask_that_was_not_padded_with_its_actions_is_named():
    supersuit = pytest.importorskip("supersuit")

    def masks(env, returned):
        for name, number in (("a", 2), ("b", 5)):
            returned.infos[name]["action_mask"] = np.ones(number)

    vector_env = LoopVectorEnv(lambda: supersuit.pad_action_space_v0(ragged(tamper=masks)), 1)
    with pytest.raises(EnvContractError, match=r"'a'.*mask must have shape \(5,\), got \(2,\)"):
        vector_env.reset(seed=0)


# Traps.


def test_agents_keep_their_rows_whatever_order_dictionaries_have():
    """An environment that answers in another order every time, as sets do."""

    def shuffled(env, returned):
        for name in ("obs", "rewards", "terminated", "truncated", "infos"):
            group = getattr(returned, name)
            keys = list(group)[:: -1 if env.step_count % 2 else 1]
            setattr(returned, name, {key: group[key] for key in keys})

    vector_env = LoopVectorEnv(
        lambda: FakeTeam(agents=("z", "a", "m"), tamper=shuffled, length=9), 1
    )
    for step, result in enumerate(played(vector_env, 4), start=1):
        expected = [step, step + 0.1, step + 0.2]
        np.testing.assert_allclose(result.observation.obs[0, :, 0], expected, rtol=1e-6)


def test_one_info_shared_by_all_agents_and_one_list_of_agents_do_no_harm():
    class Careless(FakeTeam):
        def reset(self, seed=None, options=None):
            obs, _ = super().reset(seed)
            self.agents = self.possible_agents
            return obs, dict.fromkeys(self.possible_agents, self.shared)

        shared = {}  # noqa: RUF012

        def step(self, actions):
            obs, rewards, terminated, truncated, _ = super().step(actions)
            self.agents = self.possible_agents
            return obs, rewards, terminated, truncated, dict.fromkeys(self.agents, self.shared)

    vector_env = LoopVectorEnv(lambda: Careless(length=3), 1)
    ends = [bool(result.truncated[0]) for result in played(vector_env, 7)]
    assert ends == [False, False, True] * 2 + [False]
    assert vector_env.spec.agents == ("a", "b")


def test_masks_are_read_from_observations_and_from_infos():
    mask = np.array([0, 1, 0])
    in_obs = spaces.Dict({"observation": box(2), "action_mask": spaces.MultiBinary(3)})

    def sent(env, returned):
        returned.obs["a"]["action_mask"] = mask
        returned.infos["b"]["action_mask"] = mask

    vector_env = LoopVectorEnv(lambda: FakeTeam(obs_spaces={"a": in_obs}, tamper=sent), 1)
    assert vector_env.reset(seed=0).action_mask[0].tolist() == [[False, True, False]] * 2
