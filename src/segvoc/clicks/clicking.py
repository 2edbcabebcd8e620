"""The object under clicks or in a box, in one call."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from segvoc.clicks.clicked_image import Click, ClickedImage, Guess
from segvoc.clicks.view import ViewBox
from segvoc.errors import UsageError
from segvoc.imaging.reading import ImageSource, read_image


def click(
    image: ImageSource,
    points: Sequence[tuple[float | int, float | int]] = (),
    labels: Sequence[bool | int] | None = None,
    box: Sequence[float | int] | None = None,
) -> Bool[np.ndarray, "H W"]:
    """Find the object under clicks or in a box.

        mask = segvoc.click("photo.jpg", points=[(120, 80)])
        mask = segvoc.click("photo.jpg", points=[(120, 80), (200, 90)], labels=[True, False])
        mask = segvoc.click("photo.jpg", box=(60, 40, 210, 160))

    It needs no words and no PyTorch; docs/explanation/clicks.md says how it works, and how many clicks it takes.

    Args:
        image: a path, a PIL image or an (H, W, 3) uint8 array; see `segvoc.imaging.reading.read_image`.
        points: places (x, y) in pixels from the top left corner, in the order of the clicks.
        labels: for each point, whether it is on the object (True or 1) or beside it (False or 0); None: all are on it.
        box: a rectangle (x0, y0, x1, y1) around the object, in pixels; points then correct what is found in it.

    Returns:
        The pixels of the object.

    Raises:
        InputError: the image can't be read.
        UsageError: there is neither a box nor a point on the object, the labels aren't as many as the points, or a
            point or the box is not in the image.
    """
    pixels = read_image(image)
    height, width = pixels.shape[:2]
    on_object = [True] * len(points) if labels is None else [bool(label) for label in labels]
    if len(on_object) != len(points):
        raise UsageError(f"there are {len(points)} points and {len(on_object)} labels; give one label for each point")
    if box is None and not any(on_object):
        raise UsageError("there is neither a box nor a point on the object; give one")
    for point in points:
        if len(point) != 2 or not (0 <= point[0] < width and 0 <= point[1] < height):
            raise UsageError(
                f"the point {_text(point)} is not in the image, which has {width} x {height} pixels; give x,y in pixels"
            )
    clicked, guess = ClickedImage(pixels), None
    if box is not None:
        guess = clicked.boxed(_view_of(box, width, height))
    # without a box, the first click has to be on the object
    ordered = sorted(zip(points, on_object, strict=True), key=lambda one: not one[1]) if guess is None else None
    for (x, y), adds in ordered or zip(points, on_object, strict=True):
        guess = clicked.clicked(Click(float(x), float(y), adds), guess)
    assert isinstance(guess, Guess)
    return clicked.mask(guess)


def _view_of(box: Sequence[float | int], width: int, height: int) -> ViewBox:
    if len(box) == 4 and all(math.isfinite(value) for value in box):
        left, top, right, bottom = box
        if 0 <= left < right <= width and 0 <= top < bottom <= height:
            return ViewBox(float(left), float(top), float(right), float(bottom))
    raise UsageError(
        f"the box {_text(box)} is no rectangle in the image, which has {width} x {height} pixels; give x0,y0,x1,y1"
    )


def _text(numbers: Sequence[float | int]) -> str:
    return ",".join(f"{number:g}" for number in numbers)
