"""`segvoc.click` and views of objects; annotate/web/tests/clicks.test.ts has the same cases of views."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.inference.clicks import (
    PROGRAM,
    VIEW_PROGRAM,
    Click,
    ClickedImage,
    ViewBox,
    box_of,
    connected_to,
    next_view,
    resampled,
    view_around,
)
from segvoc.inference.edges import IMAGE_PROGRAM
from segvoc.models.shipped import open_tiny
from segvoc.storage.files import SHIPPED

HEIGHT, WIDTH = 192, 256


def _disk(row: int, column: int) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (rows - row) ** 2 + (columns - column) ** 2 < 45**2


LEFT, RIGHT = _disk(96, 70), _disk(96, 186)
PIXELS = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
PIXELS[LEFT], PIXELS[RIGHT] = (200, 30, 30), (30, 30, 200)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


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


@pytest.mark.parametrize(("size", "at"), [((1, 1), (0.5, 0.5)), ((2, 300), (299.5, 1.5))])
def test_images_of_few_pixels_can_be_clicked(size: tuple[int, int], at: tuple[float, float]) -> None:
    image = ClickedImage(np.zeros((*size, 3), np.uint8))
    assert image.mask(image.clicked(Click(*at))).shape == size


def test_what_clicks_read_of_an_image_is_what_tiny_sees(image: ClickedImage) -> None:
    pixels = image.image.astype(np.float32).transpose(2, 0, 1)[None]
    found, wanted = VIEW_PROGRAM({"pixels": pixels}), open_tiny().encode_views(pixels)
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
    assert view_around(box(300, 100, 310, 500), IMAGE) == box(165, 20, 445, 580)
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


def test_regions_without_a_positive_click_are_other_objects_unless_no_region_has_one() -> None:
    logits = np.array([[3, -1, 2, 2], [3, -1, -1, 2]], np.float32)
    for clicks, kept in (([1.0], [0]), ([1.0, 5.0], [0, 2, 3]), ([3.0], [0, 2, 3]), ([], [0, 2, 3])):
        found = connected_to([Click(x, 1.0) for x in clicks], ViewBox(0.0, 0.0, 8.0, 4.0), logits) > 0
        assert np.flatnonzero(found.any(0)).tolist() == kept


def test_points_labels_and_a_box() -> None:
    mask = segvoc.click(PIXELS, points=[(70, 96)])
    assert (mask.shape, mask.dtype) == ((HEIGHT, WIDTH), bool) and iou(mask, LEFT) > 0.8
    for point in ((70, 96), (70.0, 96.0)):
        np.testing.assert_array_equal(segvoc.click(PIXELS, point), mask)
    for places, labels in (([(70, 96), (186, 96)], [1, 0]), ([(186, 96), (70, 96)], [False, True])):
        corrected = segvoc.click(Image.fromarray(PIXELS), points=places, labels=labels)
        assert iou(corrected, LEFT) > 0.8 and not corrected[96, 186]
    assert iou(segvoc.click(PIXELS, box=(136, 46, 236, 146)), RIGHT) > 0.8
    assert iou(segvoc.click(PIXELS, [(186, 96)], box=(136, 46, 236, 146)), RIGHT) > 0.8
    beyond, clipped = (segvoc.click(PIXELS, box=box) for box in ((136, -9, 500, 192.5), (136, 0, 256, 192)))
    np.testing.assert_array_equal(beyond, clipped)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "neither a box nor a point on the object"),
        ({"points": [(1, 1)], "labels": []}, "1 points and 0 labels"),
        ({"points": [(256, 1)]}, "the point 256,1 is not in the image, which has 256 x 192 pixels"),
        ({"points": [(float("nan"), 1)]}, "the point nan,1 is not"),
        ({"box": (10, 10, 10, 20)}, "the box 10,10,10,20 is no rectangle in the image"),
        ({"box": (10, 10, 10)}, r"box=\(10, 10, 10\) can't be read"),
        ({"box": (0, 0, float("inf"), 192)}, "is no rectangle"),
    ],
)
def test_what_cannot_be_answered(arguments: dict, said: str) -> None:
    with pytest.raises(segvoc.UsageError, match=said):
        segvoc.click(PIXELS, **arguments)
