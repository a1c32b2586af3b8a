"""Minimal safetensors reader, so that deployments need no extra dependency."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import torch
from torch import Tensor

from rllib_agentmixer.errors import ExportError

_DTYPES = {"F32": torch.float32, "I64": torch.int64}


def read_checked(folder: Path, name: str, sha256: str) -> bytes:
    """Contents of a file of an export, verified against its checksum.

    Raises:
        ExportError: outside the folder, missing, or damaged.
    """
    if Path(name).name != name:
        raise ExportError(f"weights file {name!r} must be a plain name inside {folder}")
    path = folder / name
    if not path.is_file():
        raise ExportError(f"{path} is missing; export again")
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
    (header_size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + header_size])
    body = bytearray(data[8 + header_size :])
    tensors = {}
    for key, info in header.items():
        if key != "__metadata__":
            start, stop = info["data_offsets"]
            flat = torch.frombuffer(body[start:stop], dtype=_DTYPES[info["dtype"]])
            tensors[key] = flat.reshape(info["shape"]).clone()
    return tensors
