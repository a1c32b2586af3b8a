"""Entries of nested mappings by path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def value_at(result: Mapping[str, Any], path: str) -> Any:
    """Entry of a nested result at a ``/``-separated path; None if missing or NaN."""
    found: Any = result
    for key in path.split("/"):
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return None if isinstance(found, float) and math.isnan(found) else found
