"""Robotic warehouse: agents fetch requested shelves and bring them back (package rware).

Reference: Papoudakis et al. 2021, arXiv:2006.07869.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from rllib_agentmixer.envs.games import drawing
from rllib_agentmixer.envs.stepping.tuple_env import Extras, TupleEnv
from rllib_agentmixer.envs.vector_env import FloatArray
from rllib_agentmixer.errors import ConfigError

SIZES = {"tiny": (1, 3), "small": (2, 3), "medium": (2, 5), "large": (3, 5)}
"""Rows and columns of shelf blocks, by the package's names."""

REQUESTS = {"easy": 2.0, "normal": 1.0, "hard": 0.5}
"""Requested shelves per agent."""

NUM_DIRECTIONS = 4


def rware(
    *,
    size: Literal["tiny", "small", "medium", "large"] = "tiny",
    num_agents: int = 2,
    difficulty: Literal["easy", "normal", "hard"] = "normal",
    max_steps: int = 500,
    render_mode: str | None = None,
    **settings: Any,
) -> TupleEnv:
    """A warehouse. An agent that delivers a requested shelf gets 1; the team gets the sum.

    ``size="tiny", num_agents=2`` is ``rware-tiny-2ag-v2``. The time limit truncates, where
    the package reports an end.

    Args:
        size: of the warehouse.
        num_agents: robots.
        difficulty: how many shelves are requested at a time.
        max_steps: truncates the episode.
        render_mode: None or ``"rgb_array"``.
        settings: any other argument of ``Warehouse``, such as ``column_height`` or
            ``sensor_range``.
    """
    from rware.warehouse import RewardType, Warehouse

    if size not in SIZES:
        raise ConfigError(f"size must be one of {list(SIZES)}, got {size!r}")
    if difficulty not in REQUESTS:
        raise ConfigError(f"difficulty must be one of {list(REQUESTS)}, got {difficulty!r}")
    num_requests = int(num_agents * REQUESTS[difficulty])
    if num_requests < 1:
        raise ConfigError(
            f"num_agents={num_agents!r} with difficulty {difficulty!r} requests no shelf; "
            "take more agents or another difficulty"
        )
    arguments = {
        "column_height": 8,
        "shelf_rows": SIZES[size][0],
        "shelf_columns": SIZES[size][1],
        "n_agents": num_agents,
        "msg_bits": 0,
        "sensor_range": 1,
        "request_queue_size": num_requests,
        "max_inactivity_steps": None,
        "max_steps": max_steps,
        "reward_type": RewardType.INDIVIDUAL,
    }
    env = Warehouse(**(arguments | settings))
    extras = Extras(state=_state, is_time_up=_is_time_up, picture=_picture)
    return TupleEnv(env, "rware", extras, render_mode)


def _is_time_up(env: Any) -> bool:
    return True  # a warehouse has no terminal state


def _state(env: Any) -> FloatArray:
    """Agents' positions, directions and loads, requested shelves, shelf positions, time."""
    rows, columns = env.grid_size
    scale = np.array([columns, rows], np.float64)
    agents = [
        (
            *((agent.x, agent.y) / scale),
            *(agent.dir.value == d for d in range(NUM_DIRECTIONS)),
            agent.carrying_shelf is not None,
        )
        for agent in env.agents
    ]
    requests = [(shelf.x, shelf.y) / scale for shelf in env.request_queue]
    shelves = env.grid[1] > 0
    time = env._cur_steps / env.max_steps if env.max_steps else 0.0
    parts = [np.ravel(agents), np.ravel(requests), shelves.ravel(), [time]]
    return np.concatenate(parts).astype(np.float32)


def _picture(env: Any) -> np.ndarray:
    """Goals green, shelves brown, requested ones red, agents blue, carrying ones with a rim."""
    rows, columns = env.grid_size
    ground = {(y, x): drawing.GRASS for x, y in env.goals}
    ground |= {(shelf.y, shelf.x): drawing.WOOD for shelf in env.shelfs}
    ground |= {(shelf.y, shelf.x): drawing.RED for shelf in env.request_queue}
    discs = []
    for agent in env.agents:
        if agent.carrying_shelf is not None:
            discs.append(drawing.Disc(agent.y, agent.x, drawing.GREY, 0.45))
        discs.append(drawing.Disc(agent.y, agent.x, drawing.BLUE, 0.32))
    return drawing.draw_board(rows, columns, discs, cell=32, ground=ground)
