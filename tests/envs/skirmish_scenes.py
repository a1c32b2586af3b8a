"""Situations of skirmish set up by hand and played in either form."""

from dataclasses import dataclass, field

import numpy as np

from rllib_agentmixer.envs.games.skirmish.rules import STOP, SUB_STEPS, UNIT_NAMES
from rllib_agentmixer.envs.games.skirmish.skirmish import Skirmish
from rllib_agentmixer.envs.games.skirmish.vector import NO_UNIT, VectorSkirmish

UP, RIGHT, DOWN, LEFT = range(4)
ATTACK = 5


@dataclass
class Placed:
    """A unit as a scene begins."""

    kind: str
    x: float
    y: float
    health: float | None = None
    """None is a fresh one's."""
    cooldown: float = 0.0
    focus: int | None = None
    """Of an enemy: the index among the allies that it attacked last."""
    goal: tuple = (16.0, 16.0)


@dataclass
class Outcome:
    """One entry per unit, allies first, after the last step; of allies where it says so."""

    reward: float
    terminated: bool
    truncated: bool
    won: float | None
    """None before the end."""
    places: np.ndarray
    health: np.ndarray
    cooldown: np.ndarray
    actions: list
    hits: list
    obs: np.ndarray
    """[N, O]"""
    state: np.ndarray
    mask: np.ndarray
    """[N, A]"""
    alive: list
    """Allies that go on."""
    rewards: list = field(default_factory=list)
    """Of every step."""


class FixedDraws:
    """A generator whose every number is the same."""

    def __init__(self, value):
        self.value = value

    def begin(self, rows):
        """Episodes have no streams of their own here."""

    def of(self, rows):
        return self

    def random(self, size, dtype=np.float64):
        return np.full(size, self.value, dtype)


def _settings(allies, enemies, arguments):
    names = [[unit.kind for unit in side] for side in (allies, enemies)]
    return {
        "num_allies": len(allies),
        "num_enemies": len(enemies),
        "unit_types": names[0],
        "enemy_unit_types": names[1],
        **arguments,
    }


def fight_single_env(allies, enemies, plan, draw, time, arguments):
    """Plays the joint actions of a plan, one per step."""
    env = Skirmish(**_settings(allies, enemies, arguments))
    env.reset(seed=0)
    for unit, placed in zip(env._units, [*allies, *enemies], strict=True):
        unit.place, unit.goal = [float(placed.x), float(placed.y)], placed.goal
        unit.health = unit.kind.health if placed.health is None else placed.health
        unit.cooldown, unit.focus = placed.cooldown, placed.focus
    env.agents = [n for n, a in zip(env.possible_agents, env._living(), strict=True) if a]
    env._time, env.np_random = time, FixedDraws(draw)
    paid = []
    for actions in plan:
        acting = env.agents
        orders = dict(zip(env.possible_agents, actions, strict=True))
        obs, rewards, terminated, truncated, infos = env.step(
            {name: orders[name] for name in acting}
        )
        paid.append(rewards[acting[0]])
    wins = {infos[name].get("won") for name in acting}
    assert len(wins) == len({rewards[name] for name in acting}) == 1
    assert all(type(flag) is bool for flag in (*terminated.values(), *truncated.values()))
    blank = np.zeros_like(next(iter(obs.values())))
    valid = np.ones(env.settings.num_actions, bool)
    units = env._units
    return Outcome(
        reward=paid[-1],
        terminated=not env.agents and not any(truncated.values()),
        truncated=any(truncated.values()),
        won=wins.pop(),
        places=np.array([unit.place for unit in units]),
        health=np.array([unit.health for unit in units]),
        cooldown=np.array([unit.cooldown for unit in units]),
        actions=[unit.action for unit in units],
        hits=[NO_UNIT if unit.aimed_at is None else unit.aimed_at for unit in units],
        obs=np.stack([obs.get(name, blank) for name in env.possible_agents]),
        state=env.state(),
        mask=np.stack(
            [
                infos[name]["action_mask"].astype(bool) if living else valid
                for name, living in zip(env.possible_agents, env._living(), strict=True)
            ]
        ),
        alive=[name in env.agents for name in env.possible_agents],
        rewards=paid,
    )


def fight_batched(allies, enemies, plan, draw, time, arguments):
    """The scene is in the second sub-environment; the first and the third must not disturb it."""
    env = VectorSkirmish(3, **_settings(allies, enemies, arguments))
    env.reset(seed=0)
    for index, placed in enumerate([*allies, *enemies]):
        env._places[:, index, 1] = placed.x, placed.y
        if placed.health is not None:
            env._health[index, 1] = placed.health
        env._cooldown[index, 1] = placed.cooldown
        env._goals[:, index, 1] = placed.goal
        if index >= len(allies) and placed.focus is not None:
            env._focus[index - len(allies), 1] = placed.focus
    env._time[1] = time
    env._observe(slice(None))
    env._rng = FixedDraws(draw)
    after = {}
    restart = env._restart

    def keep_and_restart(rows, *rest):
        after.update(_kept(env))
        restart(rows, *rest)

    env._restart = keep_and_restart
    paid = []
    for actions in plan:
        after.clear()
        result = env.step(np.array([[STOP] * len(allies), actions, [STOP] * len(allies)]))
        paid.append(float(result.reward[1]))
    seen = result.final_observation
    ended = bool(result.terminated[1] or result.truncated[1])
    won = result.info.get("won", np.full(3, np.nan))[1]
    return Outcome(
        reward=paid[-1],
        terminated=bool(result.terminated[1]),
        truncated=bool(result.truncated[1]),
        won=bool(won) if not np.isnan(won) else None,
        **(after or _kept(env)),
        obs=seen.obs[1].copy(),
        state=seen.state[1].copy(),
        mask=seen.action_mask[1].copy(),
        alive=[False] * len(allies) if ended else seen.alive[1].tolist(),
        rewards=paid,
    )


def _kept(env):
    return {
        "places": env._places[:, :, 1].T.copy(),
        "health": env._health[:, 1].copy(),
        "cooldown": env._cooldown[:, 1].copy(),
        "actions": env._actions[:, 1].tolist(),
        "hits": env._hits[:, 1].tolist(),
    }


def far_away(kind="marine", **values):
    """A unit in a corner, out of sight of everybody elsewhere, that stays there."""
    return Placed(kind, 30, 30, goal=(30.0, 30.0), **values)


__all__ = [
    "ATTACK", "DOWN", "LEFT", "NO_UNIT", "RIGHT", "STOP", "SUB_STEPS", "UNIT_NAMES", "UP",
    "FixedDraws", "Outcome", "Placed", "far_away", "fight_batched", "fight_single_env",
]  # fmt: skip
