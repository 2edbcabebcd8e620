"""`segvoc click`: the mask of the object at a point or in a box."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.command import Command

ROWS, COLUMNS = np.mgrid[:192, :256]
LEFT, RIGHT = ((ROWS - 96) ** 2 + (COLUMNS - column) ** 2 < 45**2 for column in (70, 186))


@pytest.fixture
def click(segvoc_command: Command) -> Command:
    """`segvoc click` in a folder with a photograph of two disks."""
    pixels = np.full((192, 256, 3), 128, np.uint8)
    pixels[LEFT], pixels[RIGHT] = (200, 30, 30), (30, 30, 200)
    Image.fromarray(pixels).save("photo.png")
    return lambda *arguments: segvoc_command("click", *arguments)


def test_a_mask_and_an_overlay_are_written(click: Command) -> None:
    done = click("photo.png", "70,96", "--not", "186,96", "--out", "m/mask.png", "--overlay", "o.jpg").ok()
    assert done.out.startswith("-> m/mask.png (")
    with Image.open("m/mask.png") as image:
        mask = np.array(image)
    assert set(np.unique(mask)) == {0, 255}
    assert (LEFT & (mask > 0)).sum() > 0.8 * (LEFT | (mask > 0)).sum()
    with Image.open("o.jpg") as shown:
        assert shown.format == "JPEG" and shown.size == (256, 192)
    click("photo.png", "--box", "20,46,120,146", "--out", "mask.png").ok()
    for point in (["70", "96"], ["70,96"]):
        assert "-> photo.mask.png" in click("photo.png", *point).ok().out
    click("missing.png", "1,1", "--out", "mask.png").failed(1, "missing.png")


def test_wrong_calls_are_one_line(click: Command) -> None:
    for arguments, said in (
        (["1"], "'1' is not X,Y; give numbers, for example 120,80"),
        (["--box", "1,2"], "'1,2' is not X0,Y0,X1,Y1"),
        (["1,1", "--overlay", "photo.png"], "is the image itself"),
        (["1,1", "--overlay", "shown.svg"], "shown.svg"),
        (["1,1", "--overlay", "./mask.png"], "'./mask.png' is both the mask and the overlay"),
    ):
        click("photo.png", *arguments, "--out", "mask.png").refused(said)
    click("photo.png", "1,1", "--out", "mask.jpg").refused("'mask.jpg' is a PNG; name it so")
    assert not Path("mask.png").exists()
