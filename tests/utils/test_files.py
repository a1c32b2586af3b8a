"""Folders appear whole or not at all, and nothing temporary stays behind."""

import errno
import os
from pathlib import Path

import pytest

from rllib_agentmixer.utils.files import (
    checksum,
    recover_interrupted,
    replaced_atomically,
    write_atomically,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(target, text):
    with replaced_atomically(target) as folder:
        (folder / "file").write_text(text)


def test_a_new_folder_appears_with_its_parents(tmp_path):
    target = tmp_path / "a" / "b"
    with replaced_atomically(target) as folder:
        (folder / "file").write_text("new")
        assert not target.exists()
        assert folder.parent == target.parent  # one rename, within a file system
    assert (target / "file").read_text() == "new"
    assert names(target.parent) == ["b"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_an_old_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old file").write_text("old")
    write(target, "new")
    assert names(target) == ["file"]
    assert names(tmp_path) == ["target"]


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "")]
)
def test_a_failure_leaves_the_old_folder_alone(tmp_path, error):
    target = tmp_path / "target"
    write(target, "old")
    with pytest.raises(type(error)), replaced_atomically(target) as folder:  # noqa: PT012
        (folder / "file").write_text("half")
        raise error
    assert (target / "file").read_text() == "old"
    assert names(tmp_path) == ["target"]


def test_a_failure_without_an_old_folder_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="no"), replaced_atomically(tmp_path / "target"):
        raise ValueError("no")
    assert names(tmp_path) == []


def test_a_swap_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "target"
    write(target, "old")

    def refuse(self, other):
        raise OSError(errno.EXDEV, "cannot move")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="cannot move"):
        write(target, "new")
    assert (target / "file").read_text() == "old"
    assert names(tmp_path) == ["target"]


def test_every_file_reaches_the_disk_before_the_swap(tmp_path, monkeypatch):
    synced = []
    honest = os.fsync

    def sync(descriptor):
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        assert not (tmp_path / "target").exists()
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    with replaced_atomically(tmp_path / "target") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("text")
    assert {"inner", "file"} < set(synced)


def test_a_relative_target_stays_where_it_was_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    with replaced_atomically(Path("target")):
        monkeypatch.chdir(tmp_path / "other")
    assert names(tmp_path) == ["other", "target"]


def test_the_checksum_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert checksum(tmp_path / "abc") == expected


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    target = tmp_path / "checkpoint"
    write(target, "old")

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    # A killed process runs no clean-up either.
    monkeypatch.setattr(Path, "rename", die)
    monkeypatch.setattr("rllib_agentmixer.utils.files.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(Killed):
        write(target, "new")
    monkeypatch.undo()
    assert not target.exists()
    recover_interrupted(target)
    assert (target / "file").read_text() == "old"
    assert not [name for name in names(tmp_path) if "-old-" in name]
    recover_interrupted(target)
    assert (target / "file").read_text() == "old"


def test_the_next_save_begins_with_what_was_left_aside(tmp_path):
    aside = tmp_path / ".checkpoint-old-x1" / "checkpoint"
    aside.mkdir(parents=True)
    (aside / "file").write_text("old")
    target = tmp_path / "checkpoint"
    with pytest.raises(OSError, match="full"), replaced_atomically(target):
        raise OSError("full")
    assert (target / "file").read_text() == "old"


def test_a_text_file_is_replaced_and_others_may_read_it(tmp_path):
    target = tmp_path / "folder" / "file"
    for text in ("old", "new"):
        write_atomically(target, text)
        assert target.read_text() == text
    assert target.stat().st_mode & 0o777 == 0o644
    assert names(target.parent) == ["file"]


def test_a_text_reaches_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    target = tmp_path / "file"
    sizes = []

    def sync(descriptor):
        sizes.append(os.fstat(descriptor).st_size)
        assert not target.exists()

    monkeypatch.setattr(os, "fsync", sync)
    write_atomically(target, "text")
    assert sizes == [4]


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "file"
    write_atomically(target, "old")

    def refuse(descriptor):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="full"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file"]
