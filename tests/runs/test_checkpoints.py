"""The newest checkpoints and the best one are kept; a killed process leaves none incomplete."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from rllib_agentmixer.errors import CheckpointError, ConfigError
from rllib_agentmixer.runs.checkpoints import BestCheckpoint, RunCheckpoints, find_checkpoint
from rllib_agentmixer.utils.manifests import MANIFEST, verify, write_manifest

METRIC = "evaluation/individual/episode_return_mean"


def fake(iteration):
    def save_checkpoint(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "weights").write_text(str(iteration))
        write_manifest(Path(folder), {})

    return SimpleNamespace(
        iteration=iteration, num_env_steps=10 * iteration, save_checkpoint=save_checkpoint
    )


def names(store):
    return [path.name for path in store.all]


@pytest.fixture
def filled(tmp_path):
    """Ten iterations, the fourth of them the best."""
    store = RunCheckpoints(tmp_path, keep_checkpoints_num=2)
    for iteration in range(1, 11):
        store.save(fake(iteration), METRIC, 5.0 if iteration == 4 else 1.0)
    return store


def test_the_newest_and_the_best_stay(filled):
    assert names(filled) == ["iteration_000004", "iteration_000009", "iteration_000010"]
    assert filled.best == BestCheckpoint("iteration_000004", METRIC, 5.0, 40)
    assert filled.newest.name == "iteration_000010"
    assert sorted(p.name for p in filled.folder.iterdir()) == ["best.json", *names(filled)]


def test_a_better_value_frees_the_best_before_it(filled):
    filled.save(fake(11), METRIC, 6.0)
    assert names(filled) == ["iteration_000010", "iteration_000011"]
    assert filled.best.name == "iteration_000011"


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 5.0, 4.0])
def test_only_a_higher_value_is_an_improvement(filled, value):
    assert not filled.is_improvement(METRIC, value)
    filled.save(fake(11), METRIC, value)
    assert filled.best.name == "iteration_000004"


def test_values_of_another_metric_are_not_compared(filled):
    assert filled.is_improvement("another", -100.0)


def test_without_a_limit_all_stay(tmp_path):
    store = RunCheckpoints(tmp_path)
    for iteration in (2, 10, 999_999, 1_000_000):
        store.save(fake(iteration))
    assert names(store)[-1] == "iteration_1000000"
    assert len(names(store)) == 4
    assert store.best is None


def test_at_least_one_must_stay(tmp_path):
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        RunCheckpoints(tmp_path, 0)


def test_a_best_that_names_another_place_is_not_followed(filled):
    entry = {"name": "../elsewhere", "metric": METRIC, "value": 9.0, "env_steps": 1}
    (filled.folder / "best.json").write_text(json.dumps(entry))
    (filled.folder.parent / "elsewhere").mkdir()
    (filled.folder.parent / "elsewhere" / MANIFEST).write_text("{}")
    assert filled.best is None


@pytest.mark.parametrize("text", ["{", "[]", '{"name": 3}', '{"other": 1}'])
def test_a_best_that_cannot_be_read_is_none_and_is_written_anew(filled, text):
    (filled.folder / "best.json").write_text(text)
    assert filled.best is None
    filled.save(fake(11), METRIC, 0.5)
    assert filled.best.name == "iteration_000011"


def test_a_best_that_is_gone_is_none(filled):
    shutil.rmtree(filled.folder / "iteration_000004")
    assert filled.best is None
    assert filled.is_improvement(METRIC, 0.5)


def test_a_note_of_the_best_that_cannot_be_written_is_an_error_of_checkpoints(tmp_path):
    store = RunCheckpoints(tmp_path)
    (store.folder / "best.json").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"cannot write .*best.json"):
        store.save(fake(1), METRIC, 1.0)


# Damage.


def damage(path):
    (path / "weights").write_text("changed")


def test_damage_is_an_error_that_says_how_to_go_on(filled):
    damage(filled.newest)
    with pytest.raises(CheckpointError, match=r"000010.*is damaged.*--fall-back") as raised:
        filled.newest_good(fall_back=False)
    assert "weights" in str(raised.value)
    assert names(filled)[-1] == "iteration_000010"


def test_falling_back_takes_the_last_good_one_and_sets_the_damaged_aside(filled):
    damage(filled.newest)
    assert filled.newest_good(fall_back=True).name == "iteration_000009"
    assert (filled.folder / "iteration_000010.damaged").is_dir()
    assert names(filled) == ["iteration_000004", "iteration_000009"]
    filled.remove_leftovers()
    assert (filled.folder / "iteration_000010.damaged").is_dir()
    filled.save(fake(10))
    verify(filled.newest)


def test_when_all_are_damaged_nothing_is_restored(filled):
    for path in filled.all:
        damage(path)
    with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged"):
        filled.newest_good(fall_back=True)


def test_a_folder_of_no_run_cannot_be_resumed(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing to resume: .* holds no checkpoint"):
        RunCheckpoints(tmp_path).newest_good(fall_back=True)


def set_aside(path):
    """Folders left by a kill between the two renames of a replacement."""
    aside = path.parent / f".{path.name}-old-x" / path.name
    aside.parent.mkdir()
    path.rename(aside)


def test_what_was_set_aside_by_a_killed_process_comes_back(filled, tmp_path):
    set_aside(filled.newest)
    assert RunCheckpoints(tmp_path).newest.name == "iteration_000010"
    set_aside(filled.newest)
    place = filled.folder / "iteration_000010"
    assert find_checkpoint(place) == place


# Finding.


def test_a_run_stands_for_its_newest_or_best_checkpoint(filled, tmp_path):
    assert find_checkpoint(tmp_path) == filled.newest
    assert find_checkpoint(tmp_path, best=True).name == "iteration_000004"
    assert find_checkpoint(filled.newest) == filled.newest


def test_what_cannot_be_found_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        find_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds no checkpoint of this package"):
        find_checkpoint(tmp_path)
    RunCheckpoints(tmp_path).save(fake(1))
    with pytest.raises(CheckpointError, match="has no best checkpoint"):
        find_checkpoint(tmp_path, best=True)


# SIGKILL.

SAVES_FOR_EVER = """
import sys
from pathlib import Path
from types import SimpleNamespace
from rllib_agentmixer.utils.manifests import write_manifest
from rllib_agentmixer.utils.files import replaced_atomically
from rllib_agentmixer.runs.checkpoints import RunCheckpoints

store = RunCheckpoints(Path(sys.argv[1]), keep_checkpoints_num=2)
store.remove_leftovers()
iteration = int(store.newest.name[-6:]) if store.newest else 0

def save(folder):
    with replaced_atomically(Path(folder)) as new:
        for number in range(4):
            (new / f"file_{number}").write_text(str(iteration) * 20_000)
        write_manifest(new, {})

print("ready", flush=True)
while True:
    iteration += 1 + (iteration % 3 == 0)
    value = float(iteration % 7)
    algorithm = SimpleNamespace(iteration=iteration, num_env_steps=0, save_checkpoint=save)
    store.save(algorithm, "m", value)
    # The same place again: the old checkpoint must survive until the new one is whole.
    store.save(algorithm, "m", value)
"""


def test_a_process_killed_at_any_moment_leaves_whole_checkpoints_only(tmp_path):
    draw = random.Random(0)
    newest = 0
    for _ in range(40):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVES_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE
        )
        child.stdout.readline()
        time.sleep(draw.uniform(0.0, 0.03))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        store = RunCheckpoints(tmp_path, keep_checkpoints_num=2)
        for path in store.all:
            verify(path)
        if store.newest is not None:
            found = int(store.newest.name[-6:])
            assert found >= newest
            newest = found
        assert store.best is None or store.best.name in names(store)
        assert len(names(store)) <= 4  # two, the best, and one not yet removed
    assert newest > 20
    store.remove_leftovers()
    left = {path.name for path in store.folder.iterdir() if not path.name.startswith(".best")}
    assert left == {"best.json", *names(store)}
