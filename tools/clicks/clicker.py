"""The scripted clicker: the middle of the largest error."""

from typing import Any

import numpy as np
from scipy import ndimage

from segvoc.inference.clicks import Click

CORNERS = np.ones((3, 3), bool)
"""Pixels that touch at a corner are connected."""


def next_click(found: np.ndarray, wanted: np.ndarray, known: np.ndarray) -> Click | None:
    """A click on the middle of a mask's largest error, where it is deepest; `known`: pixels that count (all H W)."""
    largest = largest_error(found, wanted, known)
    if largest is None:
        return None
    y, x = middle(largest[0])
    return Click(x + 0.5, y + 0.5, largest[1])


def largest_error(found: np.ndarray, wanted: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, bool] | None:
    """The largest connected error (H W), and whether it is missing in the mask; None: none (see `next_click`)."""
    best, adds = None, True
    for wrong, kind in ((wanted & ~found & known, True), (found & ~wanted & known, False)):
        numbers, count = connected(wrong)
        if not count:
            continue
        sizes = np.bincount(numbers.ravel())[1:]
        if best is None or sizes.max() > best.sum():
            best, adds = numbers == sizes.argmax() + 1, kind
    return None if best is None else (best, adds)


def iou_of(mask: np.ndarray, wanted: np.ndarray, known: np.ndarray) -> float:
    """Intersection over union of two masks (H W), in [0, 1], among the labeled pixels."""
    return float((mask & wanted & known).sum() / ((mask | wanted) & known).sum())


def connected(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """The number of each pixel's connected region, from 1 on, and how many there are; 0: outside."""
    found: Any = ndimage.label(mask, CORNERS)
    return found


def middle(region: np.ndarray) -> tuple[int, int]:
    """Row and column of the pixel of a region that is farthest from its outline; the image's border is one."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    top, left = rows[0], columns[0]
    part = np.pad(region[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    depth = np.asarray(ndimage.distance_transform_edt(part))
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row) - 1 + int(top), int(column) - 1 + int(left)
