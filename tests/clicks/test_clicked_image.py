"""Clicks on a drawn image: what they add and take out, and where they look."""

import hashlib
import json

import numpy as np
import pytest

from segvoc.clicks.clicked_image import PROGRAM, VIEW_PROGRAM, Click, ClickedImage
from segvoc.exported.shipped import open_tiny
from segvoc.inference.edges import IMAGE_PROGRAM
from segvoc.storage.files import SHIPPED

HEIGHT, WIDTH = 192, 256


@pytest.fixture(scope="module")
def image() -> ClickedImage:
    """A red disk and a blue one on gray ground."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    pixels[disk(rows, columns, 96, 70)] = (200, 30, 30)
    pixels[disk(rows, columns, 96, 186)] = (30, 30, 200)
    return ClickedImage(pixels)


def disk(rows: np.ndarray, columns: np.ndarray, row: int, column: int) -> np.ndarray:
    return (rows - row) ** 2 + (columns - column) ** 2 < 45**2


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_a_click_beside_takes_out_and_another_object_is_added(image: ClickedImage) -> None:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    left, right = (disk(rows, columns, 96, column) for column in (70, 186))
    first = image.clicked(Click(70.0, 96.0))
    both = image.clicked(Click(186.0, 96.0), first)
    assert iou(image.mask(both), left | right) > 0.5
    again = image.clicked(Click(186.0, 96.0, adds=False), first)
    assert not image.mask(again)[96, 186]
    assert iou(image.mask(again), left) > 0.8
    assert first.clicks == (Click(70.0, 96.0),)  # a guess doesn't change


def test_images_of_few_pixels_can_be_clicked() -> None:
    tiny = ClickedImage(np.zeros((1, 1, 3), np.uint8))
    assert tiny.mask(tiny.clicked(Click(0.5, 0.5))).shape == (1, 1)
    thin = ClickedImage(np.zeros((2, 300, 3), np.uint8))
    assert thin.mask(thin.clicked(Click(299.5, 1.5))).shape == (2, 300)


def test_what_clicks_read_of_an_image_is_what_tiny_sees(image: ClickedImage) -> None:
    pixels = image.image.astype(np.float32).transpose(2, 0, 1)[None]
    found, wanted = VIEW_PROGRAM({"pixels": pixels}), open_tiny().find_features(pixels)
    assert sorted(found) == ["appearance", "tap_0", "tap_1"]
    for name, values in found.items():
        np.testing.assert_allclose(values, wanted[name], rtol=0, atol=1e-4 * np.abs(wanted[name]).max())


def test_the_record_is_of_the_programs_that_ship() -> None:
    record = json.loads((SHIPPED / "clicks.json").read_text(encoding="utf-8"))
    assert record["sha256"] == {
        name: hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest() for name in (PROGRAM, IMAGE_PROGRAM)
    }
