"""Clicks on a drawn image, and views of objects; annotate/web/tests/clicks.test.ts has the same cases of views."""

import hashlib
import json

import numpy as np
import pytest

from segvoc.clicks.clicked_image import (
    PROGRAM,
    VIEW_PROGRAM,
    Click,
    ClickedImage,
    ViewBox,
    box_of,
    next_view,
    resampled,
    view_around,
)
from segvoc.exported.shipped import open_tiny
from segvoc.inference.edges import IMAGE_PROGRAM
from segvoc.storage.files import SHIPPED
from tests.clicks.drawn import LEFT, PIXELS, RIGHT, iou


@pytest.fixture(scope="module")
def image() -> ClickedImage:
    return ClickedImage(PIXELS)


def test_a_click_beside_takes_out_and_another_object_is_added(image: ClickedImage) -> None:
    first = image.clicked(Click(70.0, 96.0))
    both = image.clicked(Click(186.0, 96.0), first)
    assert iou(image.mask(both), LEFT | RIGHT) > 0.5
    again = image.clicked(Click(186.0, 96.0, adds=False), first)
    assert not image.mask(again)[96, 186]
    assert iou(image.mask(again), LEFT) > 0.8
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


def box(*sides: float) -> ViewBox:
    return ViewBox(*map(float, sides))


IMAGE = box(0, 0, 1000, 600)


def test_a_view_has_room_around_an_object_and_stays_in_the_image() -> None:
    assert view_around(box(400, 200, 500, 300), IMAGE) == box(378, 178, 522, 322)
    assert view_around(box(950, 560, 1000, 600), IMAGE) == box(856, 456, 1000, 600)
    # at most twice as long as high
    assert view_around(box(100, 300, 500, 310), IMAGE) == box(20, 165, 580, 445)
    assert view_around(box(100, 50, 900, 550), IMAGE) == IMAGE


def test_small_objects_are_looked_at_closely_and_cut_ones_from_farther_away() -> None:
    near = box(378, 178, 522, 322)
    assert next_view(IMAGE, box(400, 200, 500, 300), IMAGE) == near
    assert next_view(near, box(400, 200, 500, 300), IMAGE) == near
    assert next_view(near, box(378, 200, 500, 300), IMAGE) == box(353, 178, 524, 322)
    assert next_view(near, box(100, 200, 500, 300), IMAGE) == box(20, 110, 580, 390)


def test_a_mask_moves_from_view_to_view() -> None:
    values = np.array([[0, 4], [8, 12]], np.float32)
    small, large = box(0, 0, 4, 4), box(0, 0, 8, 4)
    assert resampled(values, small, small, (2, 4), -9.0).tolist() == [[0, 1, 3, 4], [8, 9, 11, 12]]
    assert resampled(values, small, large, (2, 4), -9.0).tolist() == [[0, 4, -9, -9], [8, 12, -9, -9]]
    assert box_of(values > 5, large) == box(0, 2, 8, 4)
    assert box_of(values > 50, large) is None
