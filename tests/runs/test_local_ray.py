"""Start of a local Ray instance on a busy machine."""

import os

import pytest
import ray

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.runs import local_ray


@pytest.fixture
def starts(monkeypatch):
    """Replace ``ray.init`` by functions that tests append; each start takes the next."""
    planned = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: planned.pop(0)())
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return planned


def times_out():
    raise Exception("The current node timed out during startup.\nmore lines")


def test_a_start_that_times_out_is_tried_once_more(starts, caplog):
    starts += [times_out, lambda: None]
    local_ray.start_ray(0)
    assert starts == []
    assert "timed out during startup.); trying once more" in caplog.text


def test_two_that_time_out_are_one_clear_line(starts):
    starts += [times_out, times_out]
    with pytest.raises(ConfigError, match=r"tried twice: .* timed out during startup\.; ") as it:
        local_ray.start_ray(0)
    assert "\n" not in str(it.value)


def test_the_backends_notice_is_left_out_and_nothing_else(starts, capfd):
    def notes():
        os.write(2, b"[I 1] logging.cc:303: " + local_ray.NOTICE + b" X to 3\nreal trouble\n")

    starts.append(notes)
    local_ray.start_ray(0)
    assert capfd.readouterr().err == "real trouble\n"
