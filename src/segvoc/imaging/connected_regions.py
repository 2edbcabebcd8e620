"""The instances in a label map: its objects, or else its connected components; and their outlines as polygons.

A polygon follows the outline of its region and includes holes: in the first row of a hole, it crosses over to the hole,
goes around it and returns on the same path. Even-odd and winding fill rules both exclude the hole.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt16

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

    def mean(self, confidence: Float32[np.ndarray, "H W"]) -> float:
        """The mean of a map over its pixels."""
        return float(confidence[self.place][self.inside].mean(dtype=np.float64))


def connected_regions(
    labels: UInt16[np.ndarray, "H W"], classes: int, objects: UInt16[np.ndarray, "H W"] | None = None
) -> list[Region]:
    """The 8-connected components of every class, class by class, each from top to bottom.

    In a class with objects (numbers from 1), each object is a region, connected or not, in the order of their numbers;
    the class's other pixels together come first. Labels from `classes` on (65535: unlabeled) have no region, and pixels
    of two classes are never one object.
    """
    from scipy.ndimage import find_objects
    from skimage.measure import label

    # neighboring classes have different values, so all are numbered at once; 0 stands for "no region"
    classed = np.where(labels < classes, labels + np.int32(1), 0)
    counted = None if objects is None else (classed > 0) & np.isin(labels, labels[(classed > 0) & (objects > 0)])
    numbered: Any = label(classed if counted is None else np.where(counted, 0, classed), connectivity=2)
    if counted is not None and objects is not None:
        pairs = labels[counted] * np.int64(UNLABELED + 1) + objects[counted]
        numbered[counted] = numbered.max() + 1 + np.unique(pairs, return_inverse=True)[1]
    regions = []
    for number, place in enumerate(find_objects(numbered), 1):
        inside = numbered[place] == number
        row, column = place[0].start, place[1].start
        pixel = row, column + int(inside[0].argmax())
        of = int(objects[pixel]) if counted is not None and objects is not None and counted[pixel] else None
        regions.append(Region(int(labels[pixel]), column, row, inside, of, is_connected=of is None))
    return sorted(regions, key=lambda region: region.label)


def segments(
    labels: UInt16[np.ndarray, "H W"], classes: int, stuff: Set[int], objects: UInt16[np.ndarray, "H W"] | None = None
) -> Iterator[Region]:
    """The segments of an image: each region of a thing, and all pixels of each stuff class without objects."""
    for label, same in groupby(connected_regions(labels, classes, objects), lambda region: region.label):
        regions = list(same)
        if label in stuff and regions[0].number is None:
            rows, columns = (
                slice(min(place.start for place in places), max(place.stop for place in places))
                for places in zip(*(region.place for region in regions), strict=True)
            )
            yield Region(label, columns.start, rows.start, labels[rows, columns] == label)
        else:
            yield from regions


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


OUTLINE_TOLERANCE = 0.25
"""Maximum distance of a polygon from the pixel boundary of its region [px]: pycocotools, which rounds to fifths of a
pixel, draws the same pixels."""

_Points = Float64[np.ndarray, "_ 2"]


def polygon_of(
    region: Region, *, tolerance: float = OUTLINE_TOLERANCE, inset: float = 0.0
) -> Float64[np.ndarray, "V 2"]:
    """The outline of a region as one polygon of (x, y) in pixels; the corner of the first pixel is (0, 0).

    The first corner isn't repeated at the end. For an object with several components, the polygon crosses over to each
    and returns on the same path. It is at most `tolerance` from the pixel boundary, with corners `inset` (below 0.5)
    inside it [px].
    """
    from skimage.measure import find_contours

    first, *others = pieces = pieces_of(region)
    if others:
        rings = [polygon_of(piece, tolerance=tolerance, inset=inset) for piece in pieces]
        start = rings[0][:1]
        return np.concatenate([rings[0], *(corners for ring in rings[1:] for corners in (start, ring, ring[:1]))])
    padded = np.pad(first.inside, 1)
    # rings from pixel edge to pixel edge, whose last points are the first ones again
    rings = [ring[:-1] for ring in find_contours(padded.astype(np.float32), 0.5, fully_connected="high")]
    path = simplified(_joined(rings, padded), tolerance)[:-1]
    # here the center of a pixel has whole numbers, and a corner lies between that of one inside and one outside
    before, after = np.floor(path).astype(int), np.ceil(path).astype(int)
    path += np.where(padded[*before.T], -inset, inset)[:, None] * (after - before)
    return path[:, ::-1] - 0.5 + [region.left, region.top]  # the padding comes first


def _joined(rings: list[_Points], padded: Bool[np.ndarray, "h w"]) -> list[_Points]:
    """The pieces of a single closed path along all rings, between the points where it crosses over.

    A hole is reached from the ring left of its leftmost point, on a path inside the region. That ring starts further
    left, hence all rings are reached from the outer ring.
    """
    outer = min(range(len(rings)), key=lambda index: rings[index][:, 1].min())
    entries = [int(points[:, 1].argmin()) for points in rings]
    holes: list[dict[int, int]] = [{} for _ in rings]
    if len(rings) > 1:
        places = {
            (*point,): (ring, at) for ring, points in enumerate(rings) for at, point in enumerate(points.tolist())
        }
        for ring in range(len(rings)):
            if ring != outer:
                row, column = rings[ring][entries[ring]].tolist()
                left_of_it = padded[int(row), : int(column + 0.5)]
                edge = len(left_of_it) - 0.5 - int(left_of_it[::-1].argmin())
                parent, at = places[row, edge]
                holes[parent][(at - entries[parent]) % len(rings[parent])] = ring

    def steps(ring: int) -> Iterator[tuple[_Points, int | None]]:
        """Points up to a hole, and the hole; the last points come with None."""
        points = np.roll(rings[ring], -entries[ring], axis=0)
        points = np.concatenate([points, points[:1]])
        done = 0
        for at, hole in sorted(holes[ring].items()):
            yield points[done : at + 1], hole
            done = at
        yield points[done:], None

    path: list[_Points] = []
    # Python's own stack is too small for holes that are reached from one another in long chains
    stack = [steps(outer)]
    while stack:
        points, hole = next(stack[-1])
        path.append(points)
        if hole is None:
            stack.pop()
        else:
            stack.append(steps(hole))
    return path


def simplified(pieces: list[_Points], tolerance: float) -> _Points:
    """The corners of pieces of a path, simplified (Ramer, Douglas and Peucker); the ends of each piece stay.

    All lines of a level are split at once: a line at a time takes seconds where outlines are long.
    """
    points = np.concatenate(pieces)
    lengths = np.array([len(piece) for piece in pieces])
    ends: Any = np.cumsum(lengths) - 1
    starts: Any = ends - lengths + 1
    corner = np.zeros(len(points), bool)
    corner[starts] = corner[ends] = True
    while (open_ := ends - starts > 1).any():
        starts, ends = starts[open_], ends[open_]
        sizes = ends - starts - 1
        first = np.cumsum(sizes) - sizes
        line = np.repeat(np.arange(len(starts)), sizes)
        between = np.arange(len(line)) + (starts + 1 - first)[line]
        along, offset = (points[ends] - points[starts])[line], points[between] - points[starts][line]
        length = np.square(along).sum(axis=1)
        share = (offset * along).sum(axis=1) / np.where(length > 0, length, 1)
        distance = np.square(offset - np.clip(share, 0, 1)[:, None] * along).sum(axis=1)
        farthest = np.maximum.reduceat(distance, first)
        at_farthest = np.flatnonzero(distance == farthest[line])
        split = farthest > tolerance**2
        middle = between[at_farthest[np.searchsorted(at_farthest, first)]][split]
        corner[middle] = True
        starts, ends = np.concatenate((starts[split], middle)), np.concatenate((middle, ends[split]))
    return points[corner]
