"""Registry of algorithms, read by configurations, commands, tests and documentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from rllib_agentmixer.core.algorithms import actor_critic, agentmixer, sequential, value_based
from rllib_agentmixer.core.algorithms.entry import AlgorithmEntry
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.utils.suggest import unknown_name


class Registry(Mapping[str, AlgorithmEntry]):
    """Entries by name, in the order of registration."""

    def __init__(self, *entries: AlgorithmEntry) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def __getitem__(self, name: str) -> AlgorithmEntry:
        if name not in self._entries:
            raise ConfigError(
                f"{unknown_name('algorithm', name, self._entries)}; one of your own is known "
                "once the module that registers it is imported"
            )
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: AlgorithmEntry) -> None:
        """Add an entry; adding the same one again has no effect."""
        known = self._entries.get(entry.name)
        if known is not None and known != entry:
            raise ConfigError(
                f"an algorithm named {entry.name!r} is registered already ({known.summary}); "
                "choose another name"
            )
        self._entries[entry.name] = entry

    def remove(self, name: str) -> None:
        """Remove an entry; existing configurations retain it."""
        self._entries.pop(name, None)


ALGORITHMS = Registry(
    *agentmixer.ENTRIES,
    *actor_critic.ENTRIES,
    *sequential.ENTRIES,
    *value_based.ENTRIES,
)
"""Name -> entry of every algorithm that is known to this process."""


def register_algorithm(entry: AlgorithmEntry) -> AlgorithmEntry:
    """Register an algorithm by name for configurations, commands, checkpoints and searches.

    Args:
        entry: of the algorithm; its parts are checked when it is made.

    Returns:
        The entry.

    Raises:
        ConfigError: it is not an entry, or its name is taken by another algorithm.
    """
    given: Any = entry
    if not isinstance(given, AlgorithmEntry):
        raise ConfigError(f"register_algorithm takes an AlgorithmEntry, got {given!r}")
    ALGORITHMS.add(entry)
    return entry


def owners_of(setting: str) -> list[str]:
    """Algorithms that have a setting of this name."""
    return [name for name, entry in ALGORITHMS.items() if setting in entry.settings.names()]


def setting_rows(algorithm: str = "agentmixer") -> list[tuple[str, Any, str]]:
    """Name, default and allowed values of every setting of an algorithm, for listings.

    Raises:
        ConfigError: no such algorithm.
    """
    entry = ALGORITHMS[algorithm]
    settings = entry.make_settings()
    defaults = entry.default_rllib(settings)
    rows = [(f, getattr(settings, f.name)) for f in fields(entry.settings)]
    rows += [(f, getattr(defaults, f.name)) for f in fields(entry.rllib)]
    return [
        (f.name, value, f.metadata["range"].description if "range" in f.metadata else "any value")
        for f, value in rows
    ]
