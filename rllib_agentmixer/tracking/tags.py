"""Tags of a run: algorithm, seed, versions, commit and environment."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from rllib_agentmixer.tracking.store import without_password

PACKAGES = ("rllib_agentmixer", "ray", "torch", "mlflow")
STAMP_TAGS = (
    "environment",
    "environment.version",
    "environment.config",
    "team_reward",
)
"""Tags that two runs must share for their returns to be comparable."""


def version_tags() -> dict[str, str]:
    """Versions of the packages, and the git commit if there is one."""
    tags = {f"version.{name}": metadata.version(name) for name in PACKAGES}
    tags["version.python"] = platform.python_version()
    try:
        commit = _git("rev-parse", "HEAD")
        is_dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return tags
    return tags | {"git.commit": commit, "git.dirty": str(is_dirty).lower()}


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed arguments
        ["git", *arguments],  # noqa: S607 - whatever git the user has
        capture_output=True,
        text=True,
        timeout=5,
        check=True,
    )
    return done.stdout.strip()


def plain_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """RLlib's configuration dictionary with classes and functions replaced by their names."""
    return {
        name: f"{value.__module__}.{getattr(value, '__qualname__', value)}"
        if callable(value)
        else value
        for name, value in sorted(config.items())
    }


def config_hash(settings: dict[str, Any]) -> str:
    """Short hash, equal for configurations that differ in the seed only."""
    rest = {name: value for name, value in settings.items() if name != "seed"}
    text = json.dumps(rest, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stamp_tags(stamp: dict[str, Any]) -> dict[str, str]:
    """Tags of an environment stamp."""
    config = json.dumps(stamp["config"], sort_keys=True, default=str)
    values = (stamp["name"], stamp["version"], config, stamp["team_reward"])
    return {name: str(value) for name, value in zip(STAMP_TAGS, values, strict=True)}


def command_line() -> str:
    """Command line of this process, with passwords in URLs removed."""
    return without_password(shlex.join(sys.argv))


def run_tags(algorithm: str, settings: dict[str, Any], stamp: dict[str, Any]) -> dict[str, str]:
    """Tags that identify a run.

    Args:
        algorithm: name of the algorithm class.
        settings: plain settings of RLlib's configuration.
        stamp: stamp of the environment.
    """
    return {
        "algorithm": algorithm,
        "seed": str(settings.get("seed")),
        "config.hash": config_hash(settings),
        "command": command_line(),
        **stamp_tags(stamp),
    }
