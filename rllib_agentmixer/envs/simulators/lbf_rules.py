"""Level-based foraging in which the seed alone decides what is random.

In the package, two things do besides it: where agents stood when the last episode ended, and
the order in which those who load are taken out of a set. Where one stands beside two pieces
of food that order decides which is loaded, and a set orders plain objects by their addresses.
"""

from __future__ import annotations

from typing import Any

from lbforaging.foraging import ForagingEnv
from lbforaging.foraging.environment import Player


class NumberedPlayer(Player):
    """A player that hashes to its number."""

    number = 0

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other

    def __reduce__(self) -> tuple[Any, ...]:
        """The number comes first: dictionaries of players are filled while it is unpickled."""
        return (numbered_player, (self.number,), self.__dict__)


def numbered_player(number: int) -> NumberedPlayer:
    """A player before it is set up."""
    player = NumberedPlayer()
    player.number = number
    return player


class SeededForaging(ForagingEnv):
    """The package's environment with numbered players that forget where they stood."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.players = [numbered_player(number) for number in range(len(self.players))]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        for player in self.players:
            player.position = None
        return super().reset(seed=seed, options=options)
