"""Observations of the agents of a MuJoCo robot.

gymnasium-robotics builds an agent's observation number by number in Python. For most robots
it is a part of the whole robot's observation, which Gymnasium computes anyway; there it is
cut out of that, which the tests prove equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_agentmixer.envs.vector_env import FloatArray
from rllib_agentmixer.errors import ConfigError

CATEGORIES = ("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext")
"""Observable quantities of a joint or its bodies."""

PARTS_OF_THE_WHOLE = (
    "Ant",
    "HalfCheetah",
    "Hopper",
    "Humanoid",
    "HumanoidStandup",
    "ManySegmentSwimmer",
    "Swimmer",
)
"""Robots whose agents see parts of the whole observation. Walker2d's see velocities that the
whole one has clipped; some of ManySegmentAnt's see positions that it leaves out; Reacher's
and Pusher's are not declared."""


@dataclass(frozen=True)
class Views:
    """Settings of the agents' observations."""

    depth: int
    """Number of joints up to which agents see."""

    local: Sequence[Sequence[str]] | None
    """Categories seen of joints at each distance; None for the package's."""

    torso: Sequence[str]
    """Categories that all see of the torso."""

    standardize: bool
    """True to standardize each observation over its own entries."""

    is_preset: bool
    """True for default categories and robots, for which slicing is tested to be exact."""

    def check(self, scenario: str) -> None:
        """Raise ConfigError on settings that the package does not support."""
        if not isinstance(self.depth, int) or isinstance(self.depth, bool) or self.depth < 0:
            raise ConfigError(f"agent_obsk must be an integer of at least 0, got {self.depth!r}")
        known = (*CATEGORIES, "fingertip_dist") if scenario == "Reacher" else CATEGORIES
        local = [] if self.local is None else self.local
        if self.local is not None and len(local) != self.depth + 1:
            raise ConfigError(
                f"local_categories must hold agent_obsk + 1 = {self.depth + 1} lists, "
                f"got {self.local!r}"
            )
        for category in [*self.torso, *(name for names in local for name in names)]:
            if category not in known:
                raise ConfigError(f"a category must be one of {list(known)}, got {category!r}")


class AgentViews:
    """Observations of all agents, in order.

    Args:
        package: the package's environment, which defines each agent's view.
        scenario: name of the robot.
        views: checked settings.

    Attributes:
        sizes: numbers that each agent sees.
        are_cut: whether they are sliced from the whole observation.
    """

    def __init__(self, package: Any, scenario: str, views: Views) -> None:
        self._package = package
        self._agents = range(len(package.possible_agents))
        self._standardize = views.standardize
        self.are_cut = views.is_preset and scenario in PARTS_OF_THE_WHOLE
        if self.are_cut:
            parts = package.observation_factorization
            self._parts = [np.asarray(parts[a], np.intp) for a in package.possible_agents]
            self.sizes = [part.size for part in self._parts]
        else:
            self.sizes = [package._get_obs_agent(index).size for index in self._agents]
        if not all(self.sizes):
            raise ConfigError(
                f"agents of {scenario} would see nothing with local_categories={views.local!r} "
                f"and global_categories={views.torso!r}; name more categories"
            )

    def of(self, whole: np.ndarray) -> list[FloatArray]:
        """Each agent's observation, given the whole observation."""
        if self.are_cut:
            seen = [whole[part] for part in self._parts]
        else:
            seen = [self._package._get_obs_agent(index) for index in self._agents]
        if self._standardize:
            seen = [standardized(numbers) for numbers in seen]
        return [numbers.astype(np.float32) for numbers in seen]


def standardized(numbers: np.ndarray) -> np.ndarray:
    """(o - mean(o)) / std(o) of one vector; zeros where all its numbers are equal."""
    centred = numbers - numbers.mean()
    deviation = centred.std()
    return centred / deviation if deviation > 0 else np.zeros_like(centred)
