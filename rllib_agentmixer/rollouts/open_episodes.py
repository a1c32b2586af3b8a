"""Episodes that are under way across fragments, handed over when they end."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import join_tensors, map_tensors
from rllib_agentmixer.core.data.experience import Experience, Fragment


class OpenEpisodes:
    """Pieces of the running episodes of B sub-environments.

    Every step that is collected belongs to exactly one episode, however fragments are cut.

    Args:
        num_envs: B.
    """

    def __init__(self, num_envs: int) -> None:
        self._pieces: list[list[Experience]] = [[] for _ in range(num_envs)]

    @property
    def num_steps(self) -> int:
        """Steps of all running episodes."""
        return sum(len(piece.valid) for pieces in self._pieces for piece in pieces)

    def take(self, fragment: Fragment) -> list[Experience]:
        """Add a fragment; the episodes that ended in it, by time within each sub-environment.

        Each is [L + 1, 1, ...]: its steps, and a last row of what followed that is not valid.
        """
        steps = replace(fragment.steps, hidden=None, targets=None)
        ended = steps.terminated | steps.truncated
        episodes = []
        for index, pieces in enumerate(self._pieces):
            own = map_tensors(steps, lambda x, i=index: x[:, i : i + 1])
            first = 0
            for time in ended[:, index].nonzero().flatten().tolist():
                pieces.append(_cut(own, first, time + 1))
                pieces.append(_last_row(own, fragment, time, index))
                episodes.append(join_tensors(pieces))
                pieces.clear()
                first = time + 1
            if first < len(ended):
                pieces.append(map_tensors(_cut(own, first, len(ended)), Tensor.clone))
        return episodes


def _cut(steps: Experience, first: int, stop: int) -> Experience:
    return map_tensors(steps, lambda x: x[first:stop])


def _last_row(steps: Experience, fragment: Fragment, time: int, index: int) -> Experience:
    """Row after the last step: the true last observation where there is one.

    After a termination nothing follows; the row repeats the last step and does not count.
    """
    row = _cut(steps, time, time + 1)
    bootstrap = fragment.bootstraps.get(time)
    if bootstrap is not None and bool(fragment.steps.truncated[time, index]):
        inputs = map_tensors(bootstrap.inputs, lambda x: x[index].view(1, 1, *x.shape[1:]))
        row = replace(row, inputs=replace(inputs, latents=row.inputs.latents))
    return replace(row, valid=torch.zeros_like(row.valid))
