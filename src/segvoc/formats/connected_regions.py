"""The connected regions of a label map, which stand for instances where a dataset has any."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt16

from segvoc.errors import missing_extra


@dataclass(frozen=True, eq=False)
class Region:
    """Pixels of one class: those that touch one another, or all of an image."""

    label: int
    left: int
    """First column of the bounding box."""
    top: int
    """First row of the bounding box."""
    inside: Bool[np.ndarray, "h w"]
    """Which pixels of the bounding box it has."""

    @property
    def area(self) -> int:
        """Its size [px]."""
        return int(np.count_nonzero(self.inside))

    @property
    def box(self) -> list[int]:
        """Left, top, width and height of its bounding box [px]."""
        height, width = self.inside.shape
        return [self.left, self.top, width, height]

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of its bounding box."""
        height, width = self.inside.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def connected_regions(labels: UInt16[np.ndarray, "H W"], classes: int) -> list[Region]:
    """The connected regions of every class, class by class, each from top to bottom.

    Pixels that touch at a corner are connected.

    Args:
        labels: the index of each pixel's class; indices from `classes` on (65535: unlabeled) have no region.
        classes: number of classes.

    Raises:
        UsageError: scikit-image isn't installed.
    """
    try:
        from scipy.ndimage import find_objects
        from skimage.measure import label
    except ModuleNotFoundError:
        raise missing_extra("scikit-image", "formats") from None
    # neighboring classes have different values, so all are numbered at once; 0 stands for "no region"
    numbered: Any = label(np.where(labels < classes, labels + np.int32(1), 0), connectivity=2)
    found = []
    for number, place in enumerate(find_objects(numbered), 1):
        inside = numbered[place] == number
        row, column = place[0].start, place[1].start
        first = int(inside[0].argmax())
        found.append(Region(int(labels[row, column + first]), column, row, inside))
    return sorted(found, key=lambda region: region.label)


def segments(labels: UInt16[np.ndarray, "H W"], classes: int, stuff: Set[int]) -> Iterator[Region]:
    """The segments of an image: each connected region of a thing, and all pixels of a kind of stuff together."""
    same: list[Region] = []
    for region in [*connected_regions(labels, classes), None]:
        if same and (region is None or region.label != same[0].label):
            yield _united(same)
            same = []
        if region is not None and region.label in stuff:
            same.append(region)
        elif region is not None:
            yield region


def _united(regions: Sequence[Region]) -> Region:
    left, top = min(region.left for region in regions), min(region.top for region in regions)
    right = max(region.left + region.inside.shape[1] for region in regions)
    bottom = max(region.top + region.inside.shape[0] for region in regions)
    inside = np.zeros((bottom - top, right - left), bool)
    for region in regions:
        rows, columns = region.place
        inside[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] |= region.inside
    return Region(regions[0].label, left, top, inside)
