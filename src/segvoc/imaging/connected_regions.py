"""The instances in a label map: its objects, or else its connected components."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt16

from segvoc.errors import naming_extra
from segvoc.imaging.label_maps import UNLABELED


@dataclass(frozen=True, eq=False)
class Region:
    """Pixels of a class: an object, a connected component, or all pixels of the class in an image."""

    label: int
    left: int
    """First column of the bounding box."""
    top: int
    """First row of the bounding box."""
    inside: Bool[np.ndarray, "h w"]
    number: int | None = None
    """The number of the object; 0 for the pixels of a class with objects that are in none of them; None without
    objects."""
    is_connected: bool = False

    @property
    def is_crowd(self) -> bool:
        """Whether its number of objects is unknown (COCO's crowd)."""
        return self.number == 0

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


def connected_regions(
    labels: UInt16[np.ndarray, "H W"], classes: int, objects: UInt16[np.ndarray, "H W"] | None = None
) -> list[Region]:
    """The 8-connected components of every class, class by class, each from top to bottom.

    In a class with objects (numbers from 1), each object is a region, connected or not, in the order of their numbers;
    the class's other pixels together come first. Labels from `classes` on (65535: unlabeled) have no region, and pixels
    of two classes are never one object.
    """
    with naming_extra("scikit-image", "data"):
        from scipy.ndimage import find_objects
        from skimage.measure import label
    # neighboring classes have different values, so all are numbered at once; 0 stands for "no region"
    classed = np.where(labels < classes, labels + np.int32(1), 0)
    counted = None if objects is None else (classed > 0) & np.isin(labels, labels[(classed > 0) & (objects > 0)])
    numbered: Any = label(classed if counted is None else np.where(counted, 0, classed), connectivity=2)
    if counted is not None and objects is not None:
        pairs = labels[counted] * np.int64(UNLABELED + 1) + objects[counted]
        numbered[counted] = numbered.max() + 1 + np.unique(pairs, return_inverse=True)[1]
    found = []
    for number, place in enumerate(find_objects(numbered), 1):
        inside = numbered[place] == number
        row, column = place[0].start, place[1].start
        pixel = row, column + int(inside[0].argmax())
        of = int(objects[pixel]) if counted is not None and objects is not None and counted[pixel] else None
        found.append(Region(int(labels[pixel]), column, row, inside, of, is_connected=of is None))
    return sorted(found, key=lambda region: region.label)


def segments(
    labels: UInt16[np.ndarray, "H W"], classes: int, stuff: Set[int], objects: UInt16[np.ndarray, "H W"] | None = None
) -> Iterator[Region]:
    """The segments of an image: each region of a thing, and all pixels of each stuff class without objects."""
    for label, same in groupby(connected_regions(labels, classes, objects), lambda region: region.label):
        regions = list(same)
        if label in stuff and regions[0].number is None:
            yield _united(regions, labels)
        else:
            yield from regions


def _united(regions: Sequence[Region], labels: UInt16[np.ndarray, "H W"]) -> Region:
    """All pixels of the regions' class."""
    rows, columns = (
        slice(min(place.start for place in places), max(place.stop for place in places))
        for places in zip(*(region.place for region in regions), strict=True)
    )
    label = regions[0].label
    return Region(label, columns.start, rows.start, labels[rows, columns] == label)


def pieces_of(region: Region) -> list[Region]:
    """The connected components of a region, from top to bottom; the region itself if it is connected."""
    pieces = [] if region.is_connected else connected_regions((~region.inside).astype(np.uint16), 1)
    if len(pieces) < 2:
        return [region]
    return [
        replace(
            region, left=region.left + piece.left, top=region.top + piece.top, inside=piece.inside, is_connected=True
        )
        for piece in pieces
    ]
