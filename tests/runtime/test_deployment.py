"""Parity from the raw observation that an environment gives to the action that it takes."""

import json
import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.envs.team_gym import TeamEnvCreator
from rllib_agentmixer.errors import EnvContractError, ExportError
from rllib_agentmixer.export import export_policies
from rllib_agentmixer.play import main, play_episode, play_export
from rllib_agentmixer.rollouts.evaluation import summarize
from rllib_agentmixer.rollouts.team import Team, environment_stamp, team_scaling, team_sizes
from rllib_agentmixer.runtime import MANIFEST, load_policies
from rllib_agentmixer.runtime.observations import flattened

F = np.float32


def team_of(env, *, algorithm="mappo", normalize_actions=True, env_config=None, **settings):
    """An untrained team whose policies depend on what they see."""
    env_config = env_config or {}
    creator = TeamEnvCreator(env)
    probe = creator.vector(env_config, 1)
    spec = probe.spec
    probe.close()
    entry = ALGORITHMS[algorithm]
    chosen = entry.make_settings(hidden_size=16, **settings)
    torch.manual_seed(1)
    module = entry.team(team_sizes(spec), chosen)
    with torch.no_grad():
        module.individual_policies.head.weight.mul_(100.0)
    scaling = team_scaling(spec, normalize_actions=normalize_actions, clip_actions=True)
    stamp = environment_stamp(env, env_config, spec)
    layout = TeamLayout(team_sizes(spec))
    return Team(entry, chosen, spec, module, layout, scaling, None, creator, env_config, stamp, 0)


class Told(ParallelEnv):
    """Observations and actions of any space; notes what it is given."""

    metadata = {"name": "told", "render_modes": []}  # noqa: RUF012
    log: list = []  # noqa: RUF012

    def __init__(
        self, obs="box", action="discrete", names=("a", "b"), length=5, clears=True, masks=None
    ):
        self.possible_agents, self.agents = list(names), []
        self.length, self.clears, self.masks = length, clears, masks
        self.obs_spaces = {n: OBSERVATIONS[obs] for n in names}
        self.actions = {n: ACTIONS[action] for n in names}

    def observation_space(self, agent):
        return self.obs_spaces[agent]

    def action_space(self, agent):
        return self.actions[agent]

    def _told(self):
        infos = {n: {} if self.masks is None else {"action_mask": self.masks} for n in self.agents}
        return {n: self.obs_spaces[n].sample() for n in self.possible_agents}, infos

    def reset(self, seed=None, options=None):
        self.agents, self.count = list(self.possible_agents), 0
        for index, space in enumerate(self.obs_spaces.values()):
            space.seed(None if seed is None else seed + index)
        return self._told()

    def step(self, actions):
        Told.log.append(actions)
        for name, action in actions.items():
            assert self.actions[name].contains(action), (name, action)
        self.count += 1
        obs, infos = self._told()
        ended = self.count >= self.length
        reward = float(self.count)
        names = list(self.possible_agents)
        if ended and self.clears:
            self.agents = []
        flags = dict.fromkeys(names, ended), dict.fromkeys(names, False)
        return obs, dict.fromkeys(names, reward), *flags, infos


OBSERVATIONS = {
    "box": spaces.Box(-1, 1, (3,), F),
    "dict": spaces.Dict({"pos": spaces.Box(-1, 1, (3,), F), "door": spaces.Discrete(4, start=2)}),
    "tuple": spaces.Tuple((spaces.Box(-1, 1, (2, 2), np.float64), spaces.Discrete(3))),
    "nested": spaces.Dict({"in": spaces.Tuple((spaces.MultiBinary(2), spaces.Discrete(2)))}),
    "discrete": spaces.Discrete(6),
    "one": spaces.Discrete(1),
    "multi binary": spaces.MultiBinary(5),
    "multi discrete": spaces.MultiDiscrete([3, 2], start=[0, 4]),
    "one choice each": spaces.MultiDiscrete([1, 1]),
    "image": spaces.Box(0, 255, (4, 4, 3), np.uint8),
}
ACTIONS = {
    "discrete": spaces.Discrete(3),
    "start": spaces.Discrete(3, start=-1),
    "several": spaces.MultiDiscrete([3, 2], start=[1, 0]),
    "binary": spaces.MultiBinary(3),
    "unit": spaces.Box(0, 1, (2,), F),
    "half": spaces.Box(0, np.inf, (2,), F),
    "equal": spaces.Box(np.array([1, -1], F), np.array([1, 1], F)),
    "free": spaces.Box(-np.inf, np.inf, (2,), F),
    "scalar": spaces.Box(-3, 5, (), F),
    "matrix": spaces.Box(-2, 2, (2, 2), F),
    "double": spaces.Box(-0.4, 0.4, (2,), np.float64),
}


def both_ways(team, folder, **arguments):
    """Actions that the environment takes from the team, and from its export."""
    Told.log = []
    team.play(1, policy="individual", explore=False, seed=0, num_envs=1)
    inside, Told.log = Told.log, []
    export_policies(team, folder)
    Told.log = []
    play_export(folder, 1, env=Told, **arguments)
    batched, Told.log = Told.log, []
    return inside, batched


def assert_alike(one, other, tolerance=1e-5):
    assert len(one) == len(other) > 0
    for mine, theirs in zip(one, other, strict=True):
        assert mine.keys() == theirs.keys()
        for name, action in mine.items():
            assert np.shape(action) == np.shape(theirs[name])
            np.testing.assert_allclose(action, theirs[name], atol=tolerance)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("normalize", [True, False])
def test_the_action_that_reaches_the_environment_is_the_same(tmp_path, action, normalize):
    team = team_of(Told, env_config={"action": action}, normalize_actions=normalize)
    inside, batched = both_ways(team, tmp_path / "x")
    assert_alike(inside, batched)
    entry = json.loads((tmp_path / "x" / MANIFEST).read_text())["agents"][0]
    policy, fixture = next(iter(load_policies(tmp_path / "x").values())), entry["fixture"]
    for obs, taken in zip(fixture["obs"], fixture["action"], strict=True):
        given = np.array(obs, F)
        chosen, _ = policy.act(given)
        assert ACTIONS[action].contains(np.int64(chosen) if type(chosen) is int else chosen)
        np.testing.assert_allclose(chosen, taken, atol=1e-5)


@pytest.mark.parametrize("obs", OBSERVATIONS)
def test_observations_of_every_kind_are_read_as_in_training(tmp_path, obs):
    team = team_of(Told, env_config={"obs": obs})
    inside, batched = both_ways(team, tmp_path / "x")
    assert_alike(inside, batched)
    Told.log = []
    env = Told(obs=obs)
    episode = play_episode(env, load_policies(tmp_path / "x"), seed=3)
    assert (episode.length, episode.episode_return) == (5, 15.0)
    assert len(Told.log) == 5


@pytest.mark.parametrize("obs", OBSERVATIONS)
def test_flattening_is_gymnasiums(obs):
    from rllib_agentmixer.export.spaces import as_json, describe_space

    space = OBSERVATIONS[obs]
    space.seed(0)
    description = json.loads(json.dumps(describe_space(space)))
    for _ in range(20):
        value = space.sample()
        expected = spaces.flatten(space, value).astype(F)
        np.testing.assert_array_equal(flattened(description, value), expected)
        as_text = json.loads(json.dumps(as_json(value)))
        np.testing.assert_array_equal(flattened(description, as_text), expected)


@pytest.mark.parametrize(
    ("obs", "value", "words"),
    [
        ("discrete", 6, "choice 6 .* is none of 6"),
        ("discrete", 0.5, "an integer is expected, got 0.5"),
        ("dict", {"pos": [0, 0, 0]}, r"keys \['pos'\] instead of \['door', 'pos'\]"),
        ("dict", [1.0], "a dictionary of door, pos is expected"),
        ("tuple", (1,), "shorter"),
        ("box", "text", ""),
    ],
)
def test_an_observation_that_does_not_fit_is_refused(tmp_path, obs, value, words):
    export_policies(team_of(Told, env_config={"obs": obs}), tmp_path / "x")
    policy = load_policies(tmp_path / "x")["a"]
    with pytest.raises(EnvContractError, match=rf"a: the observation does not fit .*{words}"):
        policy.act(value)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "x"
    export_policies(team_of(Told), folder)
    return folder


X = np.array([0.5, -0.25, 1.0], F)
FORMS = {
    "double": X.astype(np.float64),
    "half": X.astype(np.float16),
    "list": X.tolist(),
    "tuple": tuple(X.tolist()),
    "flipped": X[::-1].copy()[::-1],
    "big-endian": X.astype(">f4"),
    "two axes": X[None],
    "tensor": torch.from_numpy(X),
    "list of scalars": list(X),
    "strided": np.repeat(X, 2)[::2],
}


@pytest.mark.parametrize("form", FORMS)
def test_observations_may_come_in_any_form(plain, form):
    policy = load_policies(plain)["a"]
    expected, _ = policy.head(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head, _ = policy.head(FORMS[form])
        mask = np.ones(3, np.int8)[::-1]
        assert isinstance(policy.act(FORMS[form], action_mask=mask)[0], int)
    torch.testing.assert_close(head, expected, atol=1e-2 if form == "half" else 0, rtol=0)


def test_read_only_observations_are_read_and_left_alone(plain):
    frozen = X.copy()
    frozen.flags.writeable = False
    policy = load_policies(plain)["a"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert policy.head(frozen)[0].equal(policy.head(X)[0])
    assert frozen.tolist() == X.tolist()


@pytest.mark.parametrize("names", [(0, 1), (("red", 0), ("red", 1)), ("a b/c", "ü")])
def test_agents_keep_the_names_that_their_environment_gives_them(tmp_path, names):
    team = team_of(Told, env_config={"names": names})
    export_policies(team, tmp_path / "x")
    policies = load_policies(tmp_path / "x")
    assert tuple(policies) == names
    assert play_episode(Told(names=names), policies, seed=0).length == 5
    assert play_export(tmp_path / "x", 2, env=Told)["num_episodes"] == 2


@pytest.mark.parametrize(
    ("declared", "masks", "allowed"),
    [
        (None, ((1, 0, 0), (0, 1)), [1, 1]),
        (None, np.array([1, 0, 0, 0, 1]), [1, 1]),
        ("combinations", np.array([0, 1, 0, 0, 0, 0]), [1, 1]),
    ],
)
def test_masks_of_several_choices_mean_the_same(tmp_path, monkeypatch, declared, masks, allowed):
    monkeypatch.setitem(Told.metadata, "action_mask_form", declared)
    env_config = {"action": "several", "masks": masks}
    team = team_of(Told, env_config=env_config)
    inside, batched = both_ways(team, tmp_path / "x")
    for step in inside + batched:
        assert [action.tolist() for action in step.values()] == [allowed, allowed]
    policy = load_policies(tmp_path / "x")["a"]
    assert policy.act(X, action_mask=masks, explore=True)[0].tolist() == allowed


def test_a_mask_that_can_be_read_in_two_ways_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(ACTIONS, "pairs", spaces.MultiDiscrete([2, 2]))
    export_policies(team_of(Told, env_config={"action": "pairs"}), tmp_path / "x")
    with pytest.raises(EnvContractError, match=r"one per choice in each place .* or one per comb"):
        load_policies(tmp_path / "x")["a"].act(X, action_mask=[1, 1, 1, 0])


def test_an_environment_that_never_clears_its_agents_comes_to_an_end(tmp_path):
    team = team_of(Told, env_config={"clears": False})
    export_policies(team, tmp_path / "x")
    assert play_export(tmp_path / "x", 2, env=Told)["episode_return_mean"] == 15.0
    policies = load_policies(tmp_path / "x")
    assert play_episode(Told(clears=False), policies, seed=0).episode_return == 15.0


def test_an_endless_episode_is_cut_and_a_warning_says_so(tmp_path, caplog):
    team = team_of(Told, env_config={"length": 10**9})
    export_policies(team, tmp_path / "x")
    assert play_export(tmp_path / "x", 1, env=Told, max_steps=7)["num_episodes_cut"] == 1
    assert "did not end within" in caplog.text
    endless = Told(length=10**9)
    episode = play_episode(endless, load_policies(tmp_path / "x"), seed=0, max_steps=7)
    assert (episode.length, episode.is_cut) == (7, True)


@pytest.mark.parametrize(
    ("env", "settings"),
    [
        ("predator_prey", {"use_gru": True}),
        ("memory_game", {"use_gru": True}),
        ("skirmish", {}),
        ("simple_spread", {"parameter_sharing": "separate"}),
    ],
)
def test_play_reports_what_evaluation_reports(tmp_path, env, settings):
    team = team_of(env, **settings)
    records = team.play(7, policy="individual", explore=False, seed=5, num_envs=7)
    export_policies(team, tmp_path / "x")
    played = play_export(tmp_path / "x", 7, seed=5)
    expected = summarize(records, team.spec.agents)
    assert {name: played[name] for name in expected} == expected


def test_agents_of_an_export_draw_noise_of_their_own(plain):
    policies = load_policies(plain, verify=False)
    uniform = [policy for policy in policies.values()]
    for policy in uniform:
        with torch.no_grad():
            policy.network.head.weight.zero_()
    drawn = [[p.act(X, explore=True)[0] for _ in range(50)] for p in uniform]
    again = [p.act(X, explore=True)[0] for p in load_policies(plain).values() for _ in range(25)]
    assert drawn[0] != drawn[1]
    assert again  # another process or load draws other noise as well
    assert [p.generator.initial_seed() for p in uniform] != [
        p.generator.initial_seed() for p in load_policies(plain).values()
    ]


def test_weights_that_are_not_finite_are_not_exported(tmp_path):
    team = team_of(Told)
    with torch.no_grad():
        next(team.module.individual_policies.parameters())[0] = torch.nan
    with pytest.raises(ExportError, match="'a' has non-finite weights: training has diverged"):
        export_policies(team, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_an_environment_of_other_agents_is_refused(plain):
    def others(**config):
        return Told(names=("a", "c"))

    with pytest.raises((ExportError, EnvContractError), match=r"'c'"):
        play_export(plain, 1, env=others)


def test_what_an_environment_prints_does_not_mix_with_the_results(plain, capsys, monkeypatch):
    reset = Told.reset

    def loud(self, seed=None, options=None):
        print("hello")
        return reset(self, seed, options)

    monkeypatch.setattr(Told, "reset", loud)
    arguments = [str(plain), "--episodes", "1", "--env", f"{__name__}:Told"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["num_episodes"] == 1
