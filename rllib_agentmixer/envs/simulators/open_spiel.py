"""Simultaneous-move games of OpenSpiel as cooperative teams, such as coop_box_pushing.

Reference: Lanctot et al., "OpenSpiel", 2019, arXiv:1908.09453; cooperative box pushing:
Seuken and Zilberstein 2007.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.games import drawing
from rllib_agentmixer.envs.vector_env import FloatArray
from rllib_agentmixer.errors import ConfigError, EnvContractError

BOARD_GAMES = ("coop_box_pushing",)
"""Games whose text is a board that can be drawn."""

COLOURS = {"b": drawing.WOOD, "B": drawing.RED}
"""Colours of small and large boxes."""


def open_spiel(
    *, game: str = "coop_box_pushing", render_mode: str | None = None, **parameters: Any
) -> OpenSpielGame:
    """A single game of OpenSpiel as a ParallelEnv.

    Args:
        game: short name in OpenSpiel; all must move at once and win together.
        render_mode: None, ``"ansi"``, or ``"rgb_array"`` where the game is a board.
        parameters: of the game, such as ``horizon``.

    Raises:
        ConfigError: no such game or parameter, or not a cooperative game of this kind.
    """
    return OpenSpielGame(game, render_mode, parameters)


class OpenSpielGame(ParallelEnv):
    """A simultaneous-move game; chance moves are drawn by its own generator.

    Agents see the game's observation tensor. The state is the tensor of the same game, fully
    observed, where it has a parameter ``fully_observable``; elsewhere there is none. A game
    that has reached its ``horizon`` is truncated. Moves that the rules forbid are masked.
    """

    metadata = {  # noqa: RUF012  PettingZoo declares it as a plain class attribute
        "name": "open_spiel",
        "render_modes": ["ansi", "rgb_array"],
        "is_parallelizable": True,
        "render_fps": 4,
    }

    def __init__(self, game: str, render_mode: str | None, parameters: dict[str, Any]) -> None:
        self._arguments = (game, render_mode, parameters)
        modes = [mode for mode in self.metadata["render_modes"] if _can_draw(game, mode)]
        if render_mode is not None and render_mode not in modes:
            raise ConfigError(
                f"render_mode of {game!r} must be None or one of {modes}, got {render_mode!r}"
            )
        self.render_mode = render_mode
        self._game = _load_game(game, parameters)
        whole = {**parameters, "fully_observable": True}
        has_state = "fully_observable" in self._game.get_parameters()
        # The same moves in a game that hides nothing: its tensor is the state.
        self._whole_game = _load_game(game, whole) if has_state else None
        num_agents, self._num_actions = self._game.num_players(), self._game.num_distinct_actions()
        self.possible_agents = [f"agent_{index}" for index in range(num_agents)]
        self.agents: list[str] = []
        self.action_spaces = {
            name: spaces.Discrete(self._num_actions) for name in self.possible_agents
        }
        size = int(np.prod(self._game.observation_tensor_shape()))
        self.observation_spaces = {
            name: spaces.Box(-np.inf, np.inf, (size,), np.float32) for name in self.possible_agents
        }
        self._horizon = self._game.get_parameters().get("horizon")
        self._states: list[Any] = []
        self._num_steps = 0
        self.np_random: np.random.Generator | None = None

    def observation_space(self, agent: str) -> spaces.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        return self.action_spaces[agent]

    @property
    def state_space(self) -> spaces.Box:
        """Space of the global state; requires a reset before."""
        return spaces.Box(-np.inf, np.inf, self.state().shape, np.float32)

    def state(self) -> FloatArray:
        """The fully observed game's tensor.

        Raises:
            NotImplementedError: the game has no fully observable form.
        """
        if self._whole_game is None:
            raise NotImplementedError(f"{self._arguments[0]} has no global state")
        return np.array(self._states[1].observation_tensor(0), np.float32)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, FloatArray], dict[str, dict[str, Any]]]:
        """Start a game; a seed determines all randomness from here on."""
        if seed is not None or self.np_random is None:
            self.np_random = seeding.np_random(seed)[0]
        games = [self._game] if self._whole_game is None else [self._game, self._whole_game]
        self._states = [game.new_initial_state() for game in games]
        self.agents = list(self.possible_agents)
        self._num_steps = 0
        self._draw_chance()
        return self._observations(), self._infos()

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        if not self.agents:
            raise EnvContractError("open_spiel: the game is over; call reset() before step()")
        state = self._states[0]
        ordered = [int(actions[name]) for name in self.possible_agents]
        for index, action in enumerate(ordered):
            if action not in state.legal_actions(index):
                raise EnvContractError(
                    f"open_spiel: agent_{index} may do {state.legal_actions(index)}, got {action}"
                )
        before = state.returns()
        for shown in self._states:
            shown.apply_actions(ordered)
        self._draw_chance()
        self._num_steps += 1
        names = self.possible_agents
        is_over = state.is_terminal()
        was_cut = is_over and self._horizon is not None and self._num_steps >= self._horizon
        if is_over:
            self.agents = []
        # Differences of returns hold whatever chance moves lay between.
        rewards = [after - old for after, old in zip(state.returns(), before, strict=True)]
        return (
            self._observations(),
            dict(zip(names, rewards, strict=True)),
            dict.fromkeys(names, is_over and not was_cut),
            dict.fromkeys(names, was_cut),
            self._infos(),
        )

    def render(self) -> np.ndarray | str | None:
        """Text or RGB picture of the board, as ``render_mode`` says."""
        if self.render_mode is None:
            return None
        text = str(self._states[0])
        return text if self.render_mode == "ansi" else _draw_board(text)

    def close(self) -> None:
        """Do nothing: there are no resources to release."""

    def _draw_chance(self) -> None:
        state = self._states[0]
        while state.is_chance_node():
            outcomes, probabilities = zip(*state.chance_outcomes(), strict=True)
            assert self.np_random is not None  # noqa: S101  reset() has made it
            place = self.np_random.choice(len(outcomes), p=probabilities)
            for shown in self._states:
                shown.apply_action(outcomes[place])

    def _observations(self) -> dict[str, FloatArray]:
        state = self._states[0]
        return {
            name: np.array(state.observation_tensor(index), np.float32)
            for index, name in enumerate(self.possible_agents)
        }

    def _infos(self) -> dict[str, dict[str, Any]]:
        infos: dict[str, dict[str, Any]] = {}
        for index, name in enumerate(self.possible_agents):
            mask = np.zeros(self._num_actions, np.int8)
            mask[self._states[0].legal_actions(index)] = 1
            infos[name] = {"action_mask": mask}
        return infos

    def __getstate__(self) -> dict[str, Any]:
        return {
            "arguments": self._arguments,
            "agents": self.agents,
            "num_steps": self._num_steps,
            "generator": self.np_random,
            "states": [state.serialize() for state in self._states],
        }

    def __setstate__(self, snapshot: dict[str, Any]) -> None:
        self.__init__(*snapshot["arguments"])
        self.agents, self._num_steps = snapshot["agents"], snapshot["num_steps"]
        self.np_random = snapshot["generator"]
        games = (self._game, self._whole_game)
        self._states = [
            game.deserialize_state(text)
            for game, text in zip(games, snapshot["states"], strict=False)
            if game is not None
        ]


def _load_game(name: str, parameters: dict[str, Any]) -> Any:
    import pyspiel

    if name not in pyspiel.registered_names():
        raise ConfigError(f"OpenSpiel has no game {name!r}; see pyspiel.registered_names()")
    try:
        game = pyspiel.load_game(name, parameters)
    except pyspiel.SpielError as error:
        raise ConfigError(f"OpenSpiel's game {name!r} rejects {parameters}: {error}") from error
    kind = game.get_type()
    is_team = kind.utility == pyspiel.GameType.Utility.IDENTICAL
    moves_at_once = kind.dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS
    if not (is_team and moves_at_once and kind.provides_observation_tensor):
        raise ConfigError(
            f"OpenSpiel's game {name!r} is not a cooperative game of simultaneous moves (dynamics: "
            f"{kind.dynamics.name}, utility: {kind.utility.name}, observation tensor: "
            f"{kind.provides_observation_tensor}); coop_box_pushing is one"
        )
    return game


def _can_draw(game: str, mode: str) -> bool:
    return mode == "ansi" or game in BOARD_GAMES


def _draw_board(text: str) -> np.ndarray:
    """Boxes as coloured cells, agents as discs with a dot in their direction."""
    rows = [line for line in text.splitlines() if line and ":" not in line]
    ground, discs = {}, []
    for row, line in enumerate(rows):
        for column, sign in enumerate(line):
            if sign in COLOURS:
                ground[row, column] = COLOURS[sign]
            elif sign in "<>^v":
                down, right = {"<": (0, -1), ">": (0, 1), "^": (-1, 0), "v": (1, 0)}[sign]
                discs.append(drawing.Disc(row, column, drawing.BLUE))
                nose = (row + 0.25 * down, column + 0.25 * right)
                discs.append(drawing.Disc(*nose, drawing.PAPER, radius=0.1))
    return drawing.draw_board(len(rows), len(rows[0]), discs, ground=ground)
