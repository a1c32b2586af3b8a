"""JSON that gives back what was written: arrays, tuples, sets, enumerations, infinities.

Nothing is imported or called by what is read: enumerations and functions are looked up in modules
that are imported already.
"""

from __future__ import annotations

import base64
import enum
import io
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

TAG = "__type__"
"""Key of an object that stands for a value which JSON lacks."""


def encode(value: Any, where: str = "value") -> Any:
    """The value in JSON's types; exact, so that :func:`decode` returns an equal one.

    Args:
        value: of any nesting.
        where: name of the value, for messages.

    Raises:
        TypeError: names the part that cannot be written exactly, and its type.
    """
    kind = type(value)
    if kind in (bool, int, str, type(None)) or (kind is float and math.isfinite(value)):
        return value
    encoder = next((found for known, found in _ENCODERS if isinstance(value, known)), None)
    if encoder is None:
        raise TypeError(f"{where} is of type {kind.__module__}.{kind.__qualname__}")
    return encoder(value, where)


def decode(value: Any, package: str = "") -> Any:
    """The value that was encoded.

    Args:
        value: what :func:`encode` returned.
        package: from which functions and classes may come; elsewhere a file does not choose
            them.

    Raises:
        ValueError: not what :func:`encode` writes, or it names something that is not imported,
            or a function of another package.
    """
    if isinstance(value, list):
        return [decode(item, package) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {name: decode(item, package) for name, item in value.items()}
    try:
        if value[TAG] == "reference" and value["name"].partition(":")[0].split(".")[0] != package:
            raise ValueError(f"{value['name']} is not of the environment's package {package!r}")
        return _DECODERS[value[TAG]](value, package)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a value of {value.get(TAG)!r}: {error!r}") from error


def _mapping(value: Mapping[Any, Any], where: str) -> Any:
    if all(type(name) is str for name in value) and TAG not in value:
        return {name: encode(item, f"{where}[{name!r}]") for name, item in value.items()}
    pairs = [[encode(k, where), encode(v, f"{where}[{k!r}]")] for k, v in value.items()]
    return {TAG: "dict", "items": pairs}


def _list(value: list, where: str) -> Any:
    return [encode(item, f"{where}[{index}]") for index, item in enumerate(value)]


def _items(value: tuple | set | frozenset, where: str) -> Any:
    kind = type(value)
    if kind not in (tuple, set, frozenset):  # a named tuple would come back as a plain one
        raise TypeError(f"{where} is of type {kind.__module__}.{kind.__qualname__}")
    return {TAG: kind.__name__, "items": [encode(item, where) for item in value]}


def _npy(array: np.ndarray, where: str) -> str:
    if array.dtype.hasobject:
        raise TypeError(f"{where} is an array of objects")
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return base64.b64encode(stream.getvalue()).decode()


def _array(value: Mapping[str, Any]) -> np.ndarray:
    stream = io.BytesIO(base64.b64decode(value["array"]))
    return np.lib.format.read_array(stream, allow_pickle=False)


def _reference(value: Any, where: str) -> str:
    """``module:name`` of a class or function that can be found by it."""
    name = f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', '')}"
    try:
        found = _found(name)
    except ValueError:
        found = None
    if found is not value:
        raise TypeError(f"{where} is {value!r}, to which no import path leads")
    return name


def _found(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ValueError(f"{name} is not imported; import its module first")
    return found


def _member(value: Mapping[str, Any]) -> enum.Enum:
    kind = _found(value["type"])
    if not (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        raise ValueError(f"{kind!r} is no enumeration")
    return kind[value["name"]]


_ENCODERS: tuple[tuple[type, Any], ...] = (
    (enum.Enum, lambda v, w: {TAG: "enum", "type": _reference(type(v), w), "name": v.name}),
    (np.generic, lambda v, w: {TAG: "scalar", "array": _npy(np.asarray(v), w)}),
    (np.ndarray, lambda v, w: {TAG: "array", "array": _npy(v, w)}),
    (float, lambda v, w: {TAG: "float", "value": repr(v)}),
    (list, _list),
    (tuple, _items),
    (set, _items),
    (frozenset, _items),
    (Mapping, _mapping),
    (bytes, lambda v, w: {TAG: "bytes", "value": base64.b64encode(v).decode()}),
    (Callable, lambda v, w: {TAG: "reference", "name": _reference(v, w)}),  # type: ignore[list-item]
)

_DECODERS: dict[str, Any] = {
    "float": lambda v, p: float(v["value"]),
    "tuple": lambda v, p: tuple(decode(v["items"], p)),
    "set": lambda v, p: set(decode(v["items"], p)),
    "frozenset": lambda v, p: frozenset(decode(v["items"], p)),
    "dict": lambda v, p: {decode(key, p): decode(item, p) for key, item in v["items"]},
    "bytes": lambda v, p: base64.b64decode(v["value"]),
    "scalar": lambda v, p: _array(v)[()],
    "array": lambda v, p: _array(v),
    "enum": lambda v, p: _member(v),
    "reference": lambda v, p: _found(v["name"]),
}
