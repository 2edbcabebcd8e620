"""Regions of a label map as polygons along the edges of pixels, which share the corners of their common borders.

Each region is 4-connected, so that its polygon is valid: regions that touch at a corner are apart, and a hole that
touches a border at a corner stays a hole. Where three regions meet, all three have the point, also the one whose border
runs straight on: polygons of neighbors fit together as GEOS wants it of a coverage, which GDAL's don't.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

LONGEST_EDGE = 256
"""Straight borders have a point at every so many pixels: in other coordinates, a long line is none."""


def pixel_polygons(
    regions: Integer[np.ndarray, "H W"],
    above: Integer[np.ndarray, " W"] | None = None,
    below: Integer[np.ndarray, " W"] | None = None,
) -> np.ndarray:
    """The polygons (shapely's) of the regions 1 to N, which cover all pixels; the corner of the first pixel is (0, 0).

    Args:
        regions: the region of each pixel; each is 4-connected.
        above: what lies in the row above, if there is one: numbers that are equal where regions are, whatever they are.
            The polygons get points where they change, so that they fit to polygons of that row.
        below: the same of the row below.
    """
    from shapely import GeometryType, from_ragged_array

    height, width = regions.shape
    padded = np.zeros((height + 2, width + 2), np.int64)
    padded[1:-1, 1:-1] = regions
    for row, values in ((0, above), (-1, below)):
        if values is not None:
            padded[row, 1:-1] = -1 - values.astype(np.int64)
    visits = _visits(padded)
    rings = _cycles(_following(visits, height, width))
    points = np.stack([visits.column, visits.row], axis=-1)[rings.order].astype(np.float64)
    area = np.add.reduceat(_cross(points, rings.starts), rings.starts)
    # a region has one ring around it, of the other sense than its holes, and that ring comes first
    ordered = np.lexsort((area < 0, visits.region[rings.order[rings.starts]]))
    lengths = np.diff(rings.starts, append=len(points))[ordered]
    closed = np.concatenate([[0], np.cumsum(lengths + 1)])
    place = np.arange(closed[-1]) - np.repeat(closed[:-1], lengths + 1)
    place[closed[1:] - 1] = 0  # the last point is the first
    coordinates = points[np.repeat(rings.starts[ordered], lengths + 1) + place]
    of_region = np.concatenate([np.flatnonzero(area[ordered] > 0), [len(ordered)]])
    return from_ragged_array(GeometryType.POLYGON, coordinates, (closed, of_region))


class _Visits(NamedTuple):
    """Where borders, each walked with its region on the right, turn or meet others; directions are right, down, ..."""

    row: np.ndarray
    column: np.ndarray
    arriving: np.ndarray
    leaving: np.ndarray
    region: np.ndarray


def _visits(padded: Integer[np.ndarray, "h w"]) -> _Visits:
    across, down = padded[:, 1:] != padded[:, :-1], padded[1:] != padded[:-1]
    row, column = np.nonzero(across[1:] | across[:-1] | down[:, 1:] | down[:, :-1])
    # the four pixels around a corner, clockwise from the one at the lower left
    around = [padded[row + y, column + x] for y, x in ((1, 0), (0, 0), (0, 1), (1, 1))]
    found = []
    for direction in range(4):
        behind, behind_left, ahead_left, ahead = (around[(direction + turn) % 4] for turn in range(4))
        # a region that meets itself at a corner goes on there, so that what it encloses is a hole
        turn = np.where(ahead_left == behind, -1, np.where(ahead == behind, 0, 1))
        along = column if direction % 2 == 0 else row
        is_point = (turn != 0) | (ahead_left != behind_left) | (along % LONGEST_EDGE == 0)
        kept = np.flatnonzero((behind > 0) & (behind_left != behind) & is_point)
        arriving = np.full(len(kept), direction, np.int8)
        found.append((row[kept], column[kept], arriving, (direction + turn[kept]) % 4, behind[kept]))
    return _Visits(*map(np.concatenate, zip(*found, strict=True)))


def _following(visits: _Visits, height: int, width: int) -> Integer[np.ndarray, " V"]:
    """The next visit on each border: along a line, the n-th that starts there goes to the n-th that ends there."""
    following = np.empty(len(visits.row), np.int64)
    for direction in range(4):
        by_row, by_column = visits.row * (width + 1) + visits.column, visits.column * (height + 1) + visits.row
        at = (by_row if direction % 2 == 0 else by_column) * (1 if direction < 2 else -1)
        starts, ends = (np.flatnonzero(way == direction) for way in (visits.leaving, visits.arriving))
        following[starts[np.argsort(at[starts])]] = ends[np.argsort(at[ends])]
    return following


class _Cycles(NamedTuple):
    order: np.ndarray
    """The members, one cycle after the other, each in its order."""
    starts: np.ndarray
    """Where each cycle starts in that order."""


def _cycles(following: Integer[np.ndarray, " V"]) -> _Cycles:
    """The cycles of a permutation, by doubled steps."""
    first, hop = np.arange(len(following)), following
    while ((lower := np.minimum(first, first[hop])) != first).any():
        first, hop = lower, hop[hop]
    is_last = following == first
    left, hop = np.where(is_last, 0, 1), np.where(is_last, np.arange(len(following)), following)
    while (more := left[hop]).any():
        left, hop = left + more, hop[hop]
    order = np.lexsort((-left, first))
    return _Cycles(order, np.flatnonzero(np.diff(first[order], prepend=-1)))


def _cross(points: Any, starts: Integer[np.ndarray, " R"]) -> np.ndarray:
    """Of each point and the next of its ring."""
    following = np.arange(1, len(points) + 1)
    following[np.append(starts[1:], len(points)) - 1] = starts
    after = points[following]
    return points[:, 0] * after[:, 1] - points[:, 1] * after[:, 0]
