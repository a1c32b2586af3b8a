"""Pictures as RGB arrays, without a graphics library: boards with discs, lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

BLUE: Colour = (45, 108, 192)
RED: Colour = (214, 69, 65)
GREY: Colour = (150, 155, 160)
PAPER: Colour = (250, 249, 246)
LINE: Colour = (205, 205, 200)
GRASS: Colour = (205, 222, 190)
WATER: Colour = (176, 208, 230)
WOOD: Colour = (214, 186, 148)
HIT: Colour = (240, 150, 30)

OVERSAMPLING = 4
"""Sub-pixels per pixel and axis when a disc is drawn: smooth edges."""


@dataclass(frozen=True)
class Disc:
    """A filled circle in the middle of a cell; fractions lie between cells."""

    row: float
    column: float
    colour: Colour
    radius: float = 0.36
    """Radius in cells."""


def draw_board(
    rows: int,
    columns: int,
    discs: Sequence[Disc],
    cell: int = 48,
    ground: Mapping[tuple[int, int], Colour] | None = None,
) -> np.ndarray:
    """RGB picture [rows * cell + 1, columns * cell + 1, 3] with grid lines and discs.

    Args:
        rows: cells from top to bottom.
        columns: cells from left to right.
        discs: drawn in order, later ones on top.
        cell: side of a cell in pixels.
        ground: colours by row and column of the cells that are not plain paper.
    """
    picture = np.empty((rows * cell + 1, columns * cell + 1, 3), np.float32)
    picture[:] = PAPER
    for (row, column), colour in (ground or {}).items():
        picture[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = colour
    picture[::cell] = LINE
    picture[:, ::cell] = LINE
    for disc in discs:
        draw_disc(picture, disc, cell)
    return picture.round().astype(np.uint8)


def draw_disc(picture: np.ndarray, disc: Disc, cell: int) -> None:
    """Draw on a float picture in place; what lies outside is left out."""
    down = _squared_distances(picture.shape[0], (disc.row + 0.5) * cell)
    right = _squared_distances(picture.shape[1], (disc.column + 0.5) * cell)
    # [height, width, sub, sub] is never built for the whole picture: only rows in reach.
    reach = (disc.radius * cell) ** 2
    near_rows = np.flatnonzero((down <= reach).any(axis=1))
    near_columns = np.flatnonzero((right <= reach).any(axis=1))
    if not near_rows.size or not near_columns.size:
        return
    inside = down[near_rows][:, None, :, None] + right[near_columns][None, :, None, :] <= reach
    cover = inside.mean(axis=(2, 3))[..., None]
    window = np.ix_(near_rows, near_columns)
    picture[window] = picture[window] * (1 - cover) + np.asarray(disc.colour) * cover


def draw_line(
    picture: np.ndarray,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: Colour,
    width: float = 1.5,
) -> None:
    """Draw a straight line on a float picture in place, ends and width in pixels.

    Args:
        picture: [height, width, 3].
        start: row and column.
        end: row and column.
        colour: of the line.
        width: of the line.
    """
    ends = np.array([start, end])
    low = np.floor(ends.min(axis=0) - width).astype(int).clip(0)
    high = np.ceil(ends.max(axis=0) + width).astype(int) + 1
    window = picture[low[0] : high[0], low[1] : high[1]]
    pixels = np.moveaxis(np.indices(window.shape[:2]), 0, -1) + low + 0.5 - ends[0]
    along = ends[1] - ends[0]
    share = (pixels @ along / max(float(along @ along), 1e-9)).clip(0, 1)
    distance = np.linalg.norm(pixels - share[..., None] * along, axis=-1)
    cover = (width / 2 + 0.5 - distance).clip(0, 1)[..., None]
    window[:] = window * (1 - cover) + np.asarray(colour) * cover


def _squared_distances(length: int, centre: float) -> np.ndarray:
    pixels = np.arange(length)[:, None]
    parts = (np.arange(OVERSAMPLING)[None, :] + 0.5) / OVERSAMPLING
    return (pixels + parts - centre) ** 2
