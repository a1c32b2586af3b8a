"""Safetensors files that strangers may have written."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rllib_agentmixer.utils.untrusted import MOST_TENSOR_BYTES, UnreadableFileError, parse_json

MOST_HEADER_BYTES = 16 * 2**20

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def parse_safetensors(data: bytes) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name, copied.

    Raises:
        UnreadableFileError: sizes, types or places do not fit together, or a number is
            non-finite.
    """
    if len(data) < 8:
        raise UnreadableFileError(f"{len(data)} bytes are no safetensors file")
    (header_size,) = struct.unpack("<Q", data[:8])
    if header_size > min(MOST_HEADER_BYTES, len(data) - 8):
        raise UnreadableFileError(f"a header of {header_size} bytes in a file of {len(data)}")
    header = parse_json(data[8 : 8 + header_size])
    entries = {name: info for name, info in header.items() if name != "__metadata__"}
    body = memoryview(data)[8 + header_size :]
    places = sorted((*_place(name, info), name) for name, info in entries.items())
    end = 0
    for start, stop, name in places:
        if start != end:
            raise UnreadableFileError(f"the tensor {name!r} begins at {start}, expected {end}")
        end = stop
    if end != len(body):
        raise UnreadableFileError(f"tensors of {end} bytes in {len(body)}")
    return {name: _tensor(body[start:stop], name, entries[name]) for start, stop, name in places}


def _place(name: str, info: Any) -> tuple[int, int]:
    """First byte of a tensor and the one after its last."""
    if not isinstance(info, Mapping) or info.get("dtype") not in DTYPES:
        raise UnreadableFileError(f"the tensor {name!r} has no type that is known")
    shape: Any = info.get("shape")
    offsets: Any = info.get("data_offsets")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise UnreadableFileError(f"the tensor {name!r} has no shape and place")
    start, stop = offsets
    expected = math.prod(shape) * DTYPES[info["dtype"]].itemsize
    if stop - start != expected:
        raise UnreadableFileError(f"the tensor {name!r} has {stop - start} bytes, not {expected}")
    return start, stop


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(size) is int and 0 <= size <= MOST_TENSOR_BYTES for size in value
    )


def _tensor(data: memoryview, name: str, info: Mapping[str, Any]) -> Tensor:
    dtype = DTYPES[info["dtype"]]
    flat = (
        torch.frombuffer(bytearray(data), dtype=dtype) if len(data) else torch.empty(0, dtype=dtype)
    )
    if not bool(flat.isfinite().all()):
        raise UnreadableFileError(f"the tensor {name!r} holds non-finite numbers")
    return flat.reshape(info["shape"])
