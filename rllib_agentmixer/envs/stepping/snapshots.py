"""Snapshots of environments in their current state, also of those not meant to be pickled."""

from __future__ import annotations

import copyreg
import io
import logging
import pickle
import zlib
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

LARGE_ARRAY_BYTES = 1 << 12
"""Size from which equal arrays are stored once; below, the search costs more than it saves."""


LARGE_SNAPSHOT_BYTES = 1 << 26
"""Size from which a snapshot is reported, once an environment."""

_reported: set[str] = set()


class StatePickler(pickle.Pickler):
    """A pickler that stores the state of objects whose own pickling drops or refuses it.

    gymnasium's ``EzPickle`` stores its constructor's arguments alone; pygame's surfaces, fonts
    and clocks, which many environments hold for rendering, cannot be pickled. Large arrays of
    equal contents, such as a table that every sub-environment has loaded, are stored once; each
    is an array of its own again when loaded.
    """

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self._contents: dict[bytes, bytes] = {}

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is np.ndarray and _is_large(obj):
            contents = obj.tobytes()
            # The same bytes object: pickle then writes a reference to the first.
            contents = self._contents.setdefault(contents, contents)
            return _array, (contents, obj.dtype, obj.shape)
        if any(base.__name__ == "EzPickle" for base in kind.__mro__):
            new = copyreg.__newobj__  # type: ignore[attr-defined]
            return new, (kind,), vars(obj), None, None, _set_attributes
        # Classes of C extensions may have no module.
        if str(getattr(kind, "__module__", "")).partition(".")[0] == "pygame":
            return _reduced_pygame(obj)
        return NotImplemented


def dump(snapshot: Any) -> bytes:
    """A snapshot as bytes.

    Raises:
        Exception: raised by an object that cannot be pickled.
    """
    stream = io.BytesIO()
    StatePickler(stream).dump(snapshot)
    return stream.getvalue()


def report_size(snapshot: bytes, name: str, num_envs: int) -> None:
    """Warn once of sub-environments that make checkpoints large."""
    if len(snapshot) >= LARGE_SNAPSHOT_BYTES and name not in _reported:
        _reported.add(name)
        logger.warning(
            "every checkpoint holds the %d sub-environments of %s, %.0f MB, to continue exactly; "
            "let the environment's __getstate__ leave out what it can load again",
            num_envs,
            name,
            len(snapshot) / 2**20,
        )


def _is_large(array: np.ndarray) -> bool:
    is_plain = array.flags.c_contiguous and not array.dtype.hasobject
    return is_plain and array.nbytes >= LARGE_ARRAY_BYTES


def _array(contents: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(contents, dtype).reshape(shape).copy()


def _reduced_pygame(obj: Any) -> Any:
    name = type(obj).__name__
    if name == "Surface":
        import pygame

        # Mostly one colour: compressed, a megabyte is a kilobyte.
        pixels = zlib.compress(pygame.image.tobytes(obj, "RGBA"), level=1)
        return _surface, (pixels, obj.get_size())
    if name == "Font" and hasattr(obj, "path"):
        return _font, (obj.path, obj.size)
    if name == "Clock":
        return _clock, ()
    return NotImplemented


def _surface(pixels: bytes, size: tuple[int, int]) -> Any:
    import pygame

    return pygame.image.frombytes(zlib.decompress(pixels), size, "RGBA")


def _font(path: str, size: float) -> Any:
    from pygame import freetype

    freetype.init()
    return freetype.Font(path, size)


def _clock() -> Any:
    import pygame

    return pygame.time.Clock()


def _set_attributes(obj: Any, attributes: dict[str, Any]) -> None:
    vars(obj).update(attributes)
