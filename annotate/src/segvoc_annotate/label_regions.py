"""Connected components of a result, for annotators to correct."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from segvoc import Segmentation
from segvoc.imaging.connected_regions import Region, connected_regions

_FINEST = 2.0
"""Max deviation of a polygon from its region's outline [px]."""


def label_regions(
    result: Segmentation, *, without: str | None = None, smallest: int = 1, least_confidence: float = 0.0
) -> Iterator[tuple[Region, float]]:
    """Connected components of each class but `without`, with the mean probability of their pixels, in [0, 1].

    Components of fewer than `smallest` pixels, or a lower mean, are left out.
    """
    for region in connected_regions(result.labels, len(result.words)):
        if result.words[region.label] != without and region.area >= smallest:
            confidence = float(result.confidence[region.place].mean(dtype=np.float64, where=region.inside))
            if confidence >= least_confidence:
                yield region, confidence


def coarse_polygons(region: Region) -> Iterator[Float64[np.ndarray, "V 2"]]:
    """Simplify the outer outlines of a region to polygons of (x, y) [px] from the first pixel's corner; fills holes."""
    from skimage.measure import approximate_polygon, find_contours

    filled = np.pad(region.inside, 1).astype(np.float32)
    for outline in find_contours(filled, 0.5, positive_orientation="high"):
        rows, columns = outline.T
        # holes wind the other way
        if np.sum(columns * np.roll(rows, -1)) - np.sum(rows * np.roll(columns, -1)) >= 0:
            continue
        coarse = approximate_polygon(outline, _FINEST)
        chosen = (coarse if len(coarse) > 3 else outline)[:-1]  # the first vertex is repeated at the end
        # pixel centers of the padded map are integers
        yield np.clip(chosen[:, ::-1] - 0.5 + [region.left, region.top], 0, None)
