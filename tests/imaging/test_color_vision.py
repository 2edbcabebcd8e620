"""Distances of colors as people see them, with and without color blindness."""

import numpy as np
import pytest

from segvoc.imaging.color_vision import look_alike, oklab, stripe_color
from segvoc.imaging.palette import class_colors

VISIONS = (None, "protanopia", "deuteranopia", "tritanopia")


def _colors(*colors: tuple[int, int, int]) -> np.ndarray:
    return np.array(colors, np.uint8)


def test_oklab_is_that_of_its_author() -> None:
    found = oklab(_colors((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)))
    expected = [[0, 0, 0], [1, 0, 0], [0.62796, 0.22486, 0.12585], [0.45201, -0.03246, -0.31153]]
    assert np.abs(found - expected).max() < 2e-4


@pytest.mark.parametrize("vision", VISIONS)
def test_grays_look_gray_to_everybody(vision: str | None) -> None:
    grays = np.repeat(np.arange(0, 256, 15, dtype=np.uint8)[:, None], 3, axis=1)
    assert np.abs(oklab(grays, vision) - oklab(grays)).max() < 0.01


def test_red_and_green_look_alike_to_some_only() -> None:
    red, green = _colors((200, 60, 30)), _colors((120, 120, 20))
    distances = {vision: np.linalg.norm(oklab(red, vision) - oklab(green, vision)) for vision in VISIONS}
    assert distances["deuteranopia"] < 0.06 < 0.15 < distances[None]


def _alike(colors: np.ndarray) -> np.ndarray:
    """Each color beside each other one."""
    firsts, seconds = np.indices((len(colors), len(colors))).reshape(2, -1)
    return look_alike(colors[firsts], colors[seconds]).reshape(len(colors), len(colors))


def test_what_looks_alike() -> None:
    colors = _colors((200, 60, 30), (205, 66, 30), (120, 120, 20), (40, 60, 220))
    alike = _alike(colors)
    assert np.array_equal(alike, alike.T)
    assert alike.diagonal().all()
    assert alike[0, 1]
    assert not alike[:3, 3].any()
    assert look_alike(colors[:0], colors[:0]).shape == (0,)


def test_none_of_the_first_colors_looks_like_another() -> None:
    assert _alike(class_colors(20)).sum() == 20


def test_stripes_can_be_seen_on_every_class_color() -> None:
    for color in class_colors(300):
        red, green, blue = color.tolist()
        stripe = np.array([stripe_color((red, green, blue))], np.uint8)
        assert abs(oklab(stripe)[0, 0] - oklab(color[None])[0, 0]) > 0.1
