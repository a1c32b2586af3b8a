"""Skirmish: two heterogeneous teams fight on a map without obstacles; one team learns.

An action holds for 8 sub-steps of 1/16 s: move up, right, down or left, stop, or attack one
enemy. One sub-step, in this order, each part for all units at once:

1. a living unit whose action is an attack, whose weapon is ready and whose target lives and
   is closer than its range, shoots: the target loses ``damage``, the weapon rests for
   ``cooldown`` and between -1/16 and 2/16 s more, drawn evenly. Other weapons come 1/16 s
   closer to being ready;
2. living units move by ``speed`` / 16, but not out of the map;
3. a unit that touches the edge of the map dies, as does one without health;
4. living units that overlap are pushed apart.

An attack that cannot hit has no effect; masks tell which can. Enemies follow a script: shoot
at the closest unit in range, and at the same one until it dies or escapes; else move towards
the closest unit in sight; else towards the mirror image of where they started. They see no
farther than their sight range.

The team receives the share of the enemies' health that was lost in the step, and 1 for the
win: all enemies dead and an ally alive. So a won episode returns 2. It terminates as soon as
one side is dead and is truncated after ``max_steps``. ``won`` is in the infos of its end.

Source: SMAX of JaxMARL (Rutherford et al., NeurIPS 2024, arXiv:2311.10090, Apache License
2.0), which this follows but for:

1. units start at least 1 away from the edge, where SMAX lets some start beyond it and die;
2. scripted units turn away from a move into the edge, where SMAX lets them die there;
3. scripted units pursue the closest unit in sight, SMAX's one drawn in every step;
4. an enemy without a counterpart has a drawn type, in SMAX it is a marine;
5. the time limit truncates, in SMAX it terminates and comes one step later;
6. the target of an enemy's attack is shown by the target's own index, SMAX counts backwards;
7. the state is scaled and holds the time; SMAX's holds positions and cooldowns as they are,
   constant team numbers, and type numbers besides the flags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_agentmixer.envs.games.native import NativeParallelEnv
from rllib_agentmixer.envs.games.skirmish.drawing import Figure, draw_battle, write_battle
from rllib_agentmixer.envs.games.skirmish.rules import (
    MAP_SIZE,
    MOVES,
    NUM_MOVES,
    SECONDS,
    STOP,
    SUB_STEPS,
    UNIT_TYPES,
    checked_settings,
    deal_places,
    deal_types,
)
from rllib_agentmixer.envs.games.skirmish.unit import Unit
from rllib_agentmixer.envs.vector_env import FloatArray


class Skirmish(NativeParallelEnv):
    """Single-environment form of skirmish; the module states the rules.

    An ally observes of every other unit in sight, allies first: its share of health, x and y
    from itself divided by the own sight range, x and y of its last move, its last attack's
    action divided by the largest action (0 if it did not attack), its cooldown's share, and
    its type as flags; zeros for what is out of sight or dead. Then of itself: share of health,
    x and y divided by the map's size, cooldown's share, type. The state holds the latter of
    all units, zeros for the dead, and the share of time gone.

    The mask is in ``info["action_mask"]``: the living may always move and stop, and attack
    what lives within their range; all that is left to the dead is to stop.

    Args:
        num_allies: units that are agents, ``ally_0``, ``ally_1`` and so on.
        num_enemies: units that follow the script.
        unit_types: names of the allies' types in order, out of marine, marauder, stalker,
            zealot, zergling, hydralisk; None draws them in every episode.
        enemy_unit_types: of the enemies; None repeats those of the allies.
        starts: ``"reflect"``: allies anywhere in the left half, enemies mirrored;
            ``"surround"``: one side in the middle, the other around it; ``"random"``: either
            with equal chance; ``"facing"``: both sides in the middle of their half.
        max_steps: truncates the episode.
        render_mode: ``None``, ``"rgb_array"`` or ``"ansi"``.
    """

    metadata = {  # noqa: RUF012  PettingZoo declares it as a plain class attribute
        "name": "skirmish",
        "render_modes": ["rgb_array", "ansi"],
        "is_parallelizable": True,
        "render_fps": 4,
    }

    def __init__(
        self,
        num_allies: int = 3,
        num_enemies: int = 3,
        *,
        unit_types: Sequence[str] | None = None,
        enemy_unit_types: Sequence[str] | None = None,
        starts: str = "random",
        max_steps: int = 100,
        render_mode: str | None = None,
    ) -> None:
        self.settings = checked_settings(
            num_allies=num_allies,
            num_enemies=num_enemies,
            unit_types=unit_types,
            enemy_unit_types=enemy_unit_types,
            starts=starts,
            max_steps=max_steps,
        )
        super().__init__(
            agents=[f"ally_{index}" for index in range(num_allies)],
            observation_space=spaces.Box(-1.0, 1.0, (self.settings.obs_size,), np.float32),
            action_space=spaces.Discrete(self.settings.num_actions),
            state_space=spaces.Box(0.0, 1.0, (self.settings.state_size,), np.float32),
            render_mode=render_mode,
        )
        self._units: list[Unit] = []
        self._time = 0

    def state(self) -> FloatArray:
        features = [value for unit in self._units for value in unit.own_features()]
        return np.array([*features, self._time / self.settings.max_steps], np.float32)

    def _restart(self, rng: np.random.Generator) -> None:
        rules = self.settings
        draws = rng.random(rules.draws.size)[None]
        types, places = deal_types(rules, draws)[0], deal_places(rules, draws)[0]
        allies, enemies = range(rules.num_allies), range(rules.num_allies, rules.num_units)
        self._units = []
        for index, (number, place) in enumerate(zip(types, places.tolist(), strict=True)):
            kind = UNIT_TYPES[number]
            foes = enemies if index in allies else allies
            self._units.append(Unit(kind, place, foes, kind.health))
        self._push_apart()
        for unit in self._units:
            unit.goal = (MAP_SIZE - unit.place[0], MAP_SIZE - unit.place[1])
        self._time = 0

    def _advance(self, actions: list[Any], rng: np.random.Generator) -> tuple[float, bool, bool]:
        draws = rng.random((SUB_STEPS, self.settings.num_units)).tolist()
        self._time += 1
        scripted = [self._follow_script(enemy) for enemy in self._enemies]
        orders = [STOP if action is None else int(action) for action in actions]
        for unit, action in zip(self._units, [*orders, *scripted], strict=True):
            unit.action, unit.aimed_at = action, None
        before = self._enemy_health()
        for row in draws:
            self._sub_step(row)
        over = not any(enemy.is_alive for enemy in self._enemies) or not any(self._living())
        reward = before - self._enemy_health() + self._is_won
        return reward, over, not over and self._time >= self.settings.max_steps

    def _sub_step(self, draws: list[float]) -> None:
        hits = self._shoot(draws)
        for unit in self._units:
            if unit.is_alive:
                for axis, direction in enumerate(unit.move):
                    moved = unit.place[axis] + direction * unit.kind.speed * SECONDS
                    unit.place[axis] = min(max(moved, 0.0), MAP_SIZE)
        for target, damage in hits:
            target.health = max(target.health - damage, 0.0)
        for unit in self._units:
            if min(unit.place) <= 0 or max(unit.place) >= MAP_SIZE:
                unit.health = 0.0
        self._push_apart()

    def _shoot(self, draws: list[float]) -> list[tuple[Unit, float]]:
        """Damage per unit; shots of one sub-step are simultaneous."""
        hits = []
        for unit, draw in zip(self._units, draws, strict=True):
            target = None if unit.target is None else self._units[unit.target]
            ready = unit.is_alive and unit.cooldown <= 0
            if target is not None and ready and unit.reaches(target):
                hits.append((target, unit.kind.damage))
                unit.cooldown = unit.kind.cooldown + SECONDS * (3 * draw - 1)
                unit.aimed_at = unit.target
            else:
                unit.cooldown -= SECONDS
        return hits

    def _push_apart(self) -> None:
        """Pull every two living units that overlap apart until they would touch."""
        living = [unit for unit in self._units if unit.is_alive]
        shifts = [[0.0, 0.0] for _ in living]
        for index, unit in enumerate(living):
            for other_index, other in enumerate(living):
                reach = unit.kind.radius + other.kind.radius
                distance = unit.distance(other) + 1e-6
                if other_index != index and distance < reach:
                    for axis in range(2):
                        apart = unit.place[axis] - other.place[axis]
                        shifts[index][axis] += apart * (reach / distance - 1) / 2
        for unit, shift in zip(living, shifts, strict=True):
            unit.place = [value + change for value, change in zip(unit.place, shift, strict=True)]

    def _follow_script(self, unit: Unit) -> int:
        """Action of a scripted unit."""
        foes = [index for index in unit.foes if unit.is_alive and unit.sees(self._units[index])]
        foes.sort(key=lambda index: unit.distance(self._units[index]))
        in_range = [index for index in foes if unit.reaches(self._units[index])]
        if in_range:
            unit.focus = unit.focus if unit.focus in in_range else in_range[0]
            return NUM_MOVES + unit.foes.index(unit.focus)
        unit.focus = None
        towards = self._units[foes[0]].place if foes else unit.goal
        gap = [there - here for there, here in zip(towards, unit.place, strict=True)]
        stride = unit.kind.speed * SECONDS * SUB_STEPS
        gains = []
        for x, y in MOVES[:STOP]:
            end = (unit.place[0] + x * stride, unit.place[1] + y * stride)
            is_inside = min(end) > 0 and max(end) < MAP_SIZE
            gains.append(gap[0] * x + gap[1] * y if is_inside else -math.inf)
        return gains.index(max(gains))

    @property
    def _enemies(self) -> list[Unit]:
        return self._units[self.settings.num_allies :]

    def _enemy_health(self) -> float:
        """Remaining fraction of the enemies' health."""
        shares = [enemy.health / enemy.kind.health for enemy in self._enemies]
        return sum(shares) / len(shares)

    @property
    def _is_won(self) -> bool:
        return any(self._living()) and not any(enemy.is_alive for enemy in self._enemies)

    def _living(self) -> list[bool]:
        return [unit.is_alive for unit in self._units[: self.settings.num_allies]]

    def _info(self, index: int, is_over: bool) -> dict[str, Any]:
        ally = self._units[index]
        mask = np.zeros(self.settings.num_actions, np.int8)
        mask[:NUM_MOVES] = ally.is_alive
        mask[STOP] = 1
        mask[NUM_MOVES:] = [ally.is_alive and ally.reaches(enemy) for enemy in self._enemies]
        ending = {"won": self._is_won} if is_over else {}
        return {"action_mask": mask, **ending}

    def _observe(self, index: int) -> FloatArray:
        observer = self._units[index]
        others = [unit for unit in self._units if unit is not observer]
        seen = [value for unit in others for value in unit.seen_by(observer)]
        return np.array([*seen, *observer.own_features()], np.float32)

    def _figures(self) -> list[Figure]:
        allies = range(self.settings.num_allies)
        return [
            Figure(
                kind=unit.kind,
                is_ally=index in allies,
                place=(unit.place[0], unit.place[1]),
                health=unit.health / unit.kind.health,
                aimed_at=unit.aimed_at,
            )
            for index, unit in enumerate(self._units)
        ]

    def _picture(self) -> np.ndarray:
        return draw_battle(self._figures(), self._time, self.settings.max_steps)

    def _text(self) -> str:
        return write_battle(self._figures(), self._time, self.settings.max_steps)
