"""MLflow tracking: one flat run per training, metrics by environment step, resumable.

Training appends records to ``mlflow_spool.jsonl`` in the run's folder (``spool``); a thread
sends them in batches and saves its position (``sender``, ``remote_run``). An unavailable
server only delays them: they arrive exactly once and in order when it is available again.
The guarantees are documented in ``docs/mlflow.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rllib_agentmixer.tracking.identity import RunIdentity
from rllib_agentmixer.tracking.metrics import clean_key, flatten, metrics_of
from rllib_agentmixer.tracking.results import checkpoint_references, log_results
from rllib_agentmixer.tracking.run_log import RunLog
from rllib_agentmixer.tracking.store import default_tracking_uri, open_store, opening_store
from rllib_agentmixer.tracking.tags import (
    STAMP_TAGS,
    config_hash,
    plain_settings,
    run_tags,
    stamp_tags,
    version_tags,
)
from rllib_agentmixer.tracking.tracker import MLflowTracker, sync_folder

if TYPE_CHECKING:
    from rllib_agentmixer.tracking.tune_callback import MLflowCallback

__all__ = [
    "STAMP_TAGS",
    "MLflowCallback",
    "MLflowTracker",
    "RunIdentity",
    "RunLog",
    "checkpoint_references",
    "clean_key",
    "config_hash",
    "default_tracking_uri",
    "flatten",
    "log_results",
    "metrics_of",
    "open_store",
    "opening_store",
    "plain_settings",
    "run_tags",
    "stamp_tags",
    "sync_folder",
    "version_tags",
]


def __getattr__(name: str) -> Any:
    # The callback imports Ray Tune, which nothing else needs.
    if name == "MLflowCallback":
        from rllib_agentmixer.tracking.tune_callback import MLflowCallback

        return MLflowCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
