"""Snapshots of environments in their current state, also of those not meant to be pickled."""

from __future__ import annotations

import copyreg
import io
import pickle
import zlib
from typing import Any


class StatePickler(pickle.Pickler):
    """A pickler that stores the state of objects whose own pickling drops or refuses it.

    gymnasium's ``EzPickle`` stores its constructor's arguments alone; pygame's surfaces, fonts
    and clocks, which many environments hold for rendering, cannot be pickled.
    """

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
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
