"""RLlib's methods without a meaning for a team, which are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rllib_agentmixer.errors import ConfigError

_ONE_POLICY = "the whole team is one policy"
_NEW_STACK = "it belongs to RLlib's new API stack, and the classic one is used"
_OFFLINE = "teams learn from what they sample"
_EXPORT = "use rllib_agentmixer.export.export_policies, which writes one policy per agent"
_NO_CONNECTORS = "the worker packs and filters observations itself, without connectors"

ALGORITHM_METHODS: Mapping[str, str] = {
    "add_policy": _ONE_POLICY,
    "remove_policy": _ONE_POLICY,
    "add_module": _NEW_STACK,
    "remove_module": _NEW_STACK,
    "get_module": f"{_NEW_STACK}; the networks are algo.get_policy().module",
    "get_state": f"{_NEW_STACK}; use save()",
    "set_state": f"{_NEW_STACK}; use restore()",
    "save_to_path": f"{_NEW_STACK}; use save()",
    "evaluate_offline": _OFFLINE,
    "restore_offline_eval_runners": _OFFLINE,
    "export_policy_model": _EXPORT,
    "export_model": _EXPORT,
}
"""Methods of RLlib's Algorithm that are refused, with the reason."""

POLICY_METHODS: Mapping[str, str] = {
    "export_model": _EXPORT,
    "import_model_from_h5": "it belongs to TensorFlow, and the networks are PyTorch",
    "learn_on_batch_from_replay_buffer": "it belongs to distributed replay, which none uses here",
    "get_connector_metrics": _NO_CONNECTORS,
    "reset_connectors": _NO_CONNECTORS,
}
"""Methods of RLlib's Policy that are refused, with the reason."""

Kind = TypeVar("Kind", bound=type)


def refuses(methods: Mapping[str, str]) -> Callable[[Kind], Kind]:
    """Class decorator: calls of these methods raise ConfigError with the reason."""

    def decorate(kind: Kind) -> Kind:
        for name, reason in methods.items():
            setattr(kind, name, _refusal(name, reason))
        return kind

    return decorate


def _refusal(name: str, reason: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ConfigError(f"{name}() has no meaning here: {reason}")

    refuse.__name__ = name
    refuse.__doc__ = f"Raise ConfigError: {reason}."
    return refuse
