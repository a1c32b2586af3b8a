"""Signatures of environment constructors: whether they take arguments or one dictionary."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

CONFIG_PARAMETERS = frozenset(
    {"config", "env_config", "ctx", "context", "cfg", "conf", "c", "env_ctx", "env_context", "_"}
)
"""Parameter names under which RLlib's creators receive the whole ``env_config``."""

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def parameters_of(constructor: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """Parameters of a constructor; None for compiled callables without a signature."""
    try:
        return list(inspect.signature(constructor).parameters.values())
    except (TypeError, ValueError):
        return None


def takes_config_dict(constructor: Callable[..., Any], config: Mapping[str, Any]) -> bool:
    """True if a constructor takes the whole ``env_config`` as its first argument.

    That is so if the parameter is called as RLlib's creators call it (``config``), or is
    annotated as a dictionary; and for functions whose only required parameter is none of the
    entries of ``config`` (``lambda opts: ..``), since RLlib calls them with the dictionary.

    Args:
        constructor: a class or function.
        config: ``env_config``; an entry of a parameter's name is that parameter's value.
    """
    first, required = None, []
    for parameter in parameters_of(constructor) or ():
        if parameter.kind in _BY_POSITION:
            first = first or parameter
            if parameter.default is parameter.empty:
                required.append(parameter)
    if first is None or first.name in config or any(p is not first for p in required):
        return False
    if first.name in CONFIG_PARAMETERS or _is_dictionary(first.annotation):
        return True
    if inspect.isclass(constructor) or first.annotation is not inspect.Parameter.empty:
        return False
    is_misspelt = bool(difflib.get_close_matches(first.name, list(config), n=1))
    return required == [first] and bool(config) and not is_misspelt


def separate_arguments(
    constructor: Callable[..., Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Entries of ``env_config`` that a constructor takes beside the dictionary, by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    others = [p.name for p in parameters_of(constructor) or () if p.kind in named][1:]
    return {name: config[name] for name in others if name in config}


def _is_dictionary(annotation: Any) -> bool:
    """True for ``dict``, ``Mapping``, ``EnvContext`` and their optional and generic forms."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    text = text or str(annotation)
    kinds = ("dict", "Dict", "Mapping", "EnvContext")
    return any(word in kinds for word in text.replace("[", " ").replace(".", " ").split())
