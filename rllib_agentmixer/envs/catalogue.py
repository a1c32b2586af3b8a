"""The table of named environments. Nothing third-party is imported to read it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from rllib_agentmixer.envs.catalogue_simulators import SIMULATORS
from rllib_agentmixer.envs.entry import EnvEntry


def _matrix_game(name: str, summary: str, **fixed: Any) -> EnvEntry:
    return EnvEntry(
        name=name,
        constructor="rllib_agentmixer.envs.games.matrix_game:MatrixGame",
        vector="rllib_agentmixer.envs.games.matrix_game:VectorMatrixGame",
        summary=summary,
        fixed=MappingProxyType(fixed),
    )


def penalty_game(name: str, k: float) -> EnvEntry:
    """Entry of a penalty game whose name carries its k."""
    return _matrix_game(name, f"penalty game with k = {k:g}", game="penalty", k=k)


NATIVE = (
    _matrix_game("matrix_game", "any matrix game: game=, k=, num_agents=, repeat="),
    _matrix_game("climbing", "optimum 11 shadowed by a safer 7", game="climbing"),
    _matrix_game("penalty", "two optima of 10, miscoordination costs k", game="penalty"),
    penalty_game("penalty_0", 0),
    penalty_game("penalty_25", 25),
    penalty_game("penalty_100", 100),
    _matrix_game("nonmonotonic", "optimum 8 among penalties", game="nonmonotonic"),
    _matrix_game("permutation", "N agents must all choose differently", game="permutation"),
    EnvEntry(
        name="predator_prey",
        constructor="rllib_agentmixer.envs.games.predator_prey:PredatorPrey",
        vector="rllib_agentmixer.envs.games.predator_prey_vector:VectorPredatorPrey",
        summary="two predators that do not see each other must meet at the prey",
    ),
    EnvEntry(
        name="continuous_game",
        actions="continuous",
        constructor="rllib_agentmixer.envs.games.continuous_game:ContinuousGame",
        vector="rllib_agentmixer.envs.games.continuous_game:VectorContinuousGame",
        summary="continuous actions, own targets, a coupled reward with optimum 1",
    ),
    EnvEntry(
        name="bridge",
        constructor="rllib_agentmixer.envs.games.bridge:Bridge",
        vector="rllib_agentmixer.envs.games.bridge_vector:VectorBridge",
        summary="two agents cross a single-file bridge, the right of way is hidden: visibility=",
    ),
    EnvEntry(
        name="memory_game",
        constructor="rllib_agentmixer.envs.games.memory_game:MemoryGame",
        vector="rllib_agentmixer.envs.games.memory_game:VectorMemoryGame",
        summary="answer with a cue that was seen delay= steps ago; 1/K without memory",
    ),
)


def _skirmish(name: str, summary: str, **fixed: Any) -> EnvEntry:
    return EnvEntry(
        name=name,
        constructor="rllib_agentmixer.envs.games.skirmish.skirmish:Skirmish",
        vector="rllib_agentmixer.envs.games.skirmish.vector:VectorSkirmish",
        summary=summary,
        fixed=MappingProxyType(fixed),
    )


SKIRMISH = (
    _skirmish("skirmish", "a battle of unlike units by SMAX's rules: num_allies=, unit_types=, .."),
    *(
        _skirmish(
            f"skirmish_{size}v{size}",
            f"{size} units of drawn types against {size} scripted ones",
            num_allies=size,
            num_enemies=size,
        )
        for size in (3, 5, 10)
    ),
)

MPE = (
    EnvEntry(
        name="simple_spread",
        constructor="rllib_agentmixer.envs.simulators.mpe:simple_spread",
        extra="mpe",
        summary="agents cover landmarks and avoid collisions (mpe2 simple_spread_v3)",
        version="3",
        actions="either",
    ),
    EnvEntry(
        name="simple_reference",
        constructor="rllib_agentmixer.envs.simulators.mpe:simple_reference",
        extra="mpe",
        summary="two agents communicate each other's goal (mpe2 simple_reference_v3)",
        version="3",
        actions="either",
    ),
    EnvEntry(
        name="simple_speaker_listener",
        constructor="rllib_agentmixer.envs.simulators.mpe:simple_speaker_listener",
        extra="mpe",
        summary="one sees the goal, the other moves (mpe2 simple_speaker_listener_v4)",
        version="4",
        actions="either",
    ),
    EnvEntry(
        name="simple_tag",
        constructor="rllib_agentmixer.envs.simulators.mpe:simple_tag",
        extra="mpe",
        summary="three predators catch a scripted prey (mpe2 simple_tag_v3): prey=flee, freeze",
        version="3",
        actions="either",
    ),
)

PETTINGZOO = (
    EnvEntry(
        name="multiwalker",
        constructor="rllib_agentmixer.envs.simulators.petting_zoo:multiwalker",
        extra="sisl",
        summary="walkers carry a package (PettingZoo multiwalker_v9)",
        version="9",
        actions="continuous",
    ),
    EnvEntry(
        name="pursuit",
        constructor="rllib_agentmixer.envs.simulators.petting_zoo:pursuit",
        extra="sisl",
        summary="eight pursuers surround evaders on a grid (PettingZoo pursuit_v5)",
        version="5",
    ),
    EnvEntry(
        name="knights_archers_zombies",
        constructor="rllib_agentmixer.envs.simulators.petting_zoo:knights_archers_zombies",
        extra="butterfly",
        summary="hold zombies off while agents die (PettingZoo knights_archers_zombies_v11)",
        version="11",
        team_reward="sum",
    ),
)

CATALOGUE: tuple[EnvEntry, ...] = (*NATIVE, *SKIRMISH, *MPE, *PETTINGZOO, *SIMULATORS)
"""Every named environment, family by family."""
