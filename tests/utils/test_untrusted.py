"""Files of strangers are refused for what is wrong with them, before anything large is made."""

import json
import struct

import pytest
import torch
from safetensors.torch import save

from rllib_agentmixer.utils.tensor_files import parse_safetensors
from rllib_agentmixer.utils.untrusted import (
    MOST_DEPTH,
    UnreadableFileError,
    check_inside,
    check_size,
    parse_json,
    read_json,
)

# JSON.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[1]", "a list instead of an object"),
        ("null", "a NoneType instead"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ('{"b": {"a": 1, "a": 2}}', "'a' is there twice"),
        ('{"a": NaN}', "NaN is no finite number"),
        ('{"a": -Infinity}', "-Infinity is no finite number"),
        ('{"a": 1' + "0" * 5000 + "}", "no JSON"),
        ('{"' + "x" * 5000 + '": 1}', "a name of 5000 characters"),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", "nested more than 100 deep"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested more than 100 deep"),
        ('{"a": ' * 100_000 + "1" + "}" * 100_000, "nested more than 100 deep"),
    ],
)
def test_json_that_is_not_ours_is_refused_with_the_reason(text, words):
    with pytest.raises(UnreadableFileError, match=words):
        parse_json(text.encode())


def test_json_of_the_largest_depth_is_read():
    inner = MOST_DEPTH - 2
    text = '{"a": ' + "[" * inner + "1" + "]" * inner + "}"
    assert parse_json(text.encode())["a"]


def test_text_that_is_not_utf8_and_files_too_large_are_refused(tmp_path):
    with pytest.raises(UnreadableFileError, match="no JSON"):
        parse_json(b'{"\xff": 1}')
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(20 * 2**30)  # takes no room on the disk
    with pytest.raises(UnreadableFileError, match="bytes, more than"):
        read_json(huge)
    with pytest.raises(UnreadableFileError, match=r"huge\.json has \d+ bytes, more than"):
        check_size(huge)


# Names.


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "", "C:\\x", "a\\..\\x", "a\0b", "..", "x" * 300]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(UnreadableFileError):
        check_inside(tmp_path, name)


def test_links_that_lead_elsewhere_are_refused(tmp_path):
    folder, outside = tmp_path / "folder", tmp_path / "secret"
    folder.mkdir()
    outside.write_text("x")
    (folder / "link").symlink_to(outside)
    with pytest.raises(UnreadableFileError, match="a link that leads out of the folder"):
        check_inside(folder, "link")
    (folder / "own").symlink_to(folder / "file")
    assert check_inside(folder, "own") == folder / "own"
    assert check_inside(folder, "a/b.txt") == folder / "a" / "b.txt"


# Tensors.

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor([1, -2]),
    "c": torch.tensor(0.5, dtype=torch.float64),
    "empty": torch.zeros(0, 3),
}


def test_tensors_come_back_as_the_library_writes_them():
    found = parse_safetensors(save(TENSORS))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].equal(tensor)


def file_of(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes are no safetensors file"),
        (b"short", "5 bytes are no safetensors file"),
        (struct.pack("<Q", 2**62) + b"{}", "a header of 4611686018427387904 bytes"),
        (file_of(b"[1]"), "a list instead of an object"),
        (file_of(b"{"), "no JSON"),
        (file_of({"a": 3}), "'a' has no type that is known"),
        (file_of({"a": entry("F8")}, bytes(4)), "'a' has no type that is known"),
        (file_of({"a": entry() | {"shape": None}}, bytes(4)), "'a' has no shape and place"),
        (file_of({"a": entry(shape=[-1])}, bytes(4)), "'a' has no shape and place"),
        (file_of({"a": entry(shape=[True])}, bytes(4)), "'a' has no shape and place"),
        (file_of({"a": entry(shape=[2**40])}, bytes(4)), "'a' has no shape and place"),
        (file_of({"a": entry(shape=[2])}, bytes(4)), "'a' has 4 bytes, not 8"),
        (file_of({"a": entry(offsets=[4, 8])}, bytes(8)), "'a' begins at 4, expected 0"),
        (file_of({"a": entry(), "b": entry()}, bytes(4)), "begins at 0, expected 4"),
        (file_of({"a": entry()}, bytes(2)), "tensors of 4 bytes in 2"),
        (file_of({"a": entry()}, bytes(5)), "tensors of 4 bytes in 5"),
        (file_of({"a": entry()}, struct.pack("<f", float("nan"))), "'a' holds non-finite numbers"),
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(data, words):
    with pytest.raises(UnreadableFileError, match=words):
        parse_safetensors(data)
