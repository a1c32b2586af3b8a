"""Manifests of checkpoint folders: checksums of all files, and a stamp of the training setup.

RLlib writes file by file into the target; a process killed in between leaves a folder that
looks like a checkpoint. Here the folder appears by a single rename (:mod:`.files`), and the
manifest reveals corruption before any pickle is opened.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rllib_agentmixer.errors import CheckpointError
from rllib_agentmixer.utils.files import checksum
from rllib_agentmixer.utils.untrusted import check_inside, read_json

MANIFEST = "agentmixer_manifest.json"
FORMAT_VERSION = 2
"""Of what is written. Version 1 holds pickles of modules that have moved since."""

READABLE_VERSIONS = (1, FORMAT_VERSION)


def write_manifest(folder: Path, stamp: dict[str, Any]) -> None:
    """Write the SHA-256 of every file, and a stamp of algorithm, environment and team."""
    files = {
        path.relative_to(folder).as_posix(): checksum(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = {"format_version": FORMAT_VERSION, "stamp": stamp, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))


def verify(folder: Path, *, to_resume: bool = False) -> dict[str, Any]:
    """Verify every file of a checkpoint and return its stamp.

    Args:
        folder: of the checkpoint.
        to_resume: whether training is to continue, which needs a checkpoint of this format;
            earlier ones can be evaluated and exported.

    Raises:
        CheckpointError: not a checkpoint, a file is missing or damaged, or an earlier format.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(
            f"{folder} holds no checkpoint of this package ({MANIFEST} is missing); give the "
            "folder that save() wrote"
        )
    try:
        manifest = read_json(path)
        files, stamp = dict(manifest["files"]), dict(manifest["stamp"])
        version = manifest["format_version"]
        paths = {check_inside(folder, name): expected for name, expected in files.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); use an earlier checkpoint") from error
    if type(version) is not int or version not in READABLE_VERSIONS:
        raise CheckpointError(
            f"{folder} has checkpoint format {version}, this version reads "
            f"{' and '.join(map(str, READABLE_VERSIONS))}; load it with the version of "
            "rllib_agentmixer that wrote it"
        )
    if to_resume and version != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder} was written by an earlier version of rllib_agentmixer (checkpoint format "
            f"{version}, now {FORMAT_VERSION}): it can be evaluated and exported "
            "(rllib-agentmixer evaluate, export), but training cannot be resumed from it. Resume "
            "it with the version that wrote it, or train anew in another folder"
        )
    for file, expected in paths.items():
        _verify_file(file, expected)
    return stamp


def _verify_file(path: Path, expected: str) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing from its checkpoint; use an earlier checkpoint")
    found = checksum(path)
    if found != expected:
        raise CheckpointError(
            f"{path} is damaged: sha256 {found}, expected {expected}; use an earlier checkpoint"
        )


def check_stamp(folder: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Reject a checkpoint of another algorithm, environment or team.

    Raises:
        CheckpointError: the stamps differ; the message gives the first difference.
    """
    for name, value in expected.items():
        if found.get(name) != value:
            raise CheckpointError(
                f"{folder} belongs to another set-up: its {name} is {found.get(name)!r}, here it "
                f"is {value!r}; build the algorithm as the checkpoint was, or use "
                "Algorithm.from_checkpoint"
            )
