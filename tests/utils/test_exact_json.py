"""JSON that gives back what was written, or refuses to write it."""

import enum
import json
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

from rllib_agentmixer.utils.exact_json import TAG, decode, encode


class Colour(enum.Enum):
    RED = 1


def double(x):
    return 2 * x


PACKAGE = __name__.split(".")[0]

VALUES = {
    "none": None,
    "numbers": [1, -2.5, True, 10**30],
    "infinite": [float("inf"), float("-inf")],
    "tuple": ((0, 0), (3, [4])),
    "set": {1, 2},
    "frozen set": frozenset({"a"}),
    "integer keys": {0: -1.0, 1: {"deep": (1,)}},
    "tuple keys": {(0, 1): "x"},
    "a key like the tag": {TAG: "tuple", "items": []},
    "bytes": b"\x00\xff",
    "enumeration": Colour.RED,
    "class": Colour,
    "function": double,
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_come_back_equal_and_of_the_same_type(value):
    text = json.dumps(encode(value), allow_nan=False)
    again = decode(json.loads(text), PACKAGE)
    assert type(again) is type(value)
    assert again == value


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0, 1], [1, 0]]),
        np.array([np.nan, np.inf], np.float32),
        np.zeros((0, 3)),
        np.array(True),
        np.arange(6).reshape(2, 3).T,
        np.array(["a", "bc"]),
    ],
)
def test_arrays_come_back_with_shape_and_type(array):
    again = decode(json.loads(json.dumps(encode(array))))
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    np.testing.assert_array_equal(again, array)


def test_numpys_numbers_stay_numpys():
    again = decode(encode({"n": np.int64(3), "x": np.float32(0.1)}))
    assert [type(value) for value in again.values()] == [np.int64, np.float32]
    assert again == {"n": np.int64(3), "x": np.float32(0.1)}


def test_not_a_number_comes_back_as_such():
    assert np.isnan(decode(encode(float("nan"))))


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (object(), "env_config is of type builtins.object"),
        ({"a": [1, iter([])]}, r"env_config\['a'\]\[1\] is of type builtins.list_iterator"),
        (Point(1, 2), "Point"),
        (np.array([object()]), "an array of objects"),
        (lambda: 1, "to which no import path leads"),
    ],
)
def test_what_cannot_be_written_exactly_is_named(value, part):
    with pytest.raises(TypeError, match=part):
        encode(value, "env_config")


def test_mappings_of_other_kinds_come_back_as_dictionaries():
    assert decode(encode(OrderedDict(b=1, a=2))) == {"b": 1, "a": 2}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({TAG: "reference", "name": "os:system"}, "not of the environment's package"),
        ({TAG: "reference", "name": f"{PACKAGE}:missing"}, "is not imported"),
        ({TAG: "enum", "type": f"{__name__}:double", "name": "x"}, "no enumeration"),
        ({TAG: "enum", "type": f"{__name__}:Colour", "name": "BLUE"}, "not a value of 'enum'"),
        ({TAG: "pickle", "data": ""}, "not a value of 'pickle'"),
        ({TAG: "tuple"}, "not a value of 'tuple'"),
        ({TAG: "array", "array": "AAAA"}, "magic string"),
    ],
)
def test_what_encode_does_not_write_is_refused(written, words):
    with pytest.raises(ValueError, match=words):
        decode(written, PACKAGE)
