"""`segvoc.click` and `segvoc click`: the object under clicks or in a box, and calls that can't be answered."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segvoc
from tests.cli.command import Command
from tests.cli.conftest import segvoc_command as segvoc_command
from tests.clicks.drawn import HEIGHT, LEFT, PIXELS, RIGHT, WIDTH, iou


def test_points_labels_and_a_box() -> None:
    mask = segvoc.click(PIXELS, points=[(70, 96)])
    assert (mask.shape, mask.dtype) == ((HEIGHT, WIDTH), bool) and iou(mask, LEFT) > 0.8
    for places, labels in (([(70, 96), (186, 96)], [1, 0]), ([(186, 96), (70, 96)], [False, True])):
        corrected = segvoc.click(Image.fromarray(PIXELS), points=places, labels=labels)
        assert iou(corrected, LEFT) > 0.8 and not corrected[96, 186]
    assert iou(segvoc.click(PIXELS, box=(136, 46, 236, 146)), RIGHT) > 0.8
    assert iou(segvoc.click(PIXELS, [(186, 96)], box=(136, 46, 236, 146)), RIGHT) > 0.8


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
def test_what_cannot_be_answered(arguments: dict, said: str) -> None:
    with pytest.raises(segvoc.UsageError, match=said):
        segvoc.click(PIXELS, **arguments)


def test_the_command_writes_a_mask_and_an_overlay(segvoc_command: Command) -> None:
    Image.fromarray(PIXELS).save("photo.png")
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
    segvoc_command("click", "photo.png", "1,1", "--out", "mask.jpg").refused("'mask.jpg' is a PNG; name it so")
    outcome = segvoc_command("click", "missing.png", "1,1", "--out", "mask.png")
    assert outcome.code == 1 and "missing.png" in outcome.err


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
def test_wrong_calls_are_one_line(segvoc_command: Command, arguments: tuple[str, ...], said: str) -> None:
    Image.fromarray(PIXELS).save("photo.png")
    segvoc_command("click", *arguments, "--out", "mask.png").refused(said)
    assert not Path("mask.png").exists()
