"""``key=value`` settings of the command line: parsed without evaluation, checked by name."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.utils.suggest import unknown_name

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.classic.config import ClassicConfig

PRIVATE = ("custom_vector_env", "env", "env_config", "env_runner_cls")
"""Attributes of a configuration that are set by other means than ``key=value``."""


def parse_value(text: str) -> Any:
    """A JSON value, or a Python literal such as ``None`` or ``(64, 64)``, else the text itself.

    Raises:
        ConfigError: it is nested too deeply.
    """
    try:
        with suppress(ValueError):
            return json.loads(text)
        with suppress(ValueError, SyntaxError):
            return ast.literal_eval(text)
    except (RecursionError, MemoryError):
        raise ConfigError(f"a value is nested too deeply: {text[:20]}...") from None
    return text


def parse_settings(pairs: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """``["lr=1e-3", "env.penalty=-1"]`` -> ``{"lr": 0.001, "env.penalty": -1}``.

    Raises:
        ConfigError: a pair has no ``=`` or no name.
    """
    settings = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise ConfigError(f"settings are written key=value, got {pair!r}")
        settings[name] = parse_value(text)
    return settings


def apply_settings(config: ClassicConfig, settings: Mapping[str, Any]) -> None:
    """Set ``name``, ``env.<argument>`` and ``model.<option>`` on a configuration.

    Raises:
        ConfigError: no such setting; the message suggests the nearest one.
    """
    known = {name for name in vars(config) if not name.startswith("_") and name not in PRIVATE}
    for name, value in settings.items():
        branch, _, leaf = name.partition(".")
        if leaf and branch == "env":
            config.environment(env_config={**config.env_config, leaf: value})
        elif leaf and branch == "model":
            if leaf not in config.model:
                raise ConfigError(unknown_name("model option", leaf, config.model))
            config.model[leaf] = value
        elif name in known:
            setattr(config, name, value)
            config.remember_given(name)
        else:
            raise config.unknown_setting("setting", name, set(known))


def check_unchanged(config: ClassicConfig, settings: dict[str, Any]) -> None:
    """Reject settings that a resumed run would silently ignore.

    Raises:
        ConfigError: the checkpoint was made with another value.
    """
    for name, value in settings.items():
        branch, _, leaf = name.partition(".")
        if leaf:
            source = config.env_config if branch == "env" else config.model
            stored = source.get(leaf)
        else:
            stored = getattr(config, name)
        if _comparable(stored) != _comparable(value):
            raise ConfigError(
                f"{name}={value!r} differs from the run's own {stored!r}; a resumed run keeps the "
                "settings of its checkpoint: leave it out, or start another run"
            )


def _comparable(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
