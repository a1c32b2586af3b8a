"""Settings of this process that change its speed and not its results."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

KEPT_BYTES = 512 * 2**20
"""Upper limit of the freed memory that the process retains."""

LARGEST_POOLED_BYTES = 32 * 2**20
"""Blocks up to this size are reused; glibc takes no larger number."""

GROWTH_BYTES = 64 * 2**20
"""Memory requested from the system at once when the process grows."""

GLIBC_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")
"""Environment variables with which users override these values."""

EXACT = 1e-5
"""Largest error of float32 products, as a share of the largest entry; bfloat16 makes 1e-3."""


def keep_freed_memory() -> bool:
    """Let the C library retain freed memory for the next tensors; False where it cannot.

    A learner makes and drops the same few megabytes of tensors at every gradient step. By
    default glibc hands them back to the system each time, and the first touch of every page
    afterwards costs more than the arithmetic on it. Where one of ``GLIBC_VARIABLES`` is set,
    that choice is respected.
    """
    if not sys.platform.startswith("linux"):
        return False
    if any(name in os.environ for name in GLIBC_VARIABLES):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:  # another C library than glibc
        return False
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # of <malloc.h>
    return all(
        [
            set_option(trim_threshold, KEPT_BYTES),
            set_option(mmap_threshold, LARGEST_POOLED_BYTES),
            set_option(top_pad, GROWTH_BYTES),
        ]
    )


def give_freed_memory_back() -> None:
    """Release the memory that :func:`keep_freed_memory` has retained, after training."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _matmul_backend() -> Any:
    """PyTorch's switch of oneDNN's matrix products, or None in versions without."""
    backend = getattr(torch.backends.mkldnn, "matmul", None)
    is_usable = torch.backends.mkldnn.is_available() and hasattr(backend, "fp32_precision")
    return backend if is_usable else None


@cache
def onednn_is_exact() -> bool:
    """Whether oneDNN computes in float32 here, although allowed to round to bfloat16.

    Only CPUs with matrix tiles (AMX) make use of that permission; others multiply in
    float32. This is tested with values that bfloat16 cannot represent, not inferred from a
    model name.
    """
    backend = _matmul_backend()
    if backend is None:
        return False
    noise = torch.Generator().manual_seed(0)
    shapes = [(256, 64, 256), (64, 512, 64), (32, 24, 8)]
    with _precision(backend, "bf16"):
        for rows, inner, columns in shapes:
            left = torch.rand(rows, inner, generator=noise)
            right = torch.rand(inner, columns, generator=noise)
            exact = left.double() @ right.double()
            if float(((left @ right).double() - exact).abs().max() / exact.max()) > EXACT:
                return False
    return True


@contextmanager
def _precision(backend: Any, precision: str) -> Generator[None]:
    before = backend.fp32_precision
    backend.fp32_precision = precision
    try:
        yield
    finally:
        backend.fp32_precision = before


@contextmanager
def fast_matrix_products() -> Generator[None]:
    """Matrix products of oneDNN instead of MKL, where both compute in float32.

    MKL leaves half of an AMD CPU's vector width unused; oneDNN does not. PyTorch sends
    float32 products to oneDNN only if bfloat16 is allowed for them, so it is allowed exactly
    where :func:`onednn_is_exact` has shown that results do not change.
    """
    backend = _matmul_backend()
    if backend is None or not onednn_is_exact():
        yield
        return
    with _precision(backend, "bf16"):
        yield
