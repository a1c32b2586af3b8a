"""Raw observations of one agent as rows, by the description of their space in a manifest.

Gymnasium's ``flatten`` without Gymnasium: what training does to an observation is repeated where
nothing but PyTorch is installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MASK = "action_mask"
OBSERVATION = "observation"

FLAT_KINDS = ("Box", "MultiBinary")
"""Spaces whose observations are arrays of numbers that are read as they are."""


@dataclass(frozen=True)
class ObservationReader:
    """Conversion of one agent's observations, as its environment gives them, to rows [O].

    Attributes:
        size: O.
        space: description of the space in the manifest, without the action mask; None of earlier
            exports of spaces other than Box, which take flattened observations only.
        holds_mask: observations are ``{"observation": .., "action_mask": ..}``.
    """

    size: int
    space: Mapping[str, Any] | None = None
    holds_mask: bool = False

    @classmethod
    def from_manifest(cls, space: Mapping[str, Any], size: int) -> ObservationReader:
        """Reader of the observations that a manifest describes."""
        parts = space.get("spaces", {})
        holds_mask = space["type"] == "Dict" and MASK in parts
        inner = parts[OBSERVATION] if holds_mask else space
        known = None if "description" in inner else inner
        return cls(size, known, holds_mask)

    def split(self, obs: Any) -> tuple[Any, Any]:
        """Observation and action mask of PettingZoo's form; else the mask is None."""
        if isinstance(obs, Mapping) and (self.holds_mask or {*obs} == {OBSERVATION, MASK}):
            return obs[OBSERVATION], obs.get(MASK)
        return obs, None

    def row(self, obs: Any) -> Tensor:
        """[O] observation as the network's preprocessing reads it.

        Args:
            obs: as the environment gives it, or flattened already.

        Raises:
            ValueError: it does not fit the space.
        """
        if self.space is None or self._is_flat(self.space, obs):
            row = numbers(obs)
        else:
            row = flattened(self.space, obs)
        if row.numel() != self.size:
            raise ValueError(f"{row.numel()} entries instead of {self.size}")
        return row

    def _is_flat(self, space: Mapping[str, Any], obs: Any) -> bool:
        """Whether an array can only be an observation that was flattened already."""
        shape = getattr(obs, "shape", None)
        if shape is None or math.prod(shape) != self.size or self.size == 1:
            return False
        return space["type"] != "MultiDiscrete" or len(numbers(space["n"])) != self.size


def numbers(value: Any) -> Tensor:
    """[..] float32 copy of numbers in any form: lists, tensors, arrays of any layout."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", torch.float32).reshape(-1)
    if hasattr(value, "astype"):  # NumPy's; other layouts and byte orders become PyTorch's
        return torch.from_numpy(value.astype("float32", order="C").reshape(-1))
    return torch.tensor(value, dtype=torch.float32).reshape(-1)


def flattened(space: Mapping[str, Any], value: Any) -> Tensor:
    """[O] numbers of a value of a space: choices one-hot, parts one behind the other.

    Raises:
        ValueError: it does not fit.
    """
    kind = space["type"]
    if kind in FLAT_KINDS:
        return numbers(value)
    if kind == "Discrete":
        return _one_hot(_integer(value) - space["start"], space["n"])
    if kind == "MultiDiscrete":
        sizes = numbers(space["n"]).long().tolist()
        starts = numbers(space["start"]).long().tolist()
        chosen = numbers(value).long().tolist()
        parts = zip(chosen, starts, sizes, strict=True)
        return torch.cat([_one_hot(choice - start, size) for choice, start, size in parts])
    if kind == "Dict":
        if not isinstance(value, Mapping):
            raise ValueError(f"a dictionary of {', '.join(space['spaces'])} is expected")
        named = {str(name): part for name, part in value.items()}
        if named.keys() != space["spaces"].keys():
            raise ValueError(f"keys {sorted(named)} instead of {sorted(space['spaces'])}")
        return torch.cat([flattened(part, named[n]) for n, part in space["spaces"].items()])
    if kind == "Tuple":
        return torch.cat(
            [flattened(part, item) for part, item in zip(space["spaces"], value, strict=True)]
        )
    raise ValueError(f"a space of type {kind!r} is not known")


def _one_hot(index: int, size: int) -> Tensor:
    if not 0 <= index < size:
        raise ValueError(f"choice {index} (counted from 0) is none of {size}")
    row = torch.zeros(size)
    row[index] = 1.0
    return row


def _integer(value: Any) -> int:
    number = numbers(value)
    if number.numel() != 1 or not float(number).is_integer():
        raise ValueError(f"an integer is expected, got {value!r}")
    return int(number)
