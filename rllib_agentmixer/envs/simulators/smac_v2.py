"""SMACv2, battles in StarCraft II, as a ParallelEnv; package and game come from their makers.

Reference: Ellis et al., "SMACv2: an improved benchmark for cooperative multi-agent
reinforcement learning", 2023, arXiv:2212.07489.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.vector_env import FloatArray
from rllib_agentmixer.errors import ConfigError, EnvContractError

TEAMS = {
    "terran": ("marine", "marauder", "medivac"),
    "protoss": ("stalker", "zealot", "colossus"),
    "zerg": ("zergling", "hydralisk", "baneling"),
}
"""Unit types of each race; the last one never makes up a team alone."""

WEIGHTS = (0.45, 0.45, 0.1)
"""Probability of each type."""

NOTHING = 0
"""The action that dead units, and only they, may take."""


def smac_v2(
    *,
    race: str = "terran",
    n_units: int = 5,
    n_enemies: int = 5,
    map_name: str | None = None,
    capability_config: dict[str, Any] | None = None,
    render_mode: str | None = None,
    **settings: Any,
) -> SmacV2:
    """Battles of SMACv2 with random teams and starts.

    Args:
        race: ``terran``, ``protoss`` or ``zerg``; chooses map and unit types.
        n_units: size of the learning team.
        n_enemies: size of the enemy team.
        map_name: None for ``10gen_<race>``.
        capability_config: SMACv2's full description of teams and starts; None for the
            benchmark's of this race and these numbers.
        render_mode: None; rendering is not supported.
        settings: any other argument of ``StarCraft2Env``, such as ``conic_fov``.

    Raises:
        ConfigError: an unknown race, or fewer than one unit.
    """
    if race not in TEAMS:
        raise ConfigError(f"race must be one of {list(TEAMS)}, got {race!r}")
    if min(n_units, n_enemies) < 1:
        raise ConfigError(f"each side needs a unit, got n_units={n_units}, n_enemies={n_enemies}")
    if render_mode is not None:
        raise ConfigError(f"SMACv2 cannot render; render_mode must be None, got {render_mode!r}")
    from smacv2.env.starcraft2.wrapper import (  # type: ignore[reportMissingImports]
        StarCraftCapabilityEnvWrapper,
    )

    benchmark = {"obs_own_pos": True, "use_unit_ranges": True, "min_attack_range": 2}
    game = StarCraftCapabilityEnvWrapper(
        capability_config=capability_config or _capabilities(race, n_units, n_enemies),
        map_name=map_name or f"10gen_{race}",
        **(benchmark | settings),
    )
    return SmacV2(game)


def _capabilities(race: str, n_units: int, n_enemies: int) -> dict[str, Any]:
    """The benchmark's distribution of teams and starts."""
    return {
        "n_units": n_units,
        "n_enemies": n_enemies,
        "team_gen": {
            "dist_type": "weighted_teams",
            "unit_types": list(TEAMS[race]),
            "exception_unit_types": [TEAMS[race][-1]],
            "weights": list(WEIGHTS),
            "observe": True,
        },
        "start_positions": {
            "dist_type": "surrounded_and_reflect",
            "p": 0.5,
            "n_enemies": n_enemies,
            "map_x": 32,
            "map_y": 32,
        },
    }


class SmacV2(ParallelEnv):
    """SMACv2's interface as PettingZoo's. All agents share one reward.

    A unit that dies leaves the episode. The time limit, which the game reports as an end, and
    a lost connection truncate. Infos hold the action mask and ``won``. Seeds have no effect:
    the game plays differently every time.

    Args:
        game: a ``StarCraftCapabilityEnvWrapper``, or anything with its methods.
    """

    metadata = {  # noqa: RUF012  PettingZoo declares it as a plain class attribute
        "name": "smacv2",
        "render_modes": [],
        "is_parallelizable": True,
        "render_fps": 4,
    }

    render_mode = None

    def __init__(self, game: Any) -> None:
        self._game = game
        numbers = game.get_env_info()
        self.possible_agents = [f"agent_{index}" for index in range(numbers["n_agents"])]
        self.agents: list[str] = []
        self._limit = int(numbers["episode_limit"])
        self._num_enemies: int | None = getattr(game, "n_enemies", None)
        self.action_spaces = {
            name: spaces.Discrete(int(numbers["n_actions"])) for name in self.possible_agents
        }
        self.observation_spaces = {
            name: spaces.Box(-np.inf, np.inf, (int(numbers["obs_shape"]),), np.float32)
            for name in self.possible_agents
        }
        shape = (int(numbers["state_shape"]),)
        self.state_space = spaces.Box(-np.inf, np.inf, shape, np.float32)
        self._state = np.zeros(shape, np.float32)
        self._obs: dict[str, FloatArray] = {}
        self._masks: dict[str, np.ndarray] = {}
        self._num_steps = 0

    def observation_space(self, agent: str) -> spaces.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        return self.action_spaces[agent]

    def state(self) -> FloatArray:
        return self._state.copy()

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, FloatArray], dict[str, dict[str, Any]]]:
        """Start a battle; the seed has no effect."""
        self._game.reset()  # returns nothing after a lost connection: read below
        self.agents = list(self.possible_agents)
        self._num_steps = 0
        self._look()
        return dict(self._obs), self._infos({})

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        if not self.agents:
            raise EnvContractError("smacv2: the battle is over; call reset() before step()")
        fighting = list(self.agents)
        ordered = [self._checked(name, actions) for name in self.possible_agents]
        reward, is_over, info = self._game.step(ordered)
        self._num_steps += 1
        has_lost_connection = is_over and not info
        if not has_lost_connection:
            self._look()
        was_cut = is_over and (has_lost_connection or self._is_time_up(info))
        dead = {name for name in fighting if self._is_dead(name)}
        ended = is_over and not was_cut
        infos = self._infos(info)
        self.agents = [] if is_over else [name for name in fighting if name not in dead]
        return (
            {name: self._obs[name] for name in fighting},
            dict.fromkeys(fighting, float(reward)),
            {name: ended or name in dead for name in fighting},
            {name: was_cut and name not in dead for name in fighting},
            {name: infos[name] for name in fighting},
        )

    def close(self) -> None:
        self._game.close()

    def _checked(self, name: str, actions: dict[str, Any]) -> int:
        """The action of one unit; the game itself stops with an AssertionError."""
        if name not in self.agents:
            return NOTHING
        action = int(actions[name])
        mask = self._masks[name]
        if not 0 <= action < mask.size or not mask[action]:
            raise EnvContractError(
                f"smacv2, step {self._num_steps}: {name} may do {np.flatnonzero(mask).tolist()}, "
                f"got {action}"
            )
        return action

    def _is_dead(self, name: str) -> bool:
        return bool(self._masks[name][NOTHING])

    def _is_time_up(self, info: dict[str, Any]) -> bool:
        """True if the limit ended a battle in which both sides still had units."""
        is_won = bool(info.get("battle_won"))
        is_lost = all(self._is_dead(name) for name in self.possible_agents)
        is_cleared = info.get("dead_enemies", -1) == self._num_enemies
        return self._num_steps >= self._limit and not (is_won or is_lost or is_cleared)

    def _look(self) -> None:
        """Read observations, state and masks; masks per agent, as the joint call often fails."""
        obs = self._game.get_obs()
        self._obs = {
            name: np.asarray(own, np.float32)
            for name, own in zip(self.possible_agents, obs, strict=True)
        }
        self._state = np.asarray(self._game.get_state(), np.float32)
        self._masks = {
            name: np.asarray(self._game.get_avail_agent_actions(index), np.int8)
            for index, name in enumerate(self.possible_agents)
        }

    def _infos(self, info: dict[str, Any]) -> dict[str, dict[str, Any]]:
        numbers = {**info, "won": bool(info.get("battle_won", False))}
        return {
            name: {**numbers, "action_mask": self._masks[name]} for name in self.possible_agents
        }

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a game of StarCraft II in progress cannot be copied")
