"""Replay of whole episodes: a ring of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rllib_agentmixer.core.data.columns import experience_of, step_columns
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.data.layout import TeamLayout


class EpisodeReplay:
    """The newest episodes, each of L + 1 rows, of which the last holds what followed.

    Columns lie in arrays [E, T, ...] that grow when a longer episode comes. An episode that is
    added replaces the oldest, whatever their lengths.

    Args:
        capacity: E, episodes.
        layout: of joint observations.
    """

    def __init__(self, capacity: int, layout: TeamLayout) -> None:
        self.capacity = capacity
        self.layout = layout
        self.num_added = 0
        self._columns: dict[str, Tensor] = {}
        self._lengths = torch.zeros(capacity, dtype=torch.long)

    def __len__(self) -> int:
        return min(self.num_added, self.capacity)

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays."""
        return sum(x.element_size() * x.nelement() for x in self._columns.values())

    def add(self, episode: Experience) -> None:
        """Store an episode, [L + 1, 1, ...]; its last row is not valid."""
        columns = {name: x[:, 0] for name, x in step_columns(episode, self.layout).items()}
        num_rows = len(episode.valid)
        self._make_room(columns, num_rows)
        index = self.num_added % self.capacity
        for name, column in columns.items():
            self._columns[name][index, :num_rows] = column
        self._lengths[index] = num_rows
        self.num_added += 1

    def _make_room(self, columns: Mapping[str, Tensor], num_rows: int) -> None:
        for name, column in columns.items():
            stored = self._columns.get(name)
            longest = 0 if stored is None else stored.shape[1]
            if num_rows <= longest:
                continue
            # At least half as long again, so that growing episodes seldom copy everything.
            room = max(num_rows, longest + longest // 2)
            grown = column.new_zeros(self.capacity, room, *column.shape[1:])
            if stored is not None:
                grown[:, :longest] = stored
            self._columns[name] = grown

    def sample(self, num_episodes: int, generator: torch.Generator) -> Experience:
        """Episodes drawn with replacement, [T, B, ...] padded to the longest of them."""
        chosen = torch.randint(len(self), (num_episodes,), generator=generator)
        lengths = self._lengths[chosen]
        longest = int(lengths.max())
        times = torch.arange(longest).unsqueeze(1)
        # Padding repeats the last row: its values are finite, and none counts.
        rows = torch.minimum(times, lengths - 1)
        columns = {name: x[chosen, rows] for name, x in self._columns.items()}
        return experience_of(columns, times < lengths - 1, self.layout)

    def state_dict(self) -> dict[str, Any]:
        """All stored episodes, without unused capacity."""
        size = len(self)
        return {
            "num_added": self.num_added,
            "lengths": self._lengths[:size].clone(),
            "columns": {name: x[:size].clone() for name, x in self._columns.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict` of a replay of the same capacity.

        Raises:
            ValueError: the other one stored another number of episodes.
        """
        size = len(state["lengths"])
        if size != min(state["num_added"], self.capacity):
            raise ValueError(
                f"a replay of {self.capacity} episodes cannot continue one that stored {size} of "
                f"{state['num_added']}; restore with the same replay_capacity"
            )
        self.num_added = state["num_added"]
        self._lengths[:size] = state["lengths"]
        self._columns = {}
        for name, column in state["columns"].items():
            self._columns[name] = column.new_zeros(self.capacity, *column.shape[1:])
            self._columns[name][:size] = column
