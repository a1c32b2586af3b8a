"""Level-based foraging: agents load food that is too heavy for one (package lbforaging).

References: Albrecht and Ramamoorthy 2013; Papoudakis et al. 2021, arXiv:2006.07869.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_agentmixer.envs.games import drawing
from rllib_agentmixer.envs.stepping.tuple_env import Extras, TupleEnv
from rllib_agentmixer.envs.vector_env import FloatArray
from rllib_agentmixer.errors import ConfigError

NUM_ACTIONS = 6
"""Nothing, four moves, load."""


def lbf(
    *,
    size: int = 8,
    num_agents: int = 2,
    num_food: int = 2,
    coop: bool = True,
    sight: int | None = None,
    max_steps: int = 50,
    render_mode: str | None = None,
    **settings: Any,
) -> TupleEnv:
    """A board with agents and food of random levels; food asks for the sum of levels beside it.

    ``size=8, num_agents=2, num_food=2`` is ``Foraging-8x8-2p-2f-coop-v3``, with ``sight=2``
    ``Foraging-2s-8x8-2p-2f-coop-v3``. All food together is worth 1, shared among those who
    loaded it; the team gets the sum. Actions that change nothing are masked. Unlike in the
    package, the time limit truncates (it terminates there), and a seed determines everything.

    Args:
        size: rows and columns.
        num_agents: 2 to 9 in the package's names.
        num_food: pieces at the start.
        coop: every piece needs more than one agent.
        sight: how many cells agents see; None for the whole board.
        max_steps: truncates the episode.
        render_mode: None or ``"rgb_array"``.
        settings: any other argument of ``ForagingEnv``, such as ``penalty``.
    """
    import lbforaging  # noqa: F401  the rules below may have been loaded while it was there

    from rllib_agentmixer.envs.simulators.lbf_rules import SeededForaging

    numbers = {"size": size, "num_agents": num_agents, "num_food": num_food, "max_steps": max_steps}
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name} must be an integer of at least 1, got {value!r}")
    arguments = {
        "players": num_agents,
        "min_player_level": 1,
        "max_player_level": 2,
        "min_food_level": 1,
        "max_food_level": None,
        "field_size": (size, size),
        "max_num_food": num_food,
        "sight": size if sight is None else sight,
        "max_episode_steps": max_steps,
        "force_coop": coop,
    }
    env = SeededForaging(**(arguments | settings))
    extras = Extras(action_masks=_masks, state=_state, is_time_up=_is_time_up, picture=_picture)
    return TupleEnv(env, "lbf", extras, render_mode)


def _masks(env: Any) -> list[np.ndarray]:
    masks = np.zeros((len(env.players), NUM_ACTIONS), np.int8)
    for index, player in enumerate(env.players):
        masks[index, [action.value for action in env._valid_actions[player]]] = 1
    return list(masks)


def _is_time_up(env: Any) -> bool:
    return bool(env.field.sum() > 0)


def _state(env: Any) -> FloatArray:
    """Row, column and level of food and agents, and the share of time that is over."""
    food = np.full((env.max_num_food, 3), (-1, -1, 0), np.float32)
    rows, columns = np.nonzero(env.field)
    food[: len(rows)] = np.stack([rows, columns, env.field[rows, columns]], axis=1)
    agents = [(*player.position, player.level) for player in env.players]
    time = env.current_step / env._max_episode_steps
    return np.concatenate([food.ravel(), np.ravel(agents), [time]]).astype(np.float32)


def _picture(env: Any) -> np.ndarray:
    """Food in red and agents in blue, larger with their levels."""
    heaviest = max(1, int(env.field.max()), *(player.level for player in env.players))
    discs = [
        drawing.Disc(row, column, drawing.RED, 0.2 + 0.25 * env.field[row, column] / heaviest)
        for row, column in zip(*np.nonzero(env.field), strict=True)
    ]
    discs += [
        drawing.Disc(row, column, drawing.BLUE, 0.2 + 0.25 * player.level / heaviest)
        for player in env.players
        for row, column in [player.position]
    ]
    return drawing.draw_board(env.rows, env.cols, discs)
