"""Views: the crop of an image to segment a clicked object in."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

ROOM = 1.4
"""Sides of a view, relative to the object in it (RITM's)."""

LEAST = 144.0
"""Minimum side of a view [px], as in training."""

MOST_ASPECT = 2.0
"""Maximum aspect ratio of a view, since it is squashed to a square."""

WORTH, WHOLE = 0.5, 0.6
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
    return image if view.area > WHOLE * image.area else view


def _placed(first: float, last: float, side: float, most: float) -> tuple[float, float]:
    side = min(float(np.ceil(side)), most)
    start = float(np.floor((first + last - side) / 2))
    start = max(0.0, min(most - side, start))
    return start, start + side


def next_view(view: ViewBox, found: ViewBox, image: ViewBox) -> ViewBox:
    """The next view for an object: zoom in if it is small, out if it is cut off."""
    wanted = view_around(found, image)
    margin = (CUT_OFF * (view.right - view.left), CUT_OFF * (view.bottom - view.top))
    is_cut = (
        (found.left < view.left + margin[0] and view.left > 0)
        or (found.right > view.right - margin[0] and view.right < image.right)
        or (found.top < view.top + margin[1] and view.top > 0)
        or (found.bottom > view.bottom - margin[1] and view.bottom < image.bottom)
    )
    if is_cut:
        return wanted if wanted.area > view.area else image
    return wanted if wanted.area <= WORTH * view.area else view


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
    found, in_columns = _resampled_axis(lines, 1, (of.left, of.right), (to.left, to.right), size[1])
    return np.where(in_rows[:, None] & in_columns, found, np.float32(outside))


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
