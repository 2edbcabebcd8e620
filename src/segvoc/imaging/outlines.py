"""Regions as polygons, for formats without masks.

A polygon follows the outline of its region and includes holes: in the first row of a hole, it crosses over to the hole,
goes around it and returns on the same path. Even-odd and winding fill rules both exclude the hole.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float64

from segvoc.errors import naming_extra
from segvoc.imaging.connected_regions import Region, pieces_of

OUTLINE_TOLERANCE = 0.3
"""Maximum distance of a polygon from the pixel boundary of its region [px]."""

_Points = Float64[np.ndarray, "_ 2"]


def polygon_of(
    region: Region, *, tolerance: float = OUTLINE_TOLERANCE, inset: float = 0.0
) -> Float64[np.ndarray, "V 2"]:
    """The outline of a region as one polygon of (x, y) in pixels; the corner of the first pixel is (0, 0).

    The first corner isn't repeated at the end. For an object with several components, the polygon crosses over to each
    and returns on the same path. It is at most `tolerance` from the pixel boundary, with corners `inset` (below 0.5)
    inside it [px].
    """
    with naming_extra("scikit-image", "data"):
        from skimage.measure import find_contours
    first, *others = pieces = pieces_of(region)
    if others:
        rings = [polygon_of(piece, tolerance=tolerance, inset=inset) for piece in pieces]
        start = rings[0][:1]
        return np.concatenate([rings[0], *(corners for ring in rings[1:] for corners in (start, ring, ring[:1]))])
    padded = np.pad(first.inside, 1)
    # rings from pixel edge to pixel edge, whose last points are the first ones again
    rings = [ring[:-1] for ring in find_contours(padded.astype(np.float32), 0.5, fully_connected="high")]
    path = np.concatenate(_joined(rings, padded, tolerance))
    # here the center of a pixel has whole numbers, and a corner lies between that of one inside and one outside
    before, after = np.floor(path).astype(int), np.ceil(path).astype(int)
    path += np.where(padded[*before.T], -inset, inset)[:, None] * (after - before)
    return path[:, ::-1] - 0.5 + [region.left, region.top]  # the padding comes first


def _joined(rings: list[_Points], padded: Bool[np.ndarray, "h w"], tolerance: float) -> list[_Points]:
    """The pieces of a single path along all rings.

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
            yield _simplified(points[done : at + 1], tolerance), hole
            done = at
        yield _simplified(points[done:], tolerance), None

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
    path[-1] = path[-1][:-1]
    return path


def _simplified(points: _Points, tolerance: float) -> _Points:
    """Simplify a path, keeping its ends."""
    from skimage.measure import approximate_polygon

    if len(points) < 3:
        return points
    if (points[0] != points[-1]).any():
        return approximate_polygon(points, tolerance)
    farthest = int(np.square(points - points[0]).sum(axis=1).argmax())
    there = approximate_polygon(points[: farthest + 1], tolerance)
    return np.concatenate([there, approximate_polygon(points[farthest:], tolerance)[1:]])
