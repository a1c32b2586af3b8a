"""Results of an environment's methods, checked against PettingZoo's signatures.

Environments written for other interfaces fail here, by name, and not later in an unpacking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rllib_agentmixer.errors import AgentMixerError, EnvContractError

CRASHES = (Exception, SystemExit)
"""Exceptions of an environment that are reported as its own; a user's interrupt is not one."""

StepOutcome = tuple[Any, Any, Any, Any, Any]
STEP_PARTS = ("observations", "rewards", "terminations", "truncations", "infos")


@contextmanager
def explained(name: str, what: str) -> Iterator[None]:
    """Report what an environment raises as its own error.

    Args:
        name: of the environment.
        what: was called, as the start of the message.

    Raises:
        EnvContractError: anything was raised; errors of this package pass.
    """
    try:
        yield
    except (AgentMixerError, ImportError):
        raise
    except CRASHES as error:
        raise EnvContractError(f"environment {name!r}: {what} {error!r}") from error


def reset_outcome(name: str, outcome: Any) -> tuple[Mapping[Any, Any], Mapping[Any, Any]]:
    """Observations and infos that ``reset`` returned.

    Raises:
        EnvContractError: something else, such as the observations alone of older interfaces.
    """
    if isinstance(outcome, tuple) and len(outcome) == 2:
        observations, infos = outcome
        if isinstance(observations, Mapping) and isinstance(infos, Mapping):
            return observations, infos
    raise EnvContractError(
        f"environment {name!r}: reset() must return (observations, infos), two dictionaries by "
        f"agent, got {_form(outcome)}; PettingZoo before 1.23 returned the observations alone"
    )


def step_outcome(name: str, outcome: Any) -> StepOutcome:
    """The five dictionaries by agent that ``step`` returned.

    Raises:
        EnvContractError: something else, such as the four values of older interfaces.
    """
    if (
        isinstance(outcome, tuple)
        and len(outcome) == len(STEP_PARTS)
        and all(type(part) is dict or isinstance(part, Mapping) for part in outcome)
    ):
        return outcome
    raise EnvContractError(
        f"environment {name!r}: step() must return ({', '.join(STEP_PARTS)}), five dictionaries "
        f"by agent, got {_form(outcome)}; PettingZoo before 1.22 returned four values"
    )


def _form(outcome: Any) -> str:
    """Types of a wrong outcome, for messages."""
    if isinstance(outcome, tuple):
        return f"({', '.join(type(part).__name__ for part in outcome)})"
    return type(outcome).__name__
