"""Error messages for unknown names, with the nearest known names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_NAMES = 60
"""Maximum number of names that an error lists in full."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Error message for an unknown ``name``, with the nearest of ``known``."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if nearest:
        hint = f"Did you mean {nearest[0]!r}?"
    elif len(names) > MOST_NAMES:
        hint = f"None of the {len(names)} known names is near; `rllib-agentmixer list` shows them."
    else:
        hint = f"Known: {', '.join(names)}."
    return f"unknown {kind} {name!r}. {hint}"
