"""An environment under examination, and findings about it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.checks.traces import Trace, closed_afterwards, record
from rllib_agentmixer.envs.entry import EnvEntry
from rllib_agentmixer.envs.stepping.team_spaces import TeamSpaces

Verdict = Literal["ok", "note", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    check: str
    verdict: Verdict
    detail: str


@dataclass
class Subject:
    """An environment under examination.

    Attributes:
        make: builds an instance.
        entry: its registry entry.
        layout: of the team.
        trace: of random play in a fresh instance.
        team_reward: how the agents' rewards are combined.
        seed: of that play.
        num_steps: of that play.
    """

    make: Callable[..., ParallelEnv]
    entry: EnvEntry
    layout: TeamSpaces
    trace: Trace
    team_reward: Any
    seed: int
    num_steps: int

    @property
    def has_state(self) -> bool:
        return self.layout.spec.state_kind == "env"

    def again(self, seed: int) -> Trace:
        """Play in another fresh instance."""
        with closed_afterwards(self.make()) as env:
            return record(env, seed, self.num_steps, has_state=self.has_state)


def description(error: BaseException) -> str:
    """An error in one line; an assertion without text by its line of code."""
    line = traceback.extract_tb(error.__traceback__)[-1].line
    text = str(error) or (f"at `{line}`" if isinstance(error, AssertionError) else "")
    return f"{type(error).__name__}: {text}".removesuffix(": ")
