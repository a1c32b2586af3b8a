"""The folder of a run: one training at a time, and nobody else's files."""

import multiprocessing
import os
import signal

import pytest

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.runs.run_folder import LOCK, WRITTEN, claimed


def hold(folder, is_held):
    with claimed(folder, resume=True):
        (folder / "config.json").write_text("{}")
        is_held.set()
        signal.pause()


@pytest.fixture
def held(tmp_path):
    """A folder that another process trains in, and that process."""
    context = multiprocessing.get_context("spawn")
    is_held = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "run", is_held), daemon=True)
    process.start()
    assert is_held.wait(60)
    yield tmp_path / "run", process
    process.kill()
    process.join()


def test_a_second_training_is_refused_and_a_dead_ones_folder_taken_over(held, caplog):
    folder, process = held
    with (
        pytest.raises(ConfigError, match=f"under way in .*run .process {process.pid} on"),
        claimed(folder, resume=True),
    ):
        pass
    assert str(process.pid) in (folder / LOCK).read_text()  # the owner's note is untouched
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with claimed(folder, resume=True):
        assert f"process that was killed (process {process.pid} on" in caplog.text
        assert str(os.getpid()) in (folder / LOCK).read_text()


def test_a_folder_that_was_left_properly_is_nobodys(tmp_path, caplog):
    for _ in range(2):
        with claimed(tmp_path / "run", resume=False):
            (tmp_path / "run" / "config.json").write_text("{}")
        assert (tmp_path / "run" / LOCK).read_text() == ""
    assert not caplog.text


@pytest.mark.parametrize("name", WRITTEN)
def test_files_of_something_else_are_not_overwritten(tmp_path, name):
    (tmp_path / name).mkdir()
    with (
        pytest.raises(ConfigError, match=f"holds {name} of something else"),
        claimed(tmp_path, resume=False),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_with_other_files_can_be_trained_in(tmp_path):
    (tmp_path / "train.log").write_text("redirected")
    with claimed(tmp_path, resume=False):
        assert (tmp_path / LOCK).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["train.log"]


def test_a_training_that_writes_nothing_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), claimed(tmp_path / "a" / "run", resume=False):
        raise RuntimeError
    assert not (tmp_path / "a" / "run").exists()


@pytest.mark.parametrize("name", ["file/run", "n" * 300])
def test_a_folder_that_cannot_be_made_is_named(tmp_path, name):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match=r"cannot write to .*choose another --out"),
        claimed(tmp_path / name, resume=False),
    ):
        pass
