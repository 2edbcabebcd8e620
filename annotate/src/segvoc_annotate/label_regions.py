"""The connected regions of a result, which annotators correct one by one."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from segvoc import Segmentation
from segvoc.annotations.connected_regions import Region, connected_regions

_FINEST = 2.0
"""How far a polygon may leave the outline of its region [px]."""


def label_regions(
    result: Segmentation, *, without: str | None = None, smallest: int = 1, least_confidence: float = 0.0
) -> Iterator[tuple[Region, float]]:
    """The connected regions of every class, class by class, with the mean probability of their pixels, in [0, 1].

    Args:
        result: a labeled image.
        without: a class to leave out, for example that of the background.
        smallest: smallest number of pixels of a region.
        least_confidence: lowest mean probability of a region.

    Raises:
        UsageError: scikit-image isn't installed.
    """
    for region in connected_regions(result.labels, len(result.words)):
        if result.words[region.label] != without and region.area >= smallest:
            confidence = float(result.confidence[region.place].mean(dtype=np.float64, where=region.inside))
            if confidence >= least_confidence:
                yield region, confidence


def coarse_polygons(region: Region) -> Iterator[Float64[np.ndarray, "V 2"]]:
    """The outer outlines of a region as polygons of (x, y) in pixels, with few vertices; holes are filled.

    The corner of the first pixel is (0, 0).
    """
    from skimage.measure import approximate_polygon, find_contours

    filled = np.pad(region.inside, 1).astype(np.float32)
    for outline in find_contours(filled, 0.5, positive_orientation="high"):
        rows, columns = outline.T
        # around a hole the turn is the other way
        if np.sum(columns * np.roll(rows, -1)) - np.sum(rows * np.roll(columns, -1)) >= 0:
            continue
        coarse = approximate_polygon(outline, _FINEST)
        chosen = (coarse if len(coarse) > 3 else outline)[:-1]  # the first vertex is repeated at the end
        # of the padded map, pixel centers are whole numbers
        yield np.clip(chosen[:, ::-1] - 0.5 + [region.left, region.top], 0, None)
