"""Layout of joint observations as flat rows, the form in which RLlib transports them.

RLlib flattens a dictionary observation in the alphabetical order of its keys; the same
order is used here, so rows written by the vectorised worker and by RLlib's own
preprocessor are interchangeable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import TeamInputs
from rllib_agentmixer.core.data.sizes import TeamSizes

FIELDS = ("action_mask", "alive", "obs", "state")
"""Keys of the joint observation, in RLlib's order."""


@dataclass(frozen=True)
class TeamLayout:
    """Layout of the parts of a joint observation in a row of F floats."""

    sizes: TeamSizes

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each field for one team."""
        n = self.sizes.num_agents
        return {
            "action_mask": (n, self.sizes.num_actions),
            "alive": (n,),
            "obs": (n, self.sizes.obs_size),
            "state": (self.sizes.state_size,),
        }

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Columns of each field."""
        start, slices = 0, {}
        for name, shape in self.shapes.items():
            stop = start + torch.Size(shape).numel()
            slices[name] = slice(start, stop)
            start = stop
        return slices

    @cached_property
    def row_size(self) -> int:
        """F."""
        return self.slices[FIELDS[-1]].stop

    def pack(self, parts: dict[str, Any], out: Any) -> None:
        """Write fields ``[B, ...]`` into rows ``[B, F]`` (NumPy arrays)."""
        for name, columns in self.slices.items():
            out[:, columns] = parts[name].reshape(len(out), -1)

    def alive(self, rows: Any) -> Any:
        """[.., N] which agents took part, in rows [.., F]."""
        return rows[..., self.slices["alive"]] > 0.5

    def rows(self, inputs: TeamInputs) -> Tensor:
        """Rows ``[.., F]`` of joint observations; the opposite of :meth:`inputs`."""
        leading = inputs.alive.shape[:-1]
        rows = inputs.obs.new_empty(*leading, self.row_size)
        for name, columns in self.slices.items():
            rows[..., columns] = getattr(inputs, name).reshape(*leading, -1)
        return rows

    def inputs(self, rows: Tensor) -> TeamInputs:
        """View rows ``[.., F]`` as what the networks read."""
        slices, shapes = self.slices, self.shapes

        def part(name: str) -> Tensor:
            return rows[..., slices[name]].unflatten(-1, shapes[name])

        return TeamInputs(
            obs=part("obs"),
            state=rows[..., slices["state"]],
            action_mask=part("action_mask") > 0.5,
            alive=self.alive(rows),
        )
