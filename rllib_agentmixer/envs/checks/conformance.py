"""Conformance checks of an environment, behind ``rllib-agentmixer check-env``.

Each check reports its finding in one sentence: ``ok``, ``note`` (training works, but be aware)
or ``FAIL`` (fix it before training).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.envs.checks.examinations import CHECKS
from rllib_agentmixer.envs.checks.subject import Finding, Subject, Verdict, description
from rllib_agentmixer.envs.checks.traces import closed_afterwards, record
from rllib_agentmixer.envs.construction import make_env
from rllib_agentmixer.envs.registry import resolve_env
from rllib_agentmixer.envs.stepping.outcomes import CRASHES
from rllib_agentmixer.envs.stepping.team_spaces import spaces_of
from rllib_agentmixer.errors import EnvContractError

if TYPE_CHECKING:
    from rllib_agentmixer.envs.registry import EnvLike


def check_environment(
    env: EnvLike,
    config: dict[str, Any] | None = None,
    *,
    team_reward: Any = None,
    num_steps: int = 300,
    seed: int = 0,
) -> list[Finding]:
    """Check an environment by random play in fresh instances.

    Args:
        env: as in :func:`make_env`.
        config: arguments of its constructor.
        team_reward: how the agents' rewards are combined; None for the environment's default.
        num_steps: of each play.
        seed: of the first play.

    Returns:
        One finding per check, in order. An environment that cannot be played has one alone.

    Raises:
        ConfigError: unknown environment or argument.
        MissingExtraError: a package is not installed.
    """
    entry, make = resolve_env(env), partial(make_env, env, **(config or {}))
    try:
        with closed_afterwards(make()) as first:
            layout = spaces_of(first, entry.name, entry.version)
            has_state = layout.spec.state_kind == "env"
            trace = record(first, seed, num_steps, has_state=has_state)
    except EnvContractError as error:
        return [Finding("play", "FAIL", str(error))]
    reward = team_reward or entry.team_reward
    subject = Subject(make, entry, layout, trace, reward, seed, num_steps)
    return [_examined(name, check, subject) for name, check in CHECKS.items()]


def _examined(name: str, check: Callable[[Subject], tuple[Verdict, str]], on: Subject) -> Finding:
    try:
        verdict, detail = check(on)
    except EnvContractError as error:
        verdict, detail = "FAIL", str(error)
    except CRASHES as error:  # an environment may raise anything, and that is a finding
        verdict, detail = "FAIL", description(error)
    return Finding(name, verdict, detail)
