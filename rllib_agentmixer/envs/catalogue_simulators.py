"""The table of named environments: simulators and games of packages that stand alone."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.envs.entry import EnvEntry

if TYPE_CHECKING:
    from rllib_agentmixer.envs.vector_env import TeamReward


def _mujoco(name: str, summary: str, **fixed: str) -> EnvEntry:
    return EnvEntry(
        name=name,
        constructor="rllib_agentmixer.envs.simulators.ma_mujoco:ma_mujoco",
        extra="mamujoco",
        summary=summary,
        version="v1",
        fixed=MappingProxyType(fixed),
        actions="continuous",
    )


_ROBOTS = {
    "ant": ("Ant", ("2x4", "2x4d", "4x2", "8x1")),
    "halfcheetah": ("HalfCheetah", ("2x3", "3x2", "6x1")),
    "hopper": ("Hopper", ("3x1",)),
    "humanoid": ("Humanoid", ("9|8", "17x1")),
    "humanoid_standup": ("HumanoidStandup", ("9|8", "17x1")),
    "many_segment_ant": ("ManySegmentAnt", ("2x3", "3x2", "6x1")),
    "many_segment_swimmer": ("ManySegmentSwimmer", ("10x2", "8x2")),
    "pusher": ("Pusher", ("3p",)),
    "reacher": ("Reacher", ("2x1",)),
    "swimmer": ("Swimmer", ("2x1",)),
    "walker2d": ("Walker2d", ("2x3", "3x2", "6x1")),
}
"""Start of the name, scenario, partitions."""

MUJOCO = (
    _mujoco("ma_mujoco", "robots shared among agents: scenario=, partition=, observation="),
    *(
        _mujoco(
            f"{start}_{partition.replace('|', '_')}",
            f"multi-agent MuJoCo: {scenario}, partition {partition}",
            scenario=scenario,
            partition=partition,
        )
        for start, (scenario, partitions) in _ROBOTS.items()
        for partition in partitions
    ),
)


def _vmas(name: str, summary: str, team_reward: TeamReward = "shared", **fixed: str) -> EnvEntry:
    return EnvEntry(
        name=name,
        constructor="rllib_agentmixer.envs.simulators.vmas:vmas",
        vector="rllib_agentmixer.envs.simulators.vmas:VectorVmas",
        extra="vmas",
        summary=summary,
        version="1.5",
        fixed=MappingProxyType(fixed),
        team_reward=team_reward,
        actions="either",
        state="concatenated",
    )


VMAS = (
    _vmas(
        "vmas",
        "any scenario of VMAS, B sub-environments as one batch: scenario=",
        team_reward="mean",
    ),
    _vmas("vmas_balance", "carry a ball on a beam upwards (VMAS)", scenario="balance"),
    _vmas(
        "vmas_navigation",
        "each to its own goal without collisions (VMAS)",
        team_reward="mean",
        scenario="navigation",
    ),
    _vmas("vmas_transport", "push a heavy package to its goal (VMAS)", scenario="transport"),
    _vmas("vmas_give_way", "pass each other in a corridor (VMAS)", scenario="give_way"),
    _vmas(
        "vmas_joint_passage",
        "turn and carry a jointed pair through a gap (VMAS)",
        scenario="joint_passage",
    ),
)


def _foraging(name: str, summary: str, **fixed: Any) -> EnvEntry:
    return EnvEntry(
        name=name,
        constructor="rllib_agentmixer.envs.simulators.lbf:lbf",
        extra="lbf",
        summary=summary,
        version="3",
        fixed=MappingProxyType(fixed),
        team_reward="sum",
    )


FORAGING = (
    _foraging("lbf", "load food together: size=, num_agents=, num_food=, coop=, sight="),
    _foraging(
        "lbf_8x8_2p_2f_coop",
        "level-based foraging, the whole board in sight",
        size=8,
        num_agents=2,
        num_food=2,
        coop=True,
    ),
    _foraging(
        "lbf_2s_8x8_2p_2f_coop",
        "level-based foraging, two cells in sight",
        size=8,
        num_agents=2,
        num_food=2,
        coop=True,
        sight=2,
    ),
    _foraging(
        "lbf_10x10_3p_3f",
        "level-based foraging, some food can be loaded alone",
        size=10,
        num_agents=3,
        num_food=3,
        coop=False,
    ),
)


def _warehouse(name: str, summary: str, **fixed: Any) -> EnvEntry:
    return EnvEntry(
        name=name,
        constructor="rllib_agentmixer.envs.simulators.rware:rware",
        extra="rware",
        summary=summary,
        version="2",
        fixed=MappingProxyType(fixed),
        team_reward="sum",
    )


WAREHOUSE = (
    _warehouse("rware", "robots fetch shelves: size=, num_agents=, difficulty="),
    *(
        _warehouse(
            f"rware_{size}_{num_agents}ag",
            f"robotic warehouse, {size}, {num_agents} robots",
            size=size,
            num_agents=num_agents,
        )
        for size, num_agents in (("tiny", 2), ("tiny", 4), ("small", 4))
    ),
)

OPENSPIEL = (
    EnvEntry(
        name="open_spiel",
        constructor="rllib_agentmixer.envs.simulators.open_spiel:open_spiel",
        extra="openspiel",
        summary="team games of OpenSpiel with simultaneous moves: game=",
        version="2.0",
    ),
    EnvEntry(
        name="coop_box_pushing",
        constructor="rllib_agentmixer.envs.simulators.open_spiel:open_spiel",
        extra="openspiel",
        summary="the large box pays ten times, but takes two at once (OpenSpiel)",
        version="2.0",
        fixed=MappingProxyType({"game": "coop_box_pushing"}),
    ),
)


def _starcraft(name: str, summary: str, **fixed: Any) -> EnvEntry:
    return EnvEntry(
        name=name,
        constructor="rllib_agentmixer.envs.simulators.smac_v2:smac_v2",
        summary=summary,
        version="2",
        fixed=MappingProxyType(fixed),
        is_reproducible=False,
        install="install SMACv2 from its makers (pip install git+https://github.com/oxwhirl/"
        "smacv2.git), and StarCraft II and the maps as their README says; 'smac' on PyPI is "
        "something else",
    )


STARCRAFT = (
    _starcraft("smacv2", "StarCraft II battles: race=, n_units=, n_enemies="),
    *(
        _starcraft(
            f"smacv2_{race}_{n_units}v{n_enemies}",
            f"StarCraft II battle of SMACv2: {race}, {n_units} against {n_enemies}",
            race=race,
            n_units=n_units,
            n_enemies=n_enemies,
        )
        for race in ("terran", "protoss", "zerg")
        for n_units, n_enemies in ((5, 5), (10, 10), (10, 11), (20, 20), (20, 23))
    ),
)

SIMULATORS: tuple[EnvEntry, ...] = (
    *MUJOCO,
    *VMAS,
    *FORAGING,
    *WAREHOUSE,
    *OPENSPIEL,
    *STARCRAFT,
)
"""These environments, family by family."""
