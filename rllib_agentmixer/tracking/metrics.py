"""Selection of the metrics of a result, and their names in MLflow."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import numpy as np

_FORBIDDEN = re.compile(r"[^\w\-. /:]")

NOT_METRICS = ("config", "hist_stats", "episode_media", "connector_metrics", "timers", "counters")
"""Branches of RLlib's result that are not metrics."""


def flatten(result: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten the finite numbers of a nested result, with keys joined by ``/``."""
    flat: dict[str, float] = {}
    for key, value in result.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            if key not in NOT_METRICS:
                flat |= flatten(value, f"{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if math.isfinite(value):
                flat[name] = float(value)
        elif isinstance(value, np.generic):
            flat |= flatten({key: value.item()}, prefix)
    return flat


def metrics_of(result: dict[str, Any]) -> dict[str, float]:
    """Metrics of one training iteration, with RLlib's nested learner statistics flattened."""
    stats = result.get("info", {}).get("learner", {}).get("default_policy", {})
    chosen = {
        "env_runners": result.get("env_runners", {}),
        "evaluation": {
            key: value
            for key, value in result.get("evaluation", {}).items()
            if key in ("individual", "joint", "individual_sampled", "joint_sampled", "central_gap")
        },
        "learner": stats.get("learner_stats", {}),
        "time": {"training_iteration": result.get("training_iteration", 0)},
    }
    return flatten(chosen)


def clean_key(name: str) -> str:
    """Name with only characters that MLflow allows: letters, digits and ``_ - . / space :``.

    One that had others gets a digest of itself, so that two names, of agents for instance, stay
    two.
    """
    cleaned = _FORBIDDEN.sub("_", name)
    if cleaned == name:
        return name
    return f"{cleaned}.{hashlib.sha256(name.encode()).hexdigest()[:6]}"
