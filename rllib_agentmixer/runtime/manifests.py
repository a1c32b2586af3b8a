"""Manifests of exports: their file, its checksum, and names of agents in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rllib_agentmixer.errors import ExportError
from rllib_agentmixer.utils.untrusted import MOST_NAME_LENGTH, read_json

MANIFEST = "manifest.json"
FORMAT_VERSION = 2
"""Of what is written. Version 1 proves networks alone, not the actions that reach environments."""

READABLE_VERSIONS = (1, FORMAT_VERSION)

CHECKSUM = "checksum"
"""Key of the SHA-256 of all other entries."""


def checksum_of(manifest: dict[str, Any]) -> str:
    """SHA-256 of a manifest's entries without their checksum."""
    content = {name: value for name, value in manifest.items() if name != CHECKSUM}
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Write a manifest with its checksum, which is returned with it."""
    signed = manifest | {CHECKSUM: checksum_of(manifest)}
    text = json.dumps(signed, indent=1, allow_nan=False)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return signed


def read_manifest(folder: Path) -> dict[str, Any]:
    """Validated manifest of an export folder.

    Raises:
        ExportError: missing, unreadable, altered, or of an unsupported format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ExportError(
            f"{folder} is not an export ({MANIFEST} is missing); write one with "
            "`rllib-agentmixer export CHECKPOINT --out DIR`"
        )
    try:
        manifest = read_json(path)
        version = manifest["format_version"]
        is_known = type(version) is int and version in READABLE_VERSIONS
        is_altered = version == FORMAT_VERSION and manifest[CHECKSUM] != checksum_of(manifest)
    except (ValueError, KeyError, OSError) as error:
        raise damaged(folder, error) from error
    if not is_known:
        raise ExportError(
            f"{path} has format {version!r}, this version reads "
            f"{' and '.join(map(str, READABLE_VERSIONS))}"
        )
    if is_altered:
        raise ExportError(f"{path} was altered after it was written; export again")
    return manifest


def damaged(folder: Path, error: Exception) -> ExportError:
    """Error about a manifest with other contents than are written."""
    words = " ".join(str(error).split())[:300] or repr(error)
    name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return ExportError(f"{folder / MANIFEST} is damaged ({name}{words}); export again")


def agent_name(entry: dict[str, Any]) -> Any:
    """Name of an agent as its environment has it, from its entry in a manifest."""
    name = _hashable(entry["name"])
    if not isinstance(name, (str, int, float, tuple)) or len(str(name)) > MOST_NAME_LENGTH:
        raise ValueError(f"an agent's name must be a text or number, got {str(name)[:40]!r}")
    return name


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
