"""Checkpoints of any origin are played and exported without opening a pickle."""

import json
import pickle
import resource
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from algorithms_test_helpers import make_decisive, tiny

from rllib_agentmixer import AgentMixer, HAPPOConfig, IPPOConfig, MAPPOConfig, VDNConfig, cli
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.errors import CheckpointError, ConfigError, ExportError
from rllib_agentmixer.export import export_policies
from rllib_agentmixer.rollouts.evaluation import summarize
from rllib_agentmixer.rollouts.saved_team import (
    FOLDER,
    RLLIB_SETTINGS,
    SETTINGS,
    WEIGHTS,
    load_team,
    save_team,
)
from rllib_agentmixer.utils.manifests import MANIFEST, write_manifest

CASES = {
    "plain": {},
    "gru": {"use_gru": True},
    "continuous": {"env": "continuous_game"},
    "gumbel": {"igc": "gumbel", "temperature": [[0, 1.0], [100, 5.0]]},
    "autoregressive": {"correlation": "autoregressive", "agent_order": "random"},
    "shared": {"parameter_sharing": "shared", "critic_hidden": (8, 4)},
    "groups": {"parameter_sharing": [[0], [1]], "modifier_lr": [[0, 1e-3], [50, 1e-4]]},
    "a2c": {"learner": "a2c", "train_batch_size": 64, "minibatch_size": None},
    "mappo": {"config_class": MAPPOConfig},
    "ippo": {"config_class": IPPOConfig, "use_gru": True, "individual_rewards": True},
    "happo": {"config_class": HAPPOConfig},
    "vdn": {"config_class": VDNConfig},
}


def config_of(case):
    config = tiny(**{"env": "predator_prey", **CASES[case]})
    if config.env == "predator_prey":
        config.environment("predator_prey", env_config={"max_steps": 9, "penalty": -2.0})
    if case in ("gru", "continuous", "mappo"):
        config.env_runners(observation_filter="MeanStdFilter")
    if case == "continuous":
        config.environment(normalize_actions=False, clip_actions=True)
    return config


def played(player, agents, **settings):
    """Results of a team, or of a worker that plays evaluation episodes."""
    play = getattr(player, "play_episodes", None) or player.play
    records = play(12, **{"policy": "joint", "explore": True, "seed": 5, "num_envs": 4} | settings)
    return summarize(records, agents)


@pytest.mark.parametrize("case", CASES)
def test_what_is_loaded_plays_as_what_was_saved(build, tmp_path, case):
    algorithm = build(config_of(case))
    algorithm.train()
    if case not in ("mappo", "ippo", "happo", "vdn"):
        make_decisive(algorithm)
    algorithm.save_checkpoint(str(tmp_path / "saved"))
    loaded, agents = load_team(tmp_path / "saved"), algorithm.team_spec.agents
    for settings in ({}, {"policy": "individual", "explore": False}):
        expected = played(algorithm.team_worker, agents, **settings)
        assert played(loaded, agents, **settings) == expected
        assert played(algorithm.team, agents, **settings) == expected
    assert loaded.env_steps == algorithm.num_env_steps
    assert loaded.stamp == algorithm.team.stamp
    assert loaded.entry is algorithm.config.entry
    assert loaded.settings == algorithm.config.hyperparameters()


def test_rllibs_settings_that_decide_how_a_team_plays_are_kept(build, tmp_path):
    values = {
        "observation_filter": "MeanStdFilter",
        "normalize_actions": False,
        "clip_actions": True,
        "step_time_limit_s": 7.0,
        "evaluation_max_steps": 77,
        "seed": 11,
    }
    assert values.keys() == set(RLLIB_SETTINGS)
    config = tiny(env="continuous_game", critic_hidden=(8, 4))
    for name, value in values.items():
        setattr(config, name, value)
    build(config).save_checkpoint(str(tmp_path / "saved"))
    loaded = load_team(tmp_path / "saved")
    assert loaded.rllib == values
    assert loaded.settings.critic_hidden == (8, 4)
    assert loaded.env_creator.step_time_limit_s == 7.0
    assert loaded.max_episode_steps == 77
    assert loaded.obs_filter is not None
    assert (loaded.scaling.scale == 1).all()  # actions are not normalised


@pytest.fixture(scope="module")
def saved(ray_cluster, tmp_path_factory):
    algorithm = tiny(env_config={"max_steps": 9}).build_algo()
    algorithm.train()
    folder = tmp_path_factory.mktemp("inference") / "saved"
    algorithm.save_checkpoint(str(folder))
    algorithm.stop()
    return folder


@pytest.fixture
def checkpoint(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "checkpoint"))


def sealed(folder):
    """Matching manifest: anyone who alters a checkpoint can write one as well."""
    stamp = json.loads((folder / MANIFEST).read_text())["stamp"]
    write_manifest(folder, stamp)
    return folder


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


def call(*arguments):
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        return leaving.code
    return 0


def test_evaluate_and_export_open_no_pickle_of_a_checkpoint(checkpoint, tmp_path, capsys):
    flag = tmp_path / "exploded"
    pickles = list(checkpoint.rglob("*.pkl"))
    assert len(pickles) == 2
    for path in pickles:
        path.write_bytes(pickle.dumps(Bomb(flag)))
    sealed(checkpoint)
    assert call("evaluate", checkpoint, "--episodes", 2, "--json") == 0
    assert call("export", checkpoint, "--out", tmp_path / "exported") == 0
    assert not flag.exists()
    # RLlib's own restore does run it: that is why it is for checkpoints of one's own.
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever comes after the explosion
        AgentMixer.from_checkpoint(checkpoint)
    assert flag.exists()


@pytest.fixture
def foreign(checkpoint):
    """Checkpoint that names the system's shell as its environment."""
    path = checkpoint / FOLDER / SETTINGS
    content = json.loads(path.read_text())
    flag = checkpoint.parent / "called"
    content["environment"] |= {"name": "os:system", "config": {"command": f"touch {flag}"}}
    path.write_text(json.dumps(content))
    return sealed(checkpoint), flag


def test_a_checkpoint_does_not_choose_which_code_is_called(foreign, capsys, tmp_path):
    folder, flag = foreign
    for arguments in (("evaluate", folder), ("export", folder, "--out", tmp_path / "exported")):
        assert call(*arguments) == 2
        assert "name it yourself: --env os:system" in capsys.readouterr().err
        assert not flag.exists()
    with pytest.raises(ConfigError, match="name it yourself: --env os:system"):
        load_team(folder)


def test_an_environment_that_is_named_is_played_in(foreign):
    folder, flag = foreign
    path = folder / FOLDER / SETTINGS
    content = json.loads(path.read_text())
    content["environment"]["config"] = {"max_steps": 4}
    path.write_text(json.dumps(content))
    team = load_team(sealed(folder), "predator_prey")
    assert played(team, team.spec.agents)["episode_len_mean"] <= 4
    assert team.stamp["name"] == "predator_prey"
    assert not flag.exists()


def test_networks_of_another_team_are_refused(checkpoint):
    path = checkpoint / FOLDER / SETTINGS
    content = json.loads(path.read_text())
    content["environment"] |= {"name": "climbing", "config": {}}
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"cannot play in 'climbing': .*predator_0"):
        load_team(sealed(checkpoint))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"format_version": 9}, "has format 9"),
        (lambda c: c | {"algorithm": "dqn"}, "of algorithm 'dqn'"),
        (lambda c: [c], "cannot be read"),
        (lambda c: {k: v for k, v in c.items() if k != "settings"}, r"\(settings missing"),
        (lambda c: c | {"environment": "climbing"}, "cannot be read"),
        (lambda c: c | {"environment": {"name": ["climbing"], "config": {}}}, "cannot be read"),
    ],
)
def test_settings_that_cannot_be_read_are_told(checkpoint, change, message):
    path = checkpoint / FOLDER / SETTINGS
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(CheckpointError, match=message):
        load_team(sealed(checkpoint))


def test_settings_outside_the_list_are_not_taken(checkpoint):
    path = checkpoint / FOLDER / SETTINGS
    content = json.loads(path.read_text())
    content["settings"] |= {"env_runner_cls": "x", "num_env_runners": 7, "output": "/tmp/x"}
    path.write_text(json.dumps(content))
    team = load_team(sealed(checkpoint))
    assert team.rllib.keys() == set(RLLIB_SETTINGS)
    assert team.settings.names() == team.entry.settings.names()


def test_the_inference_part_of_an_earlier_version_is_played_and_exported(checkpoint, tmp_path):
    path = checkpoint / FOLDER / SETTINGS
    content = json.loads(path.read_text())
    earlier = {"format_version": 1, "max_seq_len": 20, "iteration": 1}
    content["settings"] |= {"evaluation_duration": 32}
    del content["settings"]["individual_rewards"]  # a setting that has come since
    path.write_text(json.dumps(content | earlier))
    team = load_team(sealed(checkpoint))
    assert team.settings.individual_rewards is False
    assert export_policies(team, tmp_path / "exported")["parity"]["modes_equal"]


def test_a_checkpoint_without_an_inference_part_is_told(checkpoint):
    shutil.rmtree(checkpoint / FOLDER)
    with pytest.raises(CheckpointError, match=r"written by an earlier version.*from_checkpoint"):
        load_team(sealed(checkpoint))


def test_damaged_weights_are_refused(checkpoint):
    path = checkpoint / FOLDER / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="is damaged: sha256"):
        load_team(checkpoint)


@contextmanager
def files_of_at_most(size):
    """Longer files cannot be written, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_weights_that_do_not_fit_on_the_disk_are_an_error_of_the_disk(build, tmp_path):
    algorithm = build(tiny())
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        save_team(tmp_path, algorithm.team)
    (tmp_path / "export").mkdir()
    with files_of_at_most(1000), pytest.raises(ExportError, match="could not write the export"):
        export_policies(algorithm, tmp_path / "export")


def test_every_algorithm_is_among_the_cases():
    kinds = {CASES[case].get("config_class") for case in CASES}
    assert len(kinds) == len(ALGORITHMS)
