"""Recordings of failures: seed and joint actions of one episode, to reproduce them."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.stepping.team_env import TeamEnv
from rllib_agentmixer.envs.stepping.team_rows import new_arrays, rows_of
from rllib_agentmixer.envs.vector_env import TeamReward
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.utils.untrusted import read_json

FOLDER = "rllib_agentmixer_failures"


@dataclass(frozen=True)
class Recording:
    """One episode up to its failure.

    Attributes:
        environment: its name.
        seed: of the episode's reset.
        actions: joint actions as the team sent them, the last of which failed.
        error: description of the exception.
    """

    environment: str
    seed: int | None
    actions: list[Any]
    error: str

    def save(self) -> Path | None:
        """Write to the system's temporary folder; None where that cannot be done.

        Raises nothing, so that the original failure is not masked by a second one.
        """
        name = re.sub(r"\W+", "_", self.environment)
        actions = [np.asarray(joint).tolist() for joint in self.actions]
        try:
            folder = Path(tempfile.gettempdir()) / FOLDER
            folder.mkdir(exist_ok=True)
            path = folder / f"{name}-seed-{self.seed}-step-{len(actions)}.json"
            path.write_text(json.dumps(vars(self) | {"actions": actions}), encoding="utf-8")
        except (OSError, TypeError, ValueError):
            return None
        return path

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read a recording.

        Raises:
            ConfigError: the file is missing or not a recording.
        """
        try:
            return cls(**read_json(path))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{path} is not a recording of a failure: {error}") from error


def replay(
    make: Callable[[], ParallelEnv], recording: Recording, team_reward: TeamReward
) -> str | None:
    """Replay a recorded episode in a fresh environment; returns its error, or None."""
    team = TeamEnv(make(), recording.environment, team_reward)
    arrays = new_arrays(team.layout, 1)
    rewards = np.zeros((1, team.spec.num_agents), np.float32)
    row = rows_of(team.layout, arrays, rewards)[0]
    is_discrete = team.spec.action_kind == "discrete"
    try:
        team.reset(row, recording.seed)
        for joint in recording.actions:
            team.step(row, joint if is_discrete else np.asarray(joint, np.float32))
    except Exception as error:  # an environment may raise any exception
        return f"{type(error).__name__}: {error}"
    finally:
        team.env.close()
    return None
