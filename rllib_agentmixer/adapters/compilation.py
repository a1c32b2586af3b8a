"""``torch.compile`` under RLlib's own settings, ``config.framework(torch_compile_learner=True)``.

RLlib would compile the model around the networks; here the functions that do the
work are compiled instead: the loss, and the forward pass that chooses actions.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol

import torch

from rllib_agentmixer.core.networks.recurrence import leave_uncompiled
from rllib_agentmixer.errors import ConfigError


class Settings(Protocol):
    """A configuration, or the dictionary that RLlib makes of it."""

    def __getitem__(self, name: str, /) -> Any: ...


Role = Literal["learner", "worker"]

Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Takes a function and returns one that computes the same."""


def compiler(config: Settings, role: Role) -> Compiler | None:
    """Compiler for the learner or the workers, or None where none is configured."""
    if not config[f"torch_compile_{role}"]:
        return None
    leave_uncompiled()
    return partial(
        torch.compile,
        backend=config[f"torch_compile_{role}_dynamo_backend"],
        mode=config[f"torch_compile_{role}_dynamo_mode"],
    )


def check_compiler(config: Settings) -> None:
    """Look for what TorchInductor needs before any worker starts.

    Raises:
        ConfigError: no C++ compiler.
    """
    for role in ("learner", "worker"):
        needs_compiler = config[f"torch_compile_{role}_dynamo_backend"] == "inductor"
        if not config[f"torch_compile_{role}"] or not needs_compiler:
            continue
        name = os.environ.get("CXX", "g++")
        if shutil.which(name) is None:
            raise ConfigError(
                f"torch_compile_{role}=True needs a C++ compiler, and {name!r} is not found; "
                "install g++ or set the environment variable CXX"
            )
