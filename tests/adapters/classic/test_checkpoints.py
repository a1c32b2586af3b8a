"""A checkpoint is whole or rejected, and saving never damages the previous one."""

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from algorithms_test_helpers import counter, differences, tiny, weights_of

from rllib_agentmixer import AgentMixer
from rllib_agentmixer.errors import CheckpointError, user_error
from rllib_agentmixer.rollouts.saved_team import load_team
from rllib_agentmixer.utils import manifests
from rllib_agentmixer.utils.manifests import MANIFEST, verify


@pytest.fixture(scope="module")
def saved(ray_cluster, tmp_path_factory):
    """An algorithm after an iteration, and the folder it was saved to."""
    algorithm = tiny(counter).build_algo()
    algorithm.train()
    folder = tmp_path_factory.mktemp("saved") / "checkpoint"
    algorithm.save(str(folder))
    yield algorithm, folder
    algorithm.stop()


@pytest.fixture
def checkpoint(saved, tmp_path):
    """Copy of the checkpoint to damage."""
    return Path(shutil.copytree(saved[1], tmp_path / "checkpoint"))


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_file_of_a_checkpoint_is_listed_with_its_sum(saved):
    _, folder = saved
    manifest = json.loads((folder / MANIFEST).read_text())
    listed = {folder / name for name in manifest["files"]}
    # Tune may add files of its own beside those that the algorithm wrote.
    assert {path.name for path in listed} >= {"algorithm_state.pkl", "policy_state.pkl"}
    assert listed == {path for path in files_of(folder) if path.name != MANIFEST}


def test_one_flipped_byte_in_any_file_is_refused_by_name(saved, checkpoint):
    algorithm, _ = saved
    for path in files_of(checkpoint):
        if path.name == MANIFEST:
            continue
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        for load in (AgentMixer.from_checkpoint, load_team, algorithm.load_checkpoint):
            with pytest.raises(CheckpointError, match="is damaged: sha256") as raised:
                load(checkpoint)
            assert str(path) in str(raised.value)
        path.write_bytes(whole)
    verify(checkpoint)


def test_a_missing_file_is_refused_by_name(checkpoint):
    for path in files_of(checkpoint):
        if path.name == MANIFEST:
            continue
        whole = path.read_bytes()
        path.unlink()
        with pytest.raises(CheckpointError, match="is missing from its checkpoint") as raised:
            verify(checkpoint)
        assert str(path) in str(raised.value)
        path.write_bytes(whole)


def test_a_folder_without_manifest_is_no_checkpoint(checkpoint):
    (checkpoint / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="holds no checkpoint of this package"):
        AgentMixer.from_checkpoint(str(checkpoint))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": {}}', '{"files": 3, "stamp": {}}'])
def test_a_damaged_manifest_is_refused(checkpoint, text):
    (checkpoint / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match=f"{MANIFEST} is damaged"):
        verify(checkpoint)


def with_format(checkpoint, version):
    content = json.loads((checkpoint / MANIFEST).read_text())
    (checkpoint / MANIFEST).write_text(json.dumps(content | {"format_version": version}))


def test_a_later_format_is_refused_with_all_versions(checkpoint):
    with_format(checkpoint, 3)
    with pytest.raises(CheckpointError, match="has checkpoint format 3, this version reads 1 and"):
        verify(checkpoint)


def test_an_earlier_format_plays_but_does_not_resume(saved, checkpoint):
    algorithm, _ = saved
    with_format(checkpoint, 1)
    for load in (AgentMixer.from_checkpoint, algorithm.load_checkpoint):
        with pytest.raises(CheckpointError, match=r"can be evaluated and exported .* resumed"):
            load(checkpoint)
    team = load_team(checkpoint, env=counter)
    mine, theirs = team.module.state_dict(), algorithm.team.module.state_dict()
    assert all(mine[name].equal(theirs[name]) for name in theirs)


def test_a_checkpoint_of_another_environment_is_refused(build, checkpoint):
    other = build(env="climbing")
    before = weights_of(other)
    with pytest.raises(Exception, match="belongs to another set-up: its environment") as raised:
        other.restore(str(checkpoint))
    assert isinstance(user_error(raised.value), CheckpointError)
    assert differences(weights_of(other), before) == []


def test_a_checkpoint_of_another_team_is_refused(build, tmp_path):
    path = build(env="predator_prey").save(str(tmp_path / "two")).checkpoint.path
    four = build(env="predator_prey", env_config={"grid": 7, "num_predators": 4, "num_prey": 2})
    with pytest.raises(Exception, match="its agents is"):
        four.restore(path)


def test_a_moved_checkpoint_restores(saved, keep, tmp_path):
    algorithm, folder = saved
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(folder, tmp_path / "checkpoint")
    moved.parent.mkdir()
    (tmp_path / "checkpoint").rename(moved)
    restored = keep(AgentMixer.from_checkpoint(str(moved)))
    assert differences(weights_of(algorithm), weights_of(restored)) == []
    loaded = load_team(moved, env=counter).module.state_dict()
    for name, weight in algorithm.team.module.state_dict().items():
        assert torch.equal(loaded[name], weight)


def test_no_file_of_a_checkpoint_names_the_folder_it_was_written_in(saved):
    _, folder = saved
    for path in files_of(folder):
        if path.suffix == ".json":
            assert str(folder.parent) not in path.read_text()


def test_a_path_relative_to_the_working_folder_restores(saved, keep, monkeypatch):
    algorithm, folder = saved
    monkeypatch.chdir(folder.parent)
    restored = keep(AgentMixer.from_checkpoint("checkpoint"))
    old, new = (weights_of(a) for a in (algorithm, restored))
    assert differences(old, new) == []


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "place", ["write_manifest", "_make_relocatable", "os.fsync", "Path.rename"]
)
def test_a_full_disk_leaves_the_earlier_checkpoint_as_it_was(build, keep, tmp_path, place):
    algorithm = build(env=counter)
    target = tmp_path / "runs" / "checkpoint"
    algorithm.save(str(target))
    before = {path: path.read_bytes() for path in files_of(target)}
    weights = weights_of(algorithm)
    algorithm.train()
    with pytest.MonkeyPatch.context() as patch:
        places = {
            "write_manifest": (manifests, "write_manifest"),
            "_make_relocatable": (AgentMixer, "_make_relocatable"),
            "os.fsync": ("rllib_agentmixer.utils.files.os.fsync", None),
            "Path.rename": (Path, "rename"),
        }
        owner, name = places[place]
        patch.setattr(owner, name, full_disk) if name else patch.setattr(owner, full_disk)
        with pytest.raises(CheckpointError, match=r"No space left.*Earlier checkpoints are"):
            algorithm.save_checkpoint(str(target))
    assert {path: path.read_bytes() for path in files_of(target)} == before
    assert [path.name for path in target.parent.iterdir()] == ["checkpoint"]
    restored = keep(AgentMixer.from_checkpoint(str(target)))
    assert differences(weights_of(restored), weights) == []
    # Training can continue, and the next save succeeds.
    algorithm.train()
    algorithm.save(str(target))
    verify(target)


def test_saving_again_replaces_the_checkpoint_and_leaves_nothing_beside_it(build, tmp_path):
    algorithm = build(env=counter)
    target = tmp_path / "runs" / "checkpoint"
    for _ in range(2):
        algorithm.train()
        algorithm.save(str(target))
    verify(target)
    assert [path.name for path in target.parent.iterdir()] == ["checkpoint"]


def test_a_team_is_loaded_without_the_workers_of_the_training_run(build, tmp_path):
    config = tiny(counter).env_runners(num_env_runners=1)
    config.evaluation(evaluation_interval=1, evaluation_num_env_runners=1)
    algorithm = build(config)
    path = algorithm.save(str(tmp_path / "checkpoint")).checkpoint.path
    team = load_team(Path(path), env=counter)
    records = team.play(4, policy="joint", explore=False, seed=0, num_envs=2)
    assert len(records) == 4
