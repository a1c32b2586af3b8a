"""Logging of the results in a run's folder as MLflow artifacts."""

from __future__ import annotations

import json
from pathlib import Path

from rllib_agentmixer.errors import MissingExtraError
from rllib_agentmixer.tracking.run_log import RunLog
from rllib_agentmixer.utils.files import checksum

CURVE = "learning_curve.png"
CHECKPOINT_MANIFEST = "agentmixer_manifest.json"
EXPORT_MANIFEST = "manifest.json"


def log_results(log: RunLog, folder: Path, algorithm: str = "") -> None:
    """Log the results of a run as artifacts.

    These are its progress, learning curve (if matplotlib is installed), GIFs, exports, and
    path and checksum of its checkpoints, not their data.

    Args:
        log: log of the run.
        folder: folder of the run.
        algorithm: title of the learning curve.
    """
    progress = folder / "progress.jsonl"
    if progress.is_file():
        log.artifact(progress)
        _draw_curve(progress, folder / CURVE, algorithm or folder.name)
    for path in (folder / CURVE, *sorted(folder.glob("*.gif"))):
        if path.is_file():
            log.artifact(path)
    for manifest in sorted(folder.glob(f"*/{EXPORT_MANIFEST}")):
        log.artifact(manifest.parent)
    checkpoints = checkpoint_references(folder)
    if checkpoints:
        log.json_file("checkpoints.json", checkpoints)


def checkpoint_references(folder: Path) -> list[dict[str, str]]:
    """Paths of a run's checkpoints, with the checksums of their manifests."""
    return [
        {"path": str(manifest.parent.absolute()), "manifest_sha256": checksum(manifest)}
        for manifest in sorted(folder.rglob(CHECKPOINT_MANIFEST))
    ]


def _draw_curve(progress: Path, picture: Path, title: str) -> None:
    from rllib_agentmixer.utils.figures import save_learning_curve

    rows = []
    for line in progress.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # truncated by a kill
    try:
        save_learning_curve(rows, picture, title)
    except (MissingExtraError, OSError):
        return
