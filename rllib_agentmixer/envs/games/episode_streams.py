"""Random numbers of B sub-environments: a stream for each one and each of its episodes.

What one sub-environment draws depends neither on the others, nor on how long its earlier
episodes were: policies that are compared on a seed play the same episodes throughout. The
numbers are those of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
generators, OOPSLA 2014), which gives any element of a stream from its index.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

GAMMA = np.uint64(0x9E3779B97F4A7C15)
"""Odd fraction of the golden ratio: the step of SplitMix64's counter."""

EPISODE_GAMMA = np.uint64(0xD1342543DE82EF95)
"""Another odd constant, which separates the streams of a sub-environment's episodes."""


def mixed(words: Words) -> Words:
    """SplitMix64's output function."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


class EpisodeStreams:
    """Streams of B sub-environments.

    Args:
        seed: of all streams; None draws one from the system's entropy.
        num_envs: B. The streams of the first ones do not depend on it.
    """

    def __init__(self, seed: int | None, num_envs: int) -> None:
        words = np.random.SeedSequence(seed).generate_state(num_envs, np.uint64)
        self._keys: Words = words.astype(np.uint64)
        self._episodes = np.zeros(num_envs, np.uint64)
        self._starts: Words = np.zeros(num_envs, np.uint64)
        self._counts = np.zeros(num_envs, np.uint64)

    def begin(self, rows: Any) -> None:
        """Start the streams of the next episode in some sub-environments."""
        self._episodes[rows] += np.uint64(1)
        self._starts[rows] = mixed(self._keys[rows] + self._episodes[rows] * EPISODE_GAMMA)
        self._counts[rows] = 0

    def of(self, rows: Any) -> RowStreams:
        """The streams of some sub-environments, which draw together."""
        return RowStreams(self, rows)

    def take(self, rows: Any, number: int) -> Words:
        """[R, number] next words of some streams."""
        index = self._counts[rows][:, None] + np.arange(1, number + 1, dtype=np.uint64)
        self._counts[rows] += np.uint64(number)
        return mixed(self._starts[rows][:, None] + index * GAMMA)

    def get_state(self) -> dict[str, np.ndarray]:
        """Copied state, from which :meth:`set_state` continues."""
        return {name: value.copy() for name, value in vars(self).items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue from :meth:`get_state`."""
        for name, value in state.items():
            setattr(self, name, value.copy())


class RowStreams:
    """Draws for some sub-environments, with the methods of NumPy's generators that games use.

    Args:
        streams: of all sub-environments.
        rows: which of them; the first axis of what is drawn.
    """

    def __init__(self, streams: EpisodeStreams, rows: Any) -> None:
        self._streams = streams
        self._rows = rows

    def random(self, size: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
        """Uniform numbers in [0, 1)."""
        words = self._streams.take(self._rows, math.prod(size[1:]))
        if dtype == np.float32:
            numbers = (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        else:
            numbers = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return numbers.reshape(size)

    def integers(self, high: int, size: tuple[int, ...], dtype: Any = np.int64) -> np.ndarray:
        """Uniform integers from 0 to ``high`` - 1; ``high`` is small beside 2^32."""
        words = self._streams.take(self._rows, math.prod(size[1:]))
        chosen = ((words >> np.uint64(32)) * np.uint64(high)) >> np.uint64(32)
        return chosen.astype(dtype).reshape(size)
