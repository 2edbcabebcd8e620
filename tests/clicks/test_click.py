"""`segvoc.click` and `segvoc click`: the object under clicks or in a box, and calls that can't be answered."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segvoc
from tests.cli.command import Command
from tests.cli.conftest import segvoc_command as segvoc_command

HEIGHT, WIDTH = 192, 256


def disk(row: int, column: int) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (rows - row) ** 2 + (columns - column) ** 2 < 45**2


LEFT, RIGHT = disk(96, 70), disk(96, 186)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A red disk and a blue one on gray ground."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    pixels[LEFT], pixels[RIGHT] = (200, 30, 30), (30, 30, 200)
    return pixels


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_points_labels_and_a_box(pixels: np.ndarray) -> None:
    mask = segvoc.click(pixels, points=[(70, 96)])
    assert (mask.shape, mask.dtype) == ((HEIGHT, WIDTH), bool) and iou(mask, LEFT) > 0.8
    for places, labels in (([(70, 96), (186, 96)], [1, 0]), ([(186, 96), (70, 96)], [False, True])):
        corrected = segvoc.click(Image.fromarray(pixels), points=places, labels=labels)
        assert iou(corrected, LEFT) > 0.8 and not corrected[96, 186]
    assert iou(segvoc.click(pixels, box=(136, 46, 236, 146)), RIGHT) > 0.8
    assert iou(segvoc.click(pixels, [(186, 96)], box=(136, 46, 236, 146)), RIGHT) > 0.8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "neither a box nor a point on the object"),
        ({"points": [(1, 1)], "labels": [False]}, "neither a box nor a point on the object"),
        ({"points": [(1, 1)], "labels": []}, "1 points and 0 labels"),
        ({"points": [(256, 1)]}, "the point 256,1 is not in the image, which has 256 x 192 pixels"),
        ({"points": [(1, -1)]}, "the point 1,-1 is not"),
        ({"points": [(float("nan"), 1)]}, "the point nan,1 is not"),
        ({"box": (10, 10, 10, 20)}, "the box 10,10,10,20 is no rectangle in the image"),
        ({"box": (0, 0, 257, 192)}, "the box 0,0,257,192 is no rectangle"),
        ({"box": (0, 0, float("inf"), 192)}, "is no rectangle"),
    ],
)
def test_what_cannot_be_answered(pixels: np.ndarray, arguments: dict, said: str) -> None:
    with pytest.raises(segvoc.UsageError, match=said):
        segvoc.click(pixels, **arguments)


def test_the_command_writes_a_mask_and_an_overlay(pixels: np.ndarray, segvoc_command: Command) -> None:
    Image.fromarray(pixels).save("photo.png")
    outcome = segvoc_command(
        "click", "photo.png", "70,96", "--not", "186,96", "--out", "m/mask.png", "--overlay", "o.jpg"
    )
    assert outcome.code == 0 and outcome.out.startswith("-> m/mask.png (")
    with Image.open("m/mask.png") as mask:
        assert mask.mode == "L" and set(np.unique(mask)) == {0, 255}
        assert iou(np.array(mask) > 0, LEFT) > 0.8
    with Image.open("o.jpg") as shown:
        assert shown.format == "JPEG" and shown.size == (WIDTH, HEIGHT)
    assert segvoc_command("click", "photo.png", "--box", "20,46,120,146", "--out", "mask.png").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("photo.png", "300,1"), "the point 300,1 is not in the image, which has 256 x 192 pixels"),
        (("photo.png", "1"), "'1' is not X,Y; give numbers, for example 120,80"),
        (("photo.png", "--box", "1,2"), "'1,2' is not X0,Y0,X1,Y1"),
        (("photo.png", "1,1", "--overlay", "photo.png"), "is the image itself"),
        (("photo.png", "1,1", "--overlay", "shown.svg"), "shown.svg"),
    ],
)
def test_wrong_calls_are_one_line(
    pixels: np.ndarray, segvoc_command: Command, arguments: tuple[str, ...], said: str
) -> None:
    Image.fromarray(pixels).save("photo.png")
    segvoc_command("click", *arguments, "--out", "mask.png").refused(said)
    assert not Path("mask.png").exists()


def test_other_names_of_masks_and_missing_images(segvoc_command: Command) -> None:
    segvoc_command("click", "photo.png", "1,1", "--out", "mask.jpg").refused("'mask.jpg' is a PNG; name it so")
    outcome = segvoc_command("click", "photo.png", "1,1", "--out", "mask.png")
    assert outcome.code == 1 and "photo.png" in outcome.err
