"""Masks of objects from clicks on them and boxes around them: `segvoc.click`, and the programs behind it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from segvoc.errors import UsageError
from segvoc.imaging.reading import ImageSource, read_given
from segvoc.inference.edges import IMAGE_PROGRAM, connected_cells, shipped_program
from segvoc.inference.protocols import SHIPPED_VIEW
from segvoc.inference.windows import views
from segvoc.runtime.arrays import sigmoid
from segvoc.runtime.suggestions import checked_call

PROGRAM = "clicks.onnx"
"""From the shipped image encoder's features of a view, clicks and the current mask to the mask."""

CLICK_PROGRAM = shipped_program(PROGRAM)
VIEW_PROGRAM = shipped_program(IMAGE_PROGRAM)
"""From pixels to these features."""

ROOM = 1.4
"""Sides of a view, relative to the object in it (RITM's)."""

LEAST = 144.0
"""Minimum side of a view [px], as in training."""

MOST_ASPECT = 2.0
"""Maximum aspect ratio of a view, since it is squashed to a square."""

ZOOM_IN_BELOW, USE_WHOLE_ABOVE = 0.5, 0.6
"""Zoom in if the new view has at most this share of the area; with more than that of the image's, take all of it."""

CUT_OFF = 0.02
"""Margin within which an object may be cut off by the view, relative to its side."""


@dataclass(frozen=True)
class ViewBox:
    """A rectangle of an image [px]; right and bottom are exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """In pixels."""
        return (self.right - self.left) * (self.bottom - self.top)

    def joined(self, other: "ViewBox") -> "ViewBox":
        """The bounding box of two rectangles."""
        return ViewBox(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def holds(self, x: float, y: float) -> bool:
        """Whether it contains a point."""
        return self.left <= x < self.right and self.top <= y < self.bottom


def view_around(box: ViewBox, image: ViewBox) -> ViewBox:
    """The view of an object: its box with a margin, in whole pixels of the image."""
    sides = [max(LEAST, ROOM * (box.right - box.left)), max(LEAST, ROOM * (box.bottom - box.top))]
    sides = [max(side, max(sides) / MOST_ASPECT) for side in sides]
    left, right = _placed(box.left, box.right, sides[0], image.right)
    top, bottom = _placed(box.top, box.bottom, sides[1], image.bottom)
    view = ViewBox(left, top, right, bottom)
    return image if view.area > USE_WHOLE_ABOVE * image.area else view


def _placed(first: float, last: float, side: float, most: float) -> tuple[float, float]:
    side = min(float(np.ceil(side)), most)
    start = float(np.floor((first + last - side) / 2))
    start = max(0.0, min(most - side, start))
    return start, start + side


def next_view(view: ViewBox, box: ViewBox, image: ViewBox) -> ViewBox:
    """The next view for an object: zoom in if it is small, out if it is cut off."""
    wanted = view_around(box, image)
    margin = (CUT_OFF * (view.right - view.left), CUT_OFF * (view.bottom - view.top))
    is_cut = (
        (box.left < view.left + margin[0] and view.left > 0)
        or (box.right > view.right - margin[0] and view.right < image.right)
        or (box.top < view.top + margin[1] and view.top > 0)
        or (box.bottom > view.bottom - margin[1] and view.bottom < image.bottom)
    )
    if is_cut:
        return wanted if wanted.area > view.area else image
    return wanted if wanted.area <= ZOOM_IN_BELOW * view.area else view


def box_of(mask: Bool[np.ndarray, "h w"], view: ViewBox) -> ViewBox | None:
    """The bounding box of a mask in a view; None if the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    down, across = (view.bottom - view.top) / mask.shape[0], (view.right - view.left) / mask.shape[1]
    return ViewBox(
        view.left + across * float(columns[0]),
        view.top + down * float(rows[0]),
        view.left + across * float(columns[-1] + 1),
        view.top + down * float(rows[-1] + 1),
    )


def resampled(
    values: Float32[np.ndarray, "h w"], of: ViewBox, to: ViewBox, size: tuple[int, int], outside: float
) -> Float32[np.ndarray, "H W"]:
    """Resample the values of a view to the grid of another, bilinearly."""
    lines, in_rows = _resampled_axis(values, 0, (of.top, of.bottom), (to.top, to.bottom), size[0])
    values, in_columns = _resampled_axis(lines, 1, (of.left, of.right), (to.left, to.right), size[1])
    return np.where(in_rows[:, None] & in_columns, values, np.float32(outside))


def _resampled_axis(
    values: Float32[np.ndarray, "h w"], axis: int, of: tuple[float, float], to: tuple[float, float], size: int
) -> tuple[Float32[np.ndarray, "H W"], Bool[np.ndarray, " n"]]:
    """Values at new cells along an axis, and which of these cells are inside the old ones."""
    count = values.shape[axis]
    place = to[0] + (np.arange(size, dtype=np.float64) + 0.5) * ((to[1] - to[0]) / size)
    cell = (place - of[0]) * (count / (of[1] - of[0])) - 0.5
    kept = np.clip(cell, 0, count - 1)
    lower = np.floor(kept).astype(np.int64)
    first, after = (values.take(np.minimum(lower + step, count - 1), axis) for step in (0, 1))
    share = (kept - lower).astype(np.float32)
    return first + (after - first) * (share if axis else share[:, None]), (cell > -1) & (cell < count)


@dataclass(frozen=True)
class Click:
    """A click on an image [px], on the object (positive) or off it (negative)."""

    x: float
    y: float
    adds: bool = True


def connected_to(
    clicks: Sequence[Click], view: ViewBox, logits: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w"]:
    """Keep the connected components of a view's mask that have a positive click; without such a click, keep all."""
    down, across = logits.shape[0] / (view.bottom - view.top), logits.shape[1] / (view.right - view.left)
    inside = logits > 0
    part = connected_cells(inside.astype(np.int64))
    on_object = [click for click in clicks if click.adds and view.holds(click.x, click.y)]
    clicked = [part[int((click.y - view.top) * down), int((click.x - view.left) * across)] for click in on_object]
    others = inside & ~np.isin(part, clicked)
    return logits if np.array_equal(others, inside) else np.where(others, -logits, logits)


@dataclass(frozen=True, eq=False)
class Guess:
    """The current prediction for an object."""

    clicks: tuple[Click, ...]
    view: ViewBox
    """The crop of the image that the network saw."""
    logits: Float32[np.ndarray, "h w"]
    """Logits of every second pixel of the view at the network's input size; positive: in the mask."""


@dataclass(eq=False)
class ClickedImage:
    """An image for clicks; features are computed once per view."""

    image: UInt8[np.ndarray, "H W 3"]
    seen: dict[ViewBox, dict[str, np.ndarray]] = field(default_factory=dict)

    @property
    def whole(self) -> ViewBox:
        """The whole image as a view."""
        height, width = self.image.shape[:2]
        return ViewBox(0.0, 0.0, float(width), float(height))

    def boxed(self, box: ViewBox) -> Guess:
        """Predict the object in a box; its center counts as a positive click: more accurate than a box alone."""
        view = view_around(box, self.whole)
        height, width = self._size(view)
        inside = np.zeros((height, width), np.float32)
        down, across = height / (view.bottom - view.top), width / (view.right - view.left)
        rows = slice(round((box.top - view.top) * down), round((box.bottom - view.top) * down))
        columns = slice(round((box.left - view.left) * across), round((box.right - view.left) * across))
        inside[rows, columns] = 0.5
        middle = Click((box.left + box.right) / 2, (box.top + box.bottom) / 2)
        return Guess((), view, self._run((middle,), view, inside))

    def clicked(self, click: Click, before: Guess | None = None) -> Guess:
        """Predict the object after another click."""
        whole = self.whole
        if before is None:
            before = Guess((), whole, np.full(self._size(whole), -20.0, np.float32))
        clicks, view = (*before.clicks, click), before.view
        if not view.holds(click.x, click.y):
            point = ViewBox(click.x, click.y, click.x + 1, click.y + 1)
            box = box_of(before.logits > 0, view)
            view = view_around(box.joined(point) if box else point, whole).joined(view)
        guess = self._in_view(before, clicks, view)
        box = box_of(guess.logits > 0, view)
        for click in clicks:
            if box and click.adds:
                box = box.joined(ViewBox(click.x, click.y, click.x + 1, click.y + 1))
        nearer = next_view(view, box, whole) if box else view
        return guess if nearer == view else self._in_view(guess, clicks, nearer)

    def mask(self, guess: Guess) -> Bool[np.ndarray, "H W"]:
        """The mask of a guess at the image's size."""
        view, result = guess.view, np.zeros(self.image.shape[:2], bool)
        rows, columns = slice(int(view.top), int(view.bottom)), slice(int(view.left), int(view.right))
        size = (rows.stop - rows.start, columns.stop - columns.start)
        result[rows, columns] = resampled(guess.logits, view, view, size, -20.0) > 0
        return result

    def _in_view(self, before: Guess, clicks: tuple[Click, ...], view: ViewBox) -> Guess:
        logits = before.logits
        if view != before.view:
            logits = resampled(logits, before.view, view, self._size(view), -20.0)
        return Guess(clicks, view, connected_to(clicks, view, self._run(clicks, view, sigmoid(logits))))

    def _size(self, view: ViewBox) -> tuple[int, int]:
        height, width = self._features(view)["pixels"].shape[2:]
        return height // 2, width // 2

    def _run(
        self, clicks: Sequence[Click], view: ViewBox, mask: Float32[np.ndarray, "h w"]
    ) -> Float32[np.ndarray, "h w"]:
        width, height = view.right - view.left, view.bottom - view.top
        rows = [
            ((click.x - view.left) / width, (click.y - view.top) / height, 1.0 if click.adds else -1.0)
            for click in clicks
            if view.holds(click.x, click.y)
        ]
        inputs = {"clicks": np.array(rows or [(0.5, 0.5, 0.0)], np.float32), "mask": mask.astype(np.float32)}
        return CLICK_PROGRAM(self._features(view) | inputs)["logits"]

    def _features(self, view: ViewBox) -> dict[str, np.ndarray]:
        features = self.seen.pop(view, None)
        if features is None:
            part = self.image[int(view.top) : int(view.bottom), int(view.left) : int(view.right)]
            pixels = views(part, SHIPPED_VIEW)[:1]
            features = VIEW_PROGRAM({"pixels": pixels}) | {"pixels": pixels}
        self.seen[view] = features  # the last one is the most recently used
        while len(self.seen) > 8:
            del self.seen[next(iter(self.seen))]
        return features


@checked_call
def click(
    image: ImageSource,
    points: Sequence[tuple[float | int, float | int]] | tuple[float | int, float | int] = (),
    labels: Sequence[bool | int] | None = None,
    box: Sequence[float | int] | None = None,
) -> Bool[np.ndarray, "H W"]:
    """Segment the object under clicks or in a box.

        mask = segvoc.click("photo.jpg", (120, 80))
        mask = segvoc.click("photo.jpg", points=[(120, 80), (200, 90)], labels=[True, False])
        mask = segvoc.click("photo.jpg", box=(60, 40, 210, 160))

    Needs no words and no PyTorch; see docs/explanation/clicks.md for the method, and the clicks needed per object.

    Args:
        image: a path or URL, a PIL image or an (H, W, 3) uint8 array; see `segvoc.imaging.reading.read_given`.
        points: a click (x, y) in pixels from the top left corner, or several, in order.
        labels: for each point, whether it is on the object (True or 1) or off it (False or 0); None: all are on it.
        box: a box (x0, y0, x1, y1) around the object, in pixels, which is clipped to the image; points then correct its
            mask.

    Returns:
        The mask of the object.

    Raises:
        InputError: the image can't be read.
        UsageError: an argument can't be read, there is neither a box nor a point on the object, the numbers of labels
            and points differ, or a point or the whole box is outside the image.
    """
    if (
        isinstance(points, Sequence | np.ndarray)
        and len(points) == 2
        and all(isinstance(number, Real) for number in points)
    ):  # one click
        points = [cast(Any, points)]
    places = _numbers("points", points, (-1, 2), "[(120, 80), (200, 90)]")
    on_object = (
        [True] * len(places) if labels is None else list(map(bool, _numbers("labels", labels, (-1,), "[True, False]")))
    )
    corners = None if box is None else _numbers("box", box, (4,), "(60, 40, 210, 160)")
    if len(on_object) != len(places):
        raise UsageError(f"there are {len(places)} points and {len(on_object)} labels; give one label for each point")
    if corners is None and not any(on_object):
        raise UsageError("there is neither a box nor a point on the object; give one")
    pixels, _ = read_given(image)
    height, width = pixels.shape[:2]
    for x, y in places:
        if not (0 <= x < width and 0 <= y < height):
            raise UsageError(
                f"the point {x:g},{y:g} is not in the image, which has {width} x {height} pixels; give x,y in pixels"
            )
    clicked, guess = ClickedImage(pixels), None
    if corners is not None:
        guess = clicked.boxed(_view_of(corners, width, height))
    clicks = [Click(x, y, adds) for (x, y), adds in zip(places, on_object, strict=True)]
    if guess is None:  # without a box, the first click has to be on the object
        clicks.sort(key=lambda one: not one.adds)
    for one in clicks:
        guess = clicked.clicked(one, guess)
    assert isinstance(guess, Guess)
    return clicked.mask(guess)


def _view_of(box: list[float], width: int, height: int) -> ViewBox:
    left, top, right, bottom = max(0.0, box[0]), max(0.0, box[1]), min(box[2], float(width)), min(box[3], float(height))
    if left < right and top < bottom and all(map(math.isfinite, box)):
        return ViewBox(left, top, right, bottom)
    numbers = ",".join(f"{number:g}" for number in box)
    raise UsageError(
        f"the box {numbers} is no rectangle in the image, which has {width} x {height} pixels; give x0,y0,x1,y1"
    )


def _numbers(name: str, given: Any, shape: tuple[int, ...], example: str) -> list[Any]:
    """Numbers as nested lists of this shape, in which -1 stands for any number."""
    try:
        numbers = np.array(given, np.float64)
    except (TypeError, ValueError):
        numbers = None
    if numbers is not None and not numbers.size and -1 in shape:
        return []
    if numbers is None or numbers.ndim != len(shape) or shape[-1] not in (-1, numbers.shape[-1]):
        raise UsageError(f"{name}={given!r} can't be read; give for example {name}={example}")
    return numbers.tolist()
