"""Pictures of a skirmish, in colour and in text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rllib_agentmixer.envs.games import drawing, lettering
from rllib_agentmixer.envs.games.skirmish.rules import MAP_SIZE, UNIT_TYPES, UnitType

PIXELS = 20
"""Per map unit."""

HEADER, LEGEND = 40, 52
"""Height in pixels of the strips above and below the map."""

WHITE: drawing.Colour = (255, 255, 255)
INK: drawing.Colour = (60, 63, 68)
HEALTHY: drawing.Colour = (74, 160, 84)
HURT: drawing.Colour = (228, 160, 42)
DYING: drawing.Colour = (200, 40, 40)

BAR_WIDTH, BAR_HEIGHT = 22, 4


@dataclass(frozen=True)
class Figure:
    """Appearance of a unit in a picture."""

    kind: UnitType
    is_ally: bool
    place: tuple[float, float]
    """x to the right and y upwards, in map units."""
    health: float
    """Health as a fraction of the maximum; 0 is dead."""
    aimed_at: int | None
    """Index of the unit that it hit in the last step."""

    @property
    def colour(self) -> drawing.Colour:
        return drawing.BLUE if self.is_ally else drawing.RED

    @property
    def radius(self) -> float:
        """Radius of its disc in map units: enlarged, so that letters fit."""
        return self.kind.radius * 0.7 + 0.34

    @property
    def pixel(self) -> tuple[float, float]:
        """Row and column on the map's picture."""
        return (MAP_SIZE - self.place[1]) * PIXELS, self.place[0] * PIXELS


def draw_battle(figures: Sequence[Figure], time: int, max_steps: int) -> np.ndarray:
    """RGB picture: allies blue, enemies red, the dead as crosses, shots as lines.

    Args:
        figures: all units, in the order to which ``aimed_at`` counts.
        time: steps taken.
        max_steps: of the episode.
    """
    side = round(MAP_SIZE * PIXELS)
    picture = np.empty((HEADER + side + LEGEND, side, 3), np.float32)
    picture[:] = drawing.PAPER
    field = picture[HEADER : HEADER + side]
    field[:: PIXELS * 4] = field[:, :: PIXELS * 4] = (232, 232, 226)
    field[:2] = field[-2:] = field[:, :2] = field[:, -2:] = drawing.GREY
    for figure in figures:
        if not figure.health:
            _draw_cross(field, figure)
    for figure in figures:
        if figure.aimed_at is not None:
            _draw_shot(field, figure, figures[figure.aimed_at])
    living = [figure for figure in figures if figure.health]
    for figure in living:
        _draw_disc(field, figure)
    for figure in living:
        _draw_letter_and_health(field, figure)
    _draw_header(picture, figures, time, max_steps)
    _draw_legend(picture[HEADER + side :])
    return picture.round().clip(0, 255).astype(np.uint8)


def _draw_cross(field: np.ndarray, figure: Figure) -> None:
    row, column = figure.pixel
    faded = _mixed(figure.colour, drawing.PAPER, 0.45)
    for slope in (-1, 1):
        arm = 6 * slope
        drawing.draw_line(field, (row - 6, column - arm), (row + 6, column + arm), faded, 2.5)


def _draw_shot(field: np.ndarray, shooter: Figure, target: Figure) -> None:
    drawing.draw_line(
        field, shooter.pixel, target.pixel, _mixed(shooter.colour, drawing.PAPER, 0.8), 2.5
    )
    # The bright end tells the target from the shooter.
    start, end = np.array(shooter.pixel), np.array(target.pixel)
    near = end + (start - end) * min(1.0, 27 / max(float(np.linalg.norm(start - end)), 1.0))
    drawing.draw_line(field, (near[0], near[1]), (end[0], end[1]), drawing.HIT, 4)


def _draw_disc(field: np.ndarray, figure: Figure) -> None:
    row, column = figure.pixel
    place = (row / PIXELS - 0.5, column / PIXELS - 0.5)
    drawing.draw_disc(field, drawing.Disc(*place, WHITE, figure.radius + 0.08), PIXELS)
    drawing.draw_disc(field, drawing.Disc(*place, figure.colour, figure.radius), PIXELS)


def _draw_letter_and_health(field: np.ndarray, figure: Figure) -> None:
    row, column = (round(value) for value in figure.pixel)
    lettering.draw_text(
        field, figure.kind.letter, row - lettering.HEIGHT + 1, column - 5, WHITE, dot=2
    )
    top = round(row - figure.radius * PIXELS) - BAR_HEIGHT
    left = column - BAR_WIDTH // 2
    _fill(field, top - 1, left - 1, BAR_HEIGHT + 2, BAR_WIDTH + 2, INK)
    _fill(field, top, left, BAR_HEIGHT, BAR_WIDTH, WHITE)
    colour = HEALTHY if figure.health > 0.5 else HURT if figure.health > 0.25 else DYING
    _fill(field, top, left, BAR_HEIGHT, max(1, round(figure.health * BAR_WIDTH)), colour)


def _draw_header(picture: np.ndarray, figures: Sequence[Figure], time: int, max_steps: int) -> None:
    living = [figure.is_ally for figure in figures if figure.health]
    lettering.draw_text(picture, f"step {time}/{max_steps}", 13, 14, INK, dot=2)
    for name, is_ally, column, colour in (
        ("allies", True, 270, drawing.BLUE),
        ("enemies", False, 450, drawing.RED),
    ):
        total = sum(figure.is_ally == is_ally for figure in figures)
        text = f"{name} {living.count(is_ally)}/{total}"
        lettering.draw_text(picture, text, 13, column, colour, dot=2)


def _draw_legend(strip: np.ndarray) -> None:
    for index, kind in enumerate(UNIT_TYPES):
        row, column = 8 + 23 * (index // 3), 14 + 212 * (index % 3)
        lettering.draw_text(strip, f"{kind.letter} {kind.name}", row, column, INK, dot=2)


def _fill(
    field: np.ndarray, top: int, left: int, height: int, width: int, colour: drawing.Colour
) -> None:
    field[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = colour


def _mixed(colour: drawing.Colour, ground: drawing.Colour, share: float) -> drawing.Colour:
    red, green, blue = (
        round(share * a + (1 - share) * b) for a, b in zip(colour, ground, strict=True)
    )
    return red, green, blue


def write_battle(figures: Sequence[Figure], time: int, max_steps: int) -> str:
    """Text: a map of 2 by 2 cells with capitals for allies, then one line per unit."""
    side = round(MAP_SIZE / 2)
    board = [["."] * side for _ in range(side)]
    lines = []
    for index, figure in enumerate(figures):
        x, y = figure.place
        letter = figure.kind.letter if figure.is_ally else figure.kind.letter.lower()
        if figure.health:
            row, column = (min(max(int(value / 2), 0), side - 1) for value in (MAP_SIZE - y, x))
            board[row][column] = letter
        aim = "" if figure.aimed_at is None else f" hits {figure.aimed_at}"
        health = f"{figure.health:.0%}" if figure.health else "dead"
        lines.append(f"{index} {letter} {figure.kind.name} {health} ({x:.1f}, {y:.1f}){aim}")
    rows = [" ".join(row) for row in board]
    return "\n".join([f"step {time}/{max_steps}", *rows, *lines])
