"""Action masks over the combinations of several choices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

MaskForm = Literal["choices", "combinations"]
"""Entries of a flat mask over a MultiDiscrete space: one per choice in each place, or one per
combination of choices."""


def places_of(
    mask: Any, parts: Sequence[int], size: int, form: MaskForm | None
) -> list[Any] | None:
    """One mask per place of a MultiDiscrete or MultiBinary space; None if it is of combinations.

    Args:
        mask: one entry per combination, one mask per place, or those one behind the other.
        parts: choices in each place.
        size: number of combinations.
        form: declared form of flat masks; None to tell by their length.

    Raises:
        ValueError: the length fits both forms, and none is declared.
    """
    if hasattr(mask[0], "__len__") and getattr(mask[0], "ndim", 1):
        return list(mask)
    if not _is_per_choice(len(mask), parts, size, form):
        return None
    ends = list(accumulate(parts))
    return [mask[end - part : end] for end, part in zip(ends, parts, strict=True)]


def _is_per_choice(length: int, parts: Sequence[int], size: int, form: MaskForm | None) -> bool:
    num_choices = sum(parts)
    if form is not None:
        return form == "choices"
    if length == num_choices == size:
        raise ValueError(
            f"an action mask of {length} entries can be one per choice in each place "
            f"{tuple(parts)} or one per combination; send a tuple of one mask per place, or "
            "declare metadata['action_mask_form'] = 'choices' or 'combinations'"
        )
    return length == num_choices
