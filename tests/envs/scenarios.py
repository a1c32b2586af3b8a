"""Situations set up by hand and played in either form: predator-prey, bridge, memory game."""

from dataclasses import dataclass

import numpy as np

from rllib_agentmixer.envs.games.bridge import Bridge
from rllib_agentmixer.envs.games.bridge_vector import VectorBridge
from rllib_agentmixer.envs.games.memory_game import MemoryGame, VectorMemoryGame
from rllib_agentmixer.envs.games.predator_prey import PREY_MOVES, PredatorPrey
from rllib_agentmixer.envs.games.predator_prey_vector import (
    FREE,
    PREDATOR,
    PREY,
    VectorPredatorPrey,
)

DOWN, LEFT, UP, RIGHT, STAY = range(5)


def draws_of(*moves):
    """Five draws of one prey that begin with these moves and go on with the last one."""
    first_draw = [int(np.flatnonzero(move == PREY_MOVES)[0]) for move in range(5)]
    moves = [*moves, *[moves[-1]] * (5 - len(moves))]
    return [first_draw[move] for move in moves]


@dataclass
class Seen:
    """What is left after a forced step."""

    reward: float
    terminated: bool
    truncated: bool
    predators: list
    prey: list
    obs: np.ndarray
    state: np.ndarray


def play_single_env(scripted, predators, prey, actions, draws, time, **arguments):
    env = PredatorPrey(num_predators=len(predators), num_prey=len(prey), **arguments)
    env.reset(seed=0)
    env._predators, env._prey, env._time = list(predators), list(prey), time
    env.np_random = scripted
    scripted.queue.append(np.array(draws, np.uint8))
    obs, rewards, terminated, truncated, _ = env.step(
        dict(zip(env.possible_agents, actions, strict=True))
    )
    rows = np.stack([obs[name] for name in env.possible_agents])
    first = env.possible_agents[0]
    return Seen(
        rewards[first],
        terminated[first],
        truncated[first],
        env._predators,
        env._prey,
        rows,
        env.state(),
    )


def play_batched(scripted, predators, prey, actions, draws, time, **arguments):
    env = VectorPredatorPrey(2, num_predators=len(predators), num_prey=len(prey), **arguments)
    env.reset(seed=0)
    border, width = max(1, env.settings.view_radius), env._width
    # The scenario is played in the second sub-environment; the first must not disturb it.
    board = env._cells.reshape(2, -1)[1]
    board[env._inside] = FREE
    for code, things, flat in ((PREDATOR, predators, env._predators), (PREY, prey, env._prey)):
        for index, (row, column) in enumerate(things):
            cell = (row + border) * width + column + border
            board[cell] = code
            flat[index, 1] = env._board + cell
    env._time[1] = time
    # The reset of a finished sub-environment draws after the step.
    scripted.queue += [np.array([draws, draws], np.uint8), np.random.default_rng(0).random((1, 25))]
    env._rng = scripted
    result = env.step(np.array([[STAY] * len(predators), actions]))
    ended = bool(result.terminated[1] or result.truncated[1])
    places = None if ended else [divmod(int(c) - env._board, width) for c in env._predators[:, 1]]
    left = [divmod(int(c) - env._board, width) for c in env._prey[:, 1]]
    living = env._prey_code[:, 1] == PREY
    return Seen(
        float(result.reward[1]),
        bool(result.terminated[1]),
        bool(result.truncated[1]),
        places and [(r - border, c - border) for r, c in places],
        [(r - border, c - border) if on else None for (r, c), on in zip(left, living, strict=True)],
        result.final_observation.obs[1],
        result.final_observation.state[1],
    )


@dataclass
class Crossing:
    """What is left of a bridge after a forced step."""

    reward: float
    terminated: bool
    truncated: bool
    obs: np.ndarray
    state: np.ndarray


def cross_single_env(positions, actions, holder, is_visible, is_fined, time, **arguments):
    env = Bridge(**arguments)
    env.reset(seed=0)
    env._positions, env._holder, env._time = list(positions), holder, time
    env._is_visible, env._is_fined = is_visible, is_fined
    obs, rewards, terminated, truncated, _ = env.step(
        dict(zip(env.possible_agents, actions, strict=True))
    )
    rows = np.stack([obs[name] for name in env.possible_agents])
    first = env.possible_agents[0]
    return Crossing(rewards[first], terminated[first], truncated[first], rows, env.state())


def cross_batched(positions, actions, holder, is_visible, is_fined, time, **arguments):
    # Played in the second sub-environment; the first waits on its banks.
    env = VectorBridge(2, **arguments)
    env.reset(seed=0)
    env._positions[:, 1], env._holder[1], env._time[1] = positions, holder, time
    env._is_visible[1], env._is_fined[1] = is_visible, is_fined
    result = env.step(np.array([(0, 0), actions]))
    return Crossing(
        float(result.reward[1]),
        bool(result.terminated[1]),
        bool(result.truncated[1]),
        result.final_observation.obs[1],
        result.final_observation.state[1],
    )


@dataclass
class Answered:
    """A whole episode of the memory game: one entry per observation, one per decision."""

    obs: list
    states: list
    rewards: list
    terminated: list


def answer_single_env(cue, plan, **arguments):
    """Plays the joint actions of a plan, which is as long as the episode."""
    env = MemoryGame(**arguments)
    env.reset(seed=0)
    env._cue = cue
    first = env._observations()
    seen = Answered([np.stack(list(first.values()))], [env.state()], [], [])
    for actions in plan:
        obs, rewards, terminated, truncated, _ = env.step(
            dict(zip(env.possible_agents, actions, strict=True))
        )
        assert not any(truncated.values())
        seen.obs.append(np.stack(list(obs.values())))
        seen.states.append(env.state())
        seen.rewards.append(rewards["agent_0"])
        seen.terminated.append(terminated["agent_0"])
    return seen


def answer_batched(cue, plan, **arguments):
    # Played in the second sub-environment.
    env = VectorMemoryGame(2, **arguments)
    first = env.reset(seed=0)
    env._cues[1] = cue
    env._observe(slice(None))
    seen = Answered([first.obs[1].copy()], [first.state[1].copy()], [], [])
    for actions in plan:
        result = env.step(np.array([actions, actions]))
        assert not result.truncated.any()
        seen.obs.append(result.final_observation.obs[1].copy())
        seen.states.append(result.final_observation.state[1].copy())
        seen.rewards.append(float(result.reward[1]))
        seen.terminated.append(bool(result.terminated[1]))
    return seen
