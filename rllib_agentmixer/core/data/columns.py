"""Columns of experience: dataclasses of tensors as flat named arrays, and back.

The fields of a dataclass are its columns, so a learner that stores something declares a field
and nothing else. Three fields have a form of their own: joint observations are one flat row
(:class:`.TeamLayout`), actions are flat as RLlib's action space is, and a recurrent state
belongs to a sequence instead of a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from rllib_agentmixer.core.data.batch import Latents, RecurrentState
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.data.layout import TeamLayout

OBS = "obs"
STATE_IN = "state_in_"
"""RLlib's prefix of columns that have one row per sequence."""

Structure = TypeVar("Structure")


def column_name(entry: Field[Any]) -> str:
    """Name under which a field travels."""
    return entry.metadata.get("column", entry.name)


def to_columns(structure: Any) -> dict[str, Tensor]:
    """Tensors of a dataclass, and of those inside it, by column; None has no column."""
    columns: dict[str, Tensor] = {}
    for entry in fields(structure):
        value = getattr(structure, entry.name)
        if is_dataclass(value):
            columns |= to_columns(value)
        elif value is not None:
            columns[column_name(entry)] = value
    return columns


def from_columns(kind: type[Structure], columns: Mapping[str, Tensor]) -> Structure:
    """A flat dataclass of tensors from its columns; fields that have none are omitted."""
    entries = {e.name: column_name(e) for e in fields(kind)}  # type: ignore[arg-type]
    return kind(**{field: columns[name] for field, name in entries.items() if name in columns})


def stored_columns(targets: type | None) -> set[str]:
    """Names of all columns that experience can have, with the targets of a learner."""
    kinds = [Experience, Latents, *([targets] if targets is not None else [])]
    return {OBS, *(column_name(entry) for kind in kinds for entry in fields(kind))}


def step_columns(steps: Experience, layout: TeamLayout) -> dict[str, Tensor]:
    """Columns [T, B, ...] of all that is stored with every step, padding included."""
    columns = {OBS: layout.rows(steps.inputs)}
    if steps.inputs.latents is not None:
        columns |= to_columns(steps.inputs.latents)
    for entry in fields(steps):
        value = getattr(steps, entry.name)
        if entry.name != "valid" and isinstance(value, Tensor):
            columns[column_name(entry)] = value
    columns["actions"] = steps.actions.flatten(2)
    if steps.targets is not None:
        columns |= to_columns(steps.targets)
    return columns


def experience_of(
    columns: Mapping[str, Tensor],
    valid: Tensor,
    layout: TeamLayout,
    *,
    targets: type | None = None,
    hidden: RecurrentState | None = None,
) -> Experience:
    """Experience from columns [T, B, ...].

    Args:
        columns: of :func:`step_columns`, in any order; others are ignored.
        valid: [T, B] False on padding.
        layout: of the joint observation.
        targets: dataclass of the learner's own columns, or None.
        hidden: recurrent state before the first step.
    """
    inputs = layout.inputs(columns[OBS])
    if any(entry.name in columns for entry in fields(Latents)):
        inputs = replace(inputs, latents=from_columns(Latents, columns))
    own: dict[str, Any] = {
        entry.name: columns[column_name(entry)]
        for entry in fields(Experience)
        if column_name(entry) in columns and entry.name not in ("actions", "inputs")
    }
    actions = columns["actions"]
    if not layout.sizes.is_discrete:
        actions = actions.unflatten(-1, (layout.sizes.num_agents, -1))
    stored = None if targets is None else from_columns(targets, columns)
    own |= {"valid": valid, "hidden": hidden, "targets": stored}
    return Experience(inputs=inputs, actions=actions, **own)


def state_columns(hidden: RecurrentState) -> dict[str, Tensor]:
    """Parts of a recurrent state [X, B, H] by column [B, X, H], sequences first."""
    parts = [x for x in vars(hidden).values() if x is not None]
    return {f"{STATE_IN}{index}": part.transpose(0, 1) for index, part in enumerate(parts)}


def state_of(columns: Mapping[str, Tensor], like: RecurrentState) -> RecurrentState:
    """A recurrent state from its columns; ``like`` has the same parts."""
    present = [name for name, part in vars(like).items() if part is not None]
    return RecurrentState(
        **{
            name: columns[f"{STATE_IN}{index}"].transpose(0, 1)
            for index, name in enumerate(present)
        }
    )


def stack_structures(structures: list[Structure], dim: int = 0) -> Structure:
    """Dataclasses of tensors stacked field by field along a new axis; None remains None."""
    first = structures[0]
    stacked = {}
    for entry in fields(first):  # type: ignore[arg-type]
        parts = [getattr(structure, entry.name) for structure in structures]
        stacked[entry.name] = None if parts[0] is None else torch.stack(parts, dim)
    return type(first)(**stacked)
