"""Partitions of MuJoCo robots: which agent controls which joints.

Most partitions are gymnasium-robotics' own. The others are those of the papers' code (HARL,
github.com/PKU-MARL/HARL), given here by the joints' names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rllib_agentmixer.errors import ConfigError

Joints = Sequence[Sequence[str]]
"""Names of each agent's joints."""

UPPER_BODY = (
    "left_shoulder1",
    "left_shoulder2",
    "abdomen_x",
    "abdomen_y",
    "abdomen_z",
    "right_shoulder1",
    "right_shoulder2",
    "right_elbow",
    "left_elbow",
)
LOWER_BODY = (
    "left_hip_x",
    "left_hip_y",
    "left_hip_z",
    "right_hip_x",
    "right_hip_y",
    "right_hip_z",
    "right_knee",
    "left_knee",
)
WALKER = ("foot", "leg", "thigh", "foot_left", "leg_left", "thigh_left")

_WALKER_JOINTS = tuple(f"{part}_joint" for part in WALKER)
_HUMANOID: dict[str, Joints | None] = {
    "9|8": None,
    "17x1": tuple((joint,) for joint in (*UPPER_BODY, *LOWER_BODY)),
}

PARTITIONS: dict[str, dict[str, Joints | None]] = {
    "Ant": {
        "2x4": None,
        "2x4d": None,
        "4x2": None,
        "8x1": tuple((f"{part}{leg}",) for leg in (1, 2, 3, 4) for part in ("hip", "ankle")),
    },
    "HalfCheetah": {
        "2x3": None,
        "3x2": (("bfoot", "bshin"), ("bthigh", "ffoot"), ("fshin", "fthigh")),
        "6x1": None,
    },
    "Hopper": {"3x1": None},
    "Humanoid": _HUMANOID,
    "HumanoidStandup": _HUMANOID,
    "Pusher": {"3p": None},
    "Reacher": {"2x1": None},
    "Swimmer": {"2x1": None},
    "Walker2d": {
        "2x3": None,
        "3x2": (_WALKER_JOINTS[:2], _WALKER_JOINTS[2:4], _WALKER_JOINTS[4:]),
        "6x1": tuple((joint,) for joint in _WALKER_JOINTS),
    },
}
"""Scenario -> partition -> each agent's joints, or None where the package knows them."""

SEGMENTED = ("ManySegmentAnt", "ManySegmentSwimmer")
"""Robots made of as many equal segments as the partition ``<agents>x<segments each>`` says."""


@dataclass(frozen=True)
class Partition:
    """A validated partition in the package's format."""

    agent_conf: str
    """Name for the package, which ignores it if there is a factorization."""

    factorization: dict[str, Any] | None = None
    num_segments: int = 0
    """Segments, of robots that are made of them."""


def resolve_partition(scenario: str, partition: str | Joints) -> Partition:
    """Validate a scenario and its partition among agents.

    Args:
        scenario: name of a robot.
        partition: name of a partition, or lists of the joints' names.

    Raises:
        ConfigError: an unknown one, or one that does not give every joint to one agent.
    """
    if scenario == "CoupledHalfCheetah":
        raise ConfigError(
            "scenario 'CoupledHalfCheetah' does not work with the versions of MuJoCo that the "
            "extra 'mamujoco' brings: gymnasium-robotics 1.4 reads its tendon in a form that "
            "mujoco 3.6 has changed; choose another scenario"
        )
    if scenario in SEGMENTED:
        return _segments(scenario, partition)
    if scenario not in PARTITIONS:
        known = [*PARTITIONS, *SEGMENTED]
        raise ConfigError(f"scenario must be one of {known}, got {scenario!r}")
    known = PARTITIONS[scenario]
    if isinstance(partition, str):
        if partition not in known:
            raise ConfigError(
                f"partition of {scenario} must be one of {list(known)} or lists of joints, "
                f"got {partition!r}"
            )
        joints = known[partition]
        return Partition(partition) if joints is None else _factorize(scenario, joints)
    if scenario == "Pusher":  # two of its joints have the same name
        raise ConfigError(f"partition of Pusher must be '3p', got {partition!r}")
    return _factorize(scenario, partition)


def _segments(scenario: str, partition: str | Joints) -> Partition:
    found = (
        re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", partition) if isinstance(partition, str) else None
    )
    if found is None:
        raise ConfigError(
            f"partition of {scenario} must be '<agents>x<segments of each>' such as '2x3', "
            f"got {partition!r}"
        )
    num_segments = int(found[1]) * int(found[2])
    if num_segments < 2:
        raise ConfigError(f"{scenario} needs at least 2 segments, got partition {partition!r}")
    return Partition(found[0], num_segments=num_segments)


def _factorize(scenario: str, joints: Joints) -> Partition:
    from gymnasium_robotics.envs.multiagent_mujoco.obsk import get_parts_and_edges

    parts, edges, globals_ = get_parts_and_edges(scenario, None)
    nodes = {node.label: node for node in parts[0]}
    if sorted(name for agent in joints for name in agent) != sorted(nodes) or not all(joints):
        raise ConfigError(
            f"partition of {scenario} must give each of the joints {sorted(nodes)} to exactly one "
            f"agent, got {[list(agent) for agent in joints]}"
        )
    partition = [tuple(nodes[name] for name in agent) for agent in joints]
    return Partition("custom", {"partition": partition, "edges": edges, "globals": globals_})
