"""Files that strangers may have written: checked for size, depth and form before they are used.

Readers raise :class:`UnreadableFileError`; callers turn it into the error of what they read.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

MOST_JSON_BYTES = 256 * 2**20
MOST_DEPTH = 100
"""Nested lists and objects in JSON; what this package writes has a dozen."""
MOST_NAME_LENGTH = 256
"""Characters of a key, or of the name of a file or an agent."""
MOST_TENSOR_BYTES = 4 * 2**30
"""Bytes of one file of weights."""


class UnreadableFileError(ValueError):
    """A file is not what it should be; the message says what is wrong with it."""


def read_json(path: Path) -> dict[str, Any]:
    """Object in a JSON file: finite numbers, no key twice, of limited size, depth and names.

    Raises:
        UnreadableFileError: the file is something else.
        OSError: it cannot be opened.
    """
    size = path.stat().st_size
    if size > MOST_JSON_BYTES:
        raise UnreadableFileError(f"{size} bytes, more than {MOST_JSON_BYTES}")
    return parse_json(path.read_bytes())


def parse_json(data: bytes) -> dict[str, Any]:
    """:func:`read_json` of bytes."""
    try:
        content = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except UnreadableFileError:
        raise
    except RecursionError:
        raise UnreadableFileError(f"nested more than {MOST_DEPTH} deep") from None
    except ValueError as error:
        raise UnreadableFileError(f"no JSON ({error})") from error
    if not isinstance(content, dict):
        raise UnreadableFileError(f"a {type(content).__name__} instead of an object")
    _check_depth(content)
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UnreadableFileError(f"{twice[:40]!r} is there twice")
    for name in found:
        if len(name) > MOST_NAME_LENGTH:
            raise UnreadableFileError(f"a name of {len(name)} characters: {name[:40]!r}...")
    return found


def _refuse_constant(text: str) -> Any:
    raise UnreadableFileError(f"{text} is no finite number")


def _check_depth(content: Any) -> None:
    level, depth = [content], 0
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            raise UnreadableFileError(f"nested more than {MOST_DEPTH} deep")
        below: list[Any] = []
        for item in level:
            inner = item.values() if isinstance(item, dict) else item
            below += [part for part in inner if isinstance(part, (dict, list))]
        level = below


def check_inside(folder: Path, name: str) -> Path:
    """Path of a file named in a folder's manifest, which lies in that folder.

    Raises:
        UnreadableFileError: the name is absolute, leads out of the folder or through a link that
            does, or is too long.
    """
    parts = PurePosixPath(name).parts
    leads_out = ".." in parts or PurePosixPath(name).is_absolute() or not parts
    if leads_out or PureWindowsPath(name).drive or "\\" in name or "\0" in name:
        raise UnreadableFileError(f"the name {name[:80]!r} leads out of the folder")
    if any(len(part) > MOST_NAME_LENGTH for part in parts):
        raise UnreadableFileError(f"a name of {len(name)} characters: {name[:40]!r}...")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnreadableFileError(f"{name!r} is a link that leads out of the folder")
    return path


def check_size(path: Path, most: int = MOST_TENSOR_BYTES) -> None:
    """Refuse a file too large to be read.

    Raises:
        UnreadableFileError: it has more than ``most`` bytes.
    """
    size = path.stat().st_size
    if size > most:
        raise UnreadableFileError(f"{path.name} has {size} bytes, more than {most}")
