"""Pictures that other programs can open, and clear words where a package is missing."""

import sys

import numpy as np
import pytest

from rllib_agentmixer.errors import MissingExtraError
from rllib_agentmixer.utils import figures as media
from rllib_agentmixer.utils.figures import save_gif, save_learning_curve

ROWS = [
    {"env_steps": 0.0, "evaluation/individual/episode_return_mean": 0.0},
    {"env_steps": 64.0, "env_runners/episode_return_mean": 1.0},
    {
        "env_steps": 128.0,
        "env_runners/episode_return_mean": 2.0,
        "evaluation/joint/episode_return_mean": 3.0,
        "evaluation/individual/episode_return_mean": 2.5,
    },
]


def frames(count):
    """Distinct pictures of one colour each."""
    return [np.full((8, 12, 3), 40 * index, np.uint8) for index in range(count)]


def test_an_episode_becomes_an_animated_gif_that_rests_on_its_last_picture(tmp_path):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "new folder" / "episode.gif"
    save_gif(frames(3), path, fps=4)
    with image.open(path) as gif:
        assert gif.format == "GIF"
        assert gif.size == (12, 8)
        shown = []
        for index in range(gif.n_frames):
            gif.seek(index)
            colour = gif.convert("RGB").getpixel((0, 0))[0]
            shown.append((colour, gif.info["duration"]))
        assert gif.info["loop"] == 0
    assert [colour for colour, _ in shown][:3] == [0, 40, 80]
    assert sum(duration for _, duration in shown) == 250 * (3 + 4)


def test_an_episode_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no frames to write"):
        save_gif([], tmp_path / "episode.gif")


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], []])
def test_a_learning_curve_is_a_png(tmp_path, rows):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "new folder" / "curve.png"
    save_learning_curve(rows, path, "title")
    with image.open(path) as png:
        assert png.format == "PNG"
        png.verify()
    with image.open(path) as png:
        pixels = np.asarray(png.convert("RGB"))
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 600
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1


def test_every_curve_is_drawn_in_its_own_colour(tmp_path):
    image = pytest.importorskip("PIL.Image")
    save_learning_curve(ROWS, tmp_path / "curve.png", "title")
    with image.open(tmp_path / "curve.png") as png:
        colours = {tuple(pixel) for row in np.asarray(png.convert("RGB")) for pixel in row}
    assert (0x22, 0x57, 0x7A) in colours
    assert (0x9A, 0xA5, 0xB1) in colours


@pytest.mark.parametrize(
    ("package", "extra", "draw"),
    [
        ("imageio.v3", "video", lambda path: save_gif(frames(1), path)),
        ("matplotlib.figure", "plot", lambda path: save_learning_curve(ROWS, path, "title")),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    tmp_path, monkeypatch, package, extra, draw
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"rllib_agentmixer\[{extra}\]"):
        draw(tmp_path / "picture")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("package", "extra"), [("imageio", "video"), ("matplotlib", "plot")])
def test_what_is_missing_for_drawing_is_said_before_any_work(monkeypatch, package, extra):
    media.check_available()
    monkeypatch.setattr(media, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingExtraError, match=rf"rllib_agentmixer\[{extra}\]"):
        media.check_available()
