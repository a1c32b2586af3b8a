"""What is said about a run beside its numbers."""

import sys

from rllib_agentmixer.tracking import tags
from rllib_agentmixer.tracking.tags import command_line, config_hash, stamp_tags, version_tags


def test_versions_are_tagged_also_where_there_is_no_git(monkeypatch):
    known = version_tags()
    assert known.keys() >= {f"version.{name}" for name in ("rllib_agentmixer", "ray", "torch")}
    assert known.keys() >= {"version.mlflow", "version.python"}

    def missing(*args, **kwargs):
        raise FileNotFoundError("git")

    monkeypatch.setattr(tags.subprocess, "run", missing)
    assert "git.commit" not in version_tags()


def test_the_commit_says_whether_files_were_changed(monkeypatch):
    answers = {"rev-parse": "abc", "status": ""}
    monkeypatch.setattr(tags, "_git", lambda *words: answers[words[0]])
    assert version_tags()["git.commit"] == "abc"
    assert version_tags()["git.dirty"] == "false"
    answers["status"] = " M file.py"
    assert version_tags()["git.dirty"] == "true"


def test_seeds_of_a_configuration_share_its_hash():
    settings = {"lr": 1.0, "seed": 1, "odd": object}
    assert config_hash(settings) == config_hash({**settings, "seed": 2})
    assert config_hash(settings) != config_hash({**settings, "lr": 2.0})
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})


def test_the_stamp_does_not_hang_on_the_order_of_arguments():
    stamp = {"name": "x", "version": 2, "config": {"b": 1, "a": 2}, "team_reward": "sum"}
    assert stamp_tags(stamp) == {
        "environment": "x",
        "environment.version": "2",
        "environment.config": '{"a": 2, "b": 1}',
        "team_reward": "sum",
    }


def test_the_command_line_is_quoted_and_holds_no_password(monkeypatch):
    words = ["train", "a b", "--tracking-uri", "https://me:secret@host/x"]
    monkeypatch.setattr(sys, "argv", words)
    assert command_line() == "train 'a b' --tracking-uri https://***@host/x"
