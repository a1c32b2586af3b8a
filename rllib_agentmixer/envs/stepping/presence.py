"""Presence of agents in an episode, by PettingZoo's lists and flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Presence:
    """Agents that still act in an episode.

    Some environments keep listing agents that have ended; those stay dead. An agent that left
    ``env.agents`` and returns lives again.
    """

    def __init__(self) -> None:
        self.listed: set[Any] = set()
        self._ended: set[Any] = set()

    def begin(self, listed: Iterable[Any]) -> None:
        """Start an episode with the agents in ``env.agents``."""
        self.listed = set(listed)
        self._ended.clear()

    def follow(
        self, listed: Iterable[Any], terminated: Mapping[Any, Any], truncated: Mapping[Any, Any]
    ) -> None:
        """Take in a step's flags and the list after it."""
        now = set(listed)
        self._ended -= now - self.listed
        self._ended.update(name for name, ended in terminated.items() if ended)
        self._ended.update(name for name, ended in truncated.items() if ended)
        self.listed = now

    def __contains__(self, name: Any) -> bool:
        return name in self.listed and name not in self._ended

    @property
    def living(self) -> set[Any]:
        """Agents that act next; empty once the episode has ended."""
        return self.listed - self._ended
