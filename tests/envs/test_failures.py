"""Environments that hang, crash or send nonsense: reported so that they can be repeated."""

import json
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from envs_test_fakes import FakeTeam, noop

from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.envs.stepping.recordings import Recording
from rllib_agentmixer.envs.stepping.step_timer import StepTimer
from rllib_agentmixer.errors import ConfigError, EnvContractError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def hang(env, returned):
    if env.step_count == 2:
        time.sleep(60)


def hang_and_swallow(env, returned):
    """Catches what should wake it, once."""
    if env.step_count == 2:
        try:
            time.sleep(60)
        except TimeoutError:
            time.sleep(60)


def test_a_copy_that_hangs_fails_with_its_limit_copy_step_and_seed():
    built = LoopVectorEnv(lambda: FakeTeam(tamper=hang), 2, name="fake", step_time_limit_s=0.05)
    built.reset(seed=0)
    built.step(noop(built, 2))
    seed = built._envs[0].seed
    message = (
        rf"sub-environment 0 of fake, step 2: .*no response within 0.05 s.*episode seed {seed};"
    )
    with pytest.raises(EnvContractError, match=message):
        built.step(noop(built, 2))


@pytest.mark.parametrize("hanging", [hang, hang_and_swallow])
def test_a_copy_that_hangs_is_replaced_where_restarts_are_wanted(hanging):
    made = []

    def make_one():
        made.append(FakeTeam(tamper=hanging if len(made) == 1 else None, length=9))
        return made[-1]

    built = LoopVectorEnv(make_one, 2, restart_failed=True, step_time_limit_s=0.05)
    built.reset(seed=0)
    faulty = [built.step(noop(built, 2)).faulty.tolist() for _ in range(4)]
    assert faulty == [[False, False], [False, True], [False, False], [False, False]]
    assert len(made) == 3


def test_each_sub_environment_has_the_whole_limit():
    built = LoopVectorEnv(
        lambda: FakeTeam(tamper=lambda env, _: time.sleep(0.06)), 4, step_time_limit_s=0.2
    )
    built.reset(seed=0)
    assert not built.step(noop(built, 4)).faulty.any()


def test_a_reset_that_hangs_fails_too():
    def tamper(env, returned):
        if env.step_count == 0 and len(env.seeds) > 1:
            time.sleep(60)

    built = LoopVectorEnv(lambda: FakeTeam(tamper=tamper), 1, step_time_limit_s=0.05)
    with pytest.raises(EnvContractError, match="no response within"):
        built.reset(seed=0)


def test_the_alarm_is_off_and_its_owner_back_after_a_block():
    def mine(*_):
        raise AssertionError

    before = signal.signal(signal.SIGALRM, mine)
    try:
        with StepTimer(0.05) as timer:
            timer.restart()
        time.sleep(0.08)
        assert signal.getsignal(signal.SIGALRM) is mine
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        with StepTimer(None) as timer:
            timer.restart()
            assert signal.getsignal(signal.SIGALRM) is mine
    finally:
        signal.signal(signal.SIGALRM, before)


def test_outside_the_main_thread_nothing_is_limited():
    done = []

    def work():
        with StepTimer(0.01) as timer:
            timer.restart()
            time.sleep(0.03)
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


# Recordings.


def crash_in_step_3(env, returned):
    if env.step_count == 3 and env.received[-1]["a"] == 2:
        raise RuntimeError("the bridge fell")


def test_a_failure_leaves_what_it_takes_to_repeat_it():
    built = LoopVectorEnv(lambda: FakeTeam(tamper=crash_in_step_3, length=9), 1, name="my:env")
    built.reset(seed=0)
    joint = [[0, 1], [1, 1], [2, 0]]
    for actions in joint[:2]:
        built.step(np.array([actions]))
    with pytest.raises(EnvContractError, match="--replay") as failure:
        built.step(np.array([joint[2]]))
    path = Path(re.search(r"--replay (\S+)\)", str(failure.value))[1])
    recording = Recording.load(path)
    assert recording.actions == joint
    assert recording.seed == built._envs[0].seed
    assert recording.environment == "my:env"
    assert "the bridge fell" in recording.error


def test_continuous_actions_are_recorded_as_numbers(team, folder):
    recording = Recording("x", 3, [np.array([[0.5, -1.0]], np.float32)], "e")
    path = recording.save()
    assert path.parent.parent == folder
    assert json.loads(path.read_text())["actions"] == [[[0.5, -1.0]]]


def test_a_failure_is_reported_where_no_recording_can_be_written(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    built = LoopVectorEnv(lambda: FakeTeam(tamper=crash_in_step_3, length=9), 1)
    built.reset(seed=0)
    built.step(np.zeros((1, 2), int))
    built.step(np.zeros((1, 2), int))
    with pytest.raises(EnvContractError, match=r"the bridge fell.*seed \d+\)$"):
        built.step(np.array([[2, 0]]))


@pytest.mark.parametrize("text", ["", "[]", '{"seed": 1}'])
def test_invalid_recordings_are_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not a recording"):
        Recording.load(path)
    with pytest.raises(ConfigError, match="not a recording"):
        Recording.load(tmp_path / "missing.json")
