"""An export holds individual policies alone, acts like the checkpoint, and shows all damage."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_agentmixer import AgentMixerConfig
from rllib_agentmixer.envs.registry import env_name
from rllib_agentmixer.errors import ExportError
from rllib_agentmixer.export import export_policies
from rllib_agentmixer.export.spaces import describe_space
from rllib_agentmixer.rollouts.actor import pack_rows, reset_hidden, start
from rllib_agentmixer.runtime import (
    FORMAT_VERSION,
    MANIFEST,
    PARITY_TOLERANCE,
    load_policies,
    write_manifest,
)

pytestmark = pytest.mark.usefixtures("ray_cluster")


class Ragged(ParallelEnv):
    """Three agents that differ in observations and actions; one of them counts from 5."""

    metadata = {"name": "ragged", "render_modes": []}  # noqa: RUF012

    def __init__(self, with_masks=False, length=6):
        self.possible_agents = ["small", "large", "square"]
        self.agents = []
        self.length = length
        self.with_masks = with_masks
        boxes = {"small": (1,), "large": (5,), "square": (2, 2)}
        self.boxes = {n: spaces.Box(-9.0, 9.0, shape, np.float32) for n, shape in boxes.items()}
        self.choices = {
            "small": spaces.Discrete(2),
            "large": spaces.Discrete(6, start=5),
            "square": spaces.Discrete(3),
        }
        self.rng = np.random.default_rng(0)
        self.time = 0

    def observation_space(self, agent):
        if not self.with_masks:
            return self.boxes[agent]
        mask = spaces.Box(0, 1, (int(self.choices[agent].n),), np.int8)
        return spaces.Dict({"observation": self.boxes[agent], "action_mask": mask})

    def action_space(self, agent):
        return self.choices[agent]

    def observe(self):
        seen = {}
        for name in self.possible_agents:
            value = self.rng.uniform(-9, 9, self.boxes[name].shape).astype(np.float32)
            mask = (self.rng.random(self.choices[name].n) < 0.5).astype(np.int8)
            mask[self.rng.integers(len(mask))] = 1
            holds_mask = {"observation": value, "action_mask": mask}
            seen[name] = holds_mask if self.with_masks else value
        self.masks = {n: v["action_mask"] for n, v in seen.items()} if self.with_masks else {}
        return seen

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.time = 0
        return self.observe(), {name: {} for name in self.agents}

    def step(self, actions):
        for name, action in actions.items():
            assert self.choices[name].contains(action), (name, action)
            if self.with_masks:
                assert self.masks[name][int(action) - int(self.choices[name].start)], name
        self.time += 1
        is_over = self.time == self.length
        names = self.possible_agents
        if is_over:
            self.agents = []
        return (
            self.observe(),
            dict.fromkeys(names, float(self.rng.random() < 2)),
            dict.fromkeys(names, is_over),
            dict.fromkeys(names, False),
            {name: {} for name in names},
        )


def masked(config):
    return Ragged(with_masks=True)


CASES = {
    "plain": {"env": "predator_prey"},
    "gru": {"env": "predator_prey", "use_gru": True},
    "filter": {"env": "predator_prey", "observation_filter": "MeanStdFilter"},
    "shared": {"env": "predator_prey", "parameter_sharing": "shared"},
    "groups": {"env": Ragged, "parameter_sharing": [[0, 2], [1]]},
    "ragged": {"env": Ragged, "use_gru": True, "observation_filter": "MeanStdFilter"},
    "masked": {"env": masked},
    "continuous": {"env": "continuous_game", "env_config": {"dimensions": 2, "repeat": 4}},
    "continuous_gru": {"env": "continuous_game", "env_config": {"repeat": 4}, "use_gru": True},
    "robot": {
        "env": "halfcheetah_2x3",
        "env_config": {"max_steps": 20},
        "observation_filter": "MeanStdFilter",
    },
}


def make(env, env_config=None, observation_filter="NoFilter", **training):
    config = (
        AgentMixerConfig()
        .environment(env, env_config=env_config or {})
        .env_runners(num_envs_per_env_runner=4, observation_filter=observation_filter)
        # Large steps, so that modes depend on what agents see.
        .training(
            train_batch_size=64,
            num_epochs=3,
            lr=0.02,
            hidden_size=16,
            critic_hidden=(8,),
            **training,
        )
        .debugging(seed=3, log_sys_usage=False)
    )
    algorithm = config.build_algo()
    algorithm.train()
    return algorithm


@pytest.fixture(scope="module", params=CASES)
def exported(request, ray_cluster, tmp_path_factory):
    """(algorithm, folder of its export, manifest)."""
    if request.param == "robot":
        pytest.importorskip("gymnasium_robotics")
    algorithm = make(**CASES[request.param])
    folder = tmp_path_factory.mktemp(request.param) / "exported"
    yield algorithm, folder, export_policies(algorithm, folder)
    algorithm.stop()


@pytest.fixture(scope="module")
def plain(ray_cluster, tmp_path_factory):
    algorithm = make(**CASES["plain"])
    folder = tmp_path_factory.mktemp("plain_export") / "exported"
    export_policies(algorithm, folder)
    yield algorithm, folder
    algorithm.stop()


@pytest.fixture
def damaged(plain, tmp_path):
    """Copy of an export to damage."""
    return Path(shutil.copytree(plain[1], tmp_path / "exported"))


def rewrite(folder, change):
    """Change a manifest in place."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    write_manifest(folder, manifest)


# What is written.


def test_the_manifest_says_what_was_exported_and_from_what(exported):
    algorithm, folder, manifest = exported
    assert json.loads((folder / MANIFEST).read_text()) == manifest
    assert manifest["format_version"] == FORMAT_VERSION
    assert manifest["algorithm"] == "AgentMixer"
    assert manifest["env_steps"] == 64
    assert manifest["environment"]["name"] == env_name(algorithm.config.env)
    assert manifest["environment"]["config"] == algorithm.config.env_config
    assert manifest["environment"]["team_reward"] == "shared"
    assert manifest["versions"].keys() >= {"rllib_agentmixer", "ray", "torch", "python"}
    spec = algorithm.team_spec
    assert [entry["name"] for entry in manifest["agents"]] == list(spec.agents)
    assert tuple(entry["obs_size"] for entry in manifest["agents"]) == spec.obs_sizes
    assert tuple(entry["action_size"] for entry in manifest["agents"]) == spec.action_sizes
    assert manifest["parity"]["max_difference"] <= PARITY_TOLERANCE


def test_nothing_is_pickled_and_nothing_but_individual_policies_is_written(exported):
    _, folder, manifest = exported
    weights = {entry["weights"] for entry in manifest["agents"]}
    assert {path.name for path in folder.iterdir()} == {MANIFEST, *weights}
    for path in folder.iterdir():
        content = path.read_bytes()
        # Pickle protocols 2 to 5 open with this; torch.save writes a zip archive.
        assert not content.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK"))
        assert b"policy_modifier" not in content
        assert b"critic" not in content


def test_loaded_policies_decide_like_the_checkpoint_over_whole_episodes(exported):
    algorithm, folder, _ = exported
    policies = list(load_policies(folder).values())
    worker = algorithm.team_worker
    env = worker.team_env_creator.vector(worker.env_context, 1)
    actor = algorithm.team.actor(torch.Generator().manual_seed(0))
    spec, rollout = algorithm.team_spec, start(actor, env, seed=7)
    states = [policy.initial_state() for policy in policies]
    num_ended = 0
    for _ in range(300):
        raw = rollout.observation
        observations, masks = raw.obs[0].copy(), raw.action_mask[0].copy()
        rows = pack_rows(actor.layout, raw)
        rows = worker.team_filter(rows) if worker.team_filter else rows
        choice = actor.act(rows, rollout.hidden, explore=False, policy="individual")
        heads = choice.parameters[0][: spec.num_agents * spec.num_actions]
        for index, policy in enumerate(policies):
            size = spec.action_sizes[index]
            own = observations[index, : spec.obs_sizes[index]]
            mask = masks[index, :size]
            head, after = policy.head(own, states[index], mask)
            expected = heads.reshape(spec.num_agents, -1)[index, :size]
            assert head.numpy() == pytest.approx(expected, abs=1e-5)
            action, states[index] = policy.act(own, states[index], mask)
            if after is not None:
                assert after.equal(states[index])
            if spec.action_kind == "discrete":
                start_of = policy.preprocessing.action_start
                assert action - start_of == choice.actions[0, index]
            else:
                to_env = actor.to_env(choice.actions)[0, index]
                assert np.ravel(action) == pytest.approx(to_env, abs=1e-5)
        step = env.step(actor.to_env(choice.actions))
        ended = step.terminated | step.truncated
        if ended[0]:
            num_ended += 1
            states = [policy.initial_state() for policy in policies]
        rollout.observation, rollout.hidden = (
            step.observation,
            reset_hidden(choice.hidden, ended, actor.layout.alive(rows)),
        )
    assert num_ended >= 2


def test_policies_of_ragged_teams_play_in_the_environment_itself(tmp_path):
    for case in ("groups", "masked"):
        algorithm = make(**CASES[case])
        export_policies(algorithm, tmp_path / case)
        algorithm.stop()
        policies = load_policies(tmp_path / case)
        env = Ragged(with_masks=case == "masked")
        for seed, explore in ((0, False), (1, True)):
            observations, _ = env.reset(seed=seed)
            while env.agents:  # the environment asserts that actions are legal
                actions = {
                    name: policies[name].act(observations[name], explore=explore)[0]
                    for name in env.agents
                }
                observations, *_ = env.step(actions)


def test_exporting_again_replaces_the_export(plain, tmp_path):
    algorithm, _ = plain
    for _ in range(2):
        export_policies(algorithm, tmp_path / "exported")
    assert set(load_policies(tmp_path / "exported")) == {"predator_0", "predator_1"}
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


# What is refused.


def test_a_folder_with_other_files_is_left_alone(plain, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="holds other files"):
        export_policies(plain[0], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_an_export_error(plain, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="choose a folder that is writable"):
        export_policies(plain[0], tmp_path / "file" / "exported")
    with pytest.raises(ExportError, match="is a file; name an empty or new folder"):
        export_policies(plain[0], tmp_path / "file")


def test_an_export_that_acts_otherwise_is_never_left_behind(plain, tmp_path, monkeypatch):
    from rllib_agentmixer.export import policies as export

    honest = export.single_policy

    def altered(policies, agent, sharing):
        single = honest(policies, agent, sharing)
        with torch.no_grad():
            single.agent_embedding.add_(torch.arange(16.0))
        return single

    monkeypatch.setattr(export, "single_policy", altered)
    with pytest.raises(ExportError, match="predator_0: example 0 gives"):
        export_policies(plain[0], tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_every_flipped_byte_of_the_weights_is_noticed(damaged):
    for path in sorted(damaged.glob("*.safetensors")):
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            changed = bytearray(whole)
            changed[place] ^= 1
            path.write_bytes(changed)
            with pytest.raises(ExportError, match=f"{path.name} is damaged: sha256"):
                load_policies(damaged)
        path.write_bytes(whole)
    load_policies(damaged)


def test_a_missing_file_is_named(damaged):
    (damaged / "agent_1.safetensors").unlink()
    with pytest.raises(ExportError, match=r"agent_1\.safetensors is missing"):
        load_policies(damaged)
    (damaged / MANIFEST).unlink()
    with pytest.raises(ExportError, match="is not an export"):
        load_policies(damaged)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_manifest_is_refused(damaged, share):
    text = (damaged / MANIFEST).read_text()
    (damaged / MANIFEST).write_text(text[: int(share * len(text))])
    with pytest.raises(ExportError, match="is damaged"):
        load_policies(damaged)


def test_a_manifest_that_is_not_text_is_refused(damaged):
    whole = (damaged / MANIFEST).read_bytes()
    (damaged / MANIFEST).write_bytes(b"\xff" + whole[1:])
    with pytest.raises(ExportError, match="is damaged"):
        load_policies(damaged)


CHANGES = {
    "another format": (
        lambda m: m.update(format_version=3),
        "has format 3, this version reads 1 and 2",
    ),
    "no agents": (lambda m: m.pop("agents"), "is damaged"),
    "agents of a wrong kind": (lambda m: m.update(agents=3), "is damaged"),
    "an entry without weights": (lambda m: m["agents"][0].pop("weights"), "is damaged"),
    "another width": (lambda m: m["network"].update(hidden_size=8), "is damaged"),
    "an unknown setting": (lambda m: m["network"].update(hiden_size=8), "is damaged"),
    "another size": (lambda m: m["agents"][0].update(obs_size=3), "is damaged"),
    "an unknown kind": (lambda m: m["agents"][0].update(action_kind="fuzzy"), "example|damaged"),
    "a parent folder": (lambda m: m["agents"][0].update(weights="../x"), "must be a plain name"),
    "an absolute path": (lambda m: m["agents"][0].update(weights="/x"), "must be a plain name"),
    "other examples": (lambda m: m["agents"][1]["fixture"]["head"][3].reverse(), "example 3 gives"),
    "a short example": (lambda m: m["agents"][1]["fixture"]["obs"][3].pop(), "does not fit"),
    "another offset": (
        lambda m: m["agents"][0]["preprocessing"].update(action_start=1),
        r"example 0 gives the action \d, in training the environment got \d",
    ),
    "no examples": (
        lambda m: m["agents"][0]["fixture"].update(obs=[], alive=[]),
        "no examples, so nothing is proven",
    ),
    "two agents of one name": (
        lambda m: m["agents"][1].update(name="predator_0"),
        "agents must be named, each once",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_manifest_that_was_tampered_with_is_refused(damaged, change):
    alter, words = CHANGES[change]
    rewrite(damaged, alter)
    with pytest.raises(ExportError, match=words):
        load_policies(damaged)


def test_a_manifest_that_was_altered_is_refused_before_it_is_read(damaged):
    path = damaged / MANIFEST
    path.write_text(path.read_text().replace('"action_start": 0', '"action_start": 1', 1))
    with pytest.raises(ExportError, match="was altered after it was written"):
        load_policies(damaged)


def test_spaces_are_described_in_words_that_json_can_hold():
    space = spaces.Dict(
        {
            "observation": spaces.Box(-np.inf, 2.0, (2,), np.float32),
            "action_mask": spaces.MultiBinary(3),
        }
    )
    described = json.loads(json.dumps(describe_space(space), allow_nan=False))
    assert described["spaces"]["observation"]["low"] == [None, None]
    assert described["spaces"]["observation"]["high"] == [2.0, 2.0]
    assert described["spaces"]["action_mask"]["type"] == "MultiBinary"
    assert describe_space(spaces.Discrete(3, start=2)) == {"type": "Discrete", "n": 3, "start": 2}
