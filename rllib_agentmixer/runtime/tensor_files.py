"""Files of an export: checksums, and tensors without an extra dependency."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor

from rllib_agentmixer.errors import ExportError
from rllib_agentmixer.utils.tensor_files import parse_safetensors
from rllib_agentmixer.utils.untrusted import UnreadableFileError, check_size


def read_checked(folder: Path, name: str, sha256: str) -> bytes:
    """Contents of a file of an export, verified against its checksum.

    Raises:
        ExportError: outside the folder, missing, too large, or damaged.
    """
    if not isinstance(name, str) or Path(name).name != name:
        raise ExportError(f"weights file {name!r} must be a plain name inside {folder}")
    path = folder / name
    if not path.is_file():
        raise ExportError(f"{path} is missing; export again")
    try:
        check_size(path)
    except UnreadableFileError as error:
        raise ExportError(f"{path} is no file of an export ({error})") from error
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ExportError(f"{path} is damaged: sha256 {found}, expected {sha256}; export again")
    return data


def read_safetensors(folder: Path, name: str, sha256: str) -> dict[str, Tensor]:
    """Load the tensors of a safetensors file, by name.

    Raises:
        ExportError: outside the folder, missing, or damaged.
    """
    data = read_checked(folder, name, sha256)
    try:
        return parse_safetensors(data)
    except UnreadableFileError as error:
        raise ExportError(f"{folder / name} cannot be read: {error}; export again") from error
