"""Level-based foraging in which the seed alone determines all randomness.

In the package, two other things matter: the agents' positions at the end of the last episode,
and the iteration order of the set of loading agents, which depends on memory addresses. If an
agent stands beside two pieces of food, that order determines which one is loaded.
"""

from __future__ import annotations

from typing import Any

from lbforaging.foraging import ForagingEnv
from lbforaging.foraging.environment import Player


class NumberedPlayer(Player):
    """A player whose hash is its index."""

    number = 0

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other

    def __reduce__(self) -> tuple[Any, ...]:
        """Set the index first: dictionaries of players are filled during unpickling."""
        return (numbered_player, (self.number,), self.__dict__)


def numbered_player(number: int) -> NumberedPlayer:
    """An uninitialized player."""
    player = NumberedPlayer()
    player.number = number
    return player


class SeededForaging(ForagingEnv):
    """The package's environment with indexed players whose positions are reset."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.players = [numbered_player(number) for number in range(len(self.players))]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        for player in self.players:
            player.position = None
        return super().reset(seed=seed, options=options)
