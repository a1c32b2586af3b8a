"""Capital letters and digits for pictures, 5 by 7 dots each."""

from __future__ import annotations

import numpy as np

from rllib_agentmixer.envs.games.drawing import Colour

# Five columns of a glyph from left to right; bit 0 of a column is its uppermost dot.
_GLYPHS = {
    "0": "3E5149453E",
    "1": "00427F4000",
    "2": "4261514946",
    "3": "2141454B31",
    "4": "1814127F10",
    "5": "2745454539",
    "6": "3C4A494930",
    "7": "0171090503",
    "8": "3649494936",
    "9": "064949291E",
    "A": "7E1111117E",
    "B": "7F49494936",
    "C": "3E41414122",
    "D": "7F4141221C",
    "E": "7F49494941",
    "F": "7F09090901",
    "G": "3E4149497A",
    "H": "7F0808087F",
    "I": "00417F4100",
    "J": "2040413F01",
    "K": "7F08142241",
    "L": "7F40404040",
    "M": "7F020C027F",
    "N": "7F0408107F",
    "O": "3E4141413E",
    "P": "7F09090906",
    "Q": "3E4151215E",
    "R": "7F09192946",
    "S": "4649494931",
    "T": "01017F0101",
    "U": "3F4040403F",
    "V": "1F2040201F",
    "W": "3F4038403F",
    "X": "6314081463",
    "Y": "0708700807",
    "Z": "6151494543",
    "/": "2010080402",
    "-": "0808080808",
    ".": "0060600000",
    " ": "0000000000",
}

HEIGHT = 7
"""Dots of a line."""


def text_width(text: str) -> int:
    """Size of a line in dots."""
    return 6 * len(text) - 1


def draw_text(
    picture: np.ndarray, text: str, row: int, column: int, colour: Colour, dot: int = 1
) -> None:
    """Write one line on a picture in place; characters without a glyph stay blank.

    Args:
        picture: [height, width, 3].
        text: written in capitals.
        row: of the upper left corner, in pixels.
        column: of the upper left corner, in pixels.
        colour: of the dots.
        dot: side of a dot in pixels.
    """
    columns: list[int] = []
    for character in text.upper():
        columns += (*bytes.fromhex(_GLYPHS.get(character, _GLYPHS[" "])), 0)
    is_set = (np.array(columns)[None, :] >> np.arange(HEIGHT)[:, None]) & 1
    rows, places = np.nonzero(np.kron(is_set, np.ones((dot, dot), np.intp)))
    rows, places = rows + row, places + column
    inside = (rows >= 0) & (rows < picture.shape[0]) & (places >= 0) & (places < picture.shape[1])
    picture[rows[inside], places[inside]] = colour
