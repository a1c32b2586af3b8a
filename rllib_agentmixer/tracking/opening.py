"""The tracker of an algorithm's run, told everything that is known at its start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.tracking.tags import plain_config, run_tags
from rllib_agentmixer.tracking.tracker import MLflowTracker

if TYPE_CHECKING:
    from rllib_agentmixer.algorithms.team_algorithm import TeamAlgorithm


def open_tracker(
    algorithm: TeamAlgorithm,
    folder: Path,
    *,
    experiment: str,
    tracking_uri: str | None = None,
    tags: dict[str, str] | None = None,
    optional: bool = False,
    **settings: Any,
) -> MLflowTracker:
    """The tracker of a run, told every setting, the environment's stamp and all versions.

    Args:
        algorithm: built or restored.
        folder: of the run.
        experiment: MLflow experiment.
        tracking_uri: store or server; None for the run's own, or the default.
        tags: more words about the run, such as the name of its sweep.
        optional: begin even when the store does not answer.
        **settings: of :class:`MLflowTracker`.

    Raises:
        ConfigError: the address can never work, or a fresh run's store does not answer.
    """
    tracker = MLflowTracker(folder, experiment, tracking_uri, optional=optional, **settings)
    config = plain_config(algorithm.config)
    tracker.log_config(config, run_tags(algorithm, config) | (tags or {}))
    return tracker
