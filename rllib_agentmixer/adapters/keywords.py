"""Names of arguments and functions, for configurations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def keywords(function: Callable[..., Any]) -> set[str]:
    """Names of a function's keyword-only arguments."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
