"""The connected regions of a label map, which annotators correct one by one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from segvoc.errors import missing_extra
from segvoc.inference.segmentation import Segmentation

_FINEST = 2.0
"""How far a polygon may leave the outline of its region [px]."""


@dataclass(frozen=True, eq=False)
class LabelRegion:
    """Pixels of one class that touch one another."""

    label: int
    """Index of the class."""
    top: int
    """First row."""
    left: int
    """First column."""
    inside: Bool[np.ndarray, "h w"]
    """Which pixels of its bounding box it has."""
    confidence: float
    """Mean probability of its pixels, in [0, 1]."""

    def mask(self, height: int, width: int) -> Bool[np.ndarray, "H W"]:
        """Its pixels in an image of that size."""
        mask = np.zeros((height, width), bool)
        rows, columns = self.inside.shape
        mask[self.top : self.top + rows, self.left : self.left + columns] = self.inside
        return mask

    def polygons(self) -> Iterator[Float64[np.ndarray, "V 2"]]:
        """Its outer outlines as polygons of (x, y) in pixels, with few vertices; holes are filled.

        The corner of the first pixel is (0, 0).
        """
        from skimage.measure import approximate_polygon, find_contours

        filled = np.pad(self.inside, 1).astype(np.float32)
        for outline in find_contours(filled, 0.5, positive_orientation="high"):
            rows, columns = outline.T
            # around a hole the turn is the other way
            if np.sum(columns * np.roll(rows, -1)) - np.sum(rows * np.roll(columns, -1)) >= 0:
                continue
            coarse = approximate_polygon(outline, _FINEST)
            chosen = (coarse if len(coarse) > 3 else outline)[:-1]  # the first vertex is repeated at the end
            # of the padded map, pixel centers are whole numbers
            yield np.clip(chosen[:, ::-1] - 0.5 + [self.left, self.top], 0, None)


def label_regions(
    result: Segmentation, *, without: str | None = None, smallest: int = 1, least_confidence: float = 0.0
) -> Iterator[LabelRegion]:
    """The connected regions of every class, class by class; pixels that touch at a corner are connected.

    Args:
        result: a labeled image.
        without: a class to leave out, for example that of the background.
        smallest: smallest number of pixels of a region.
        least_confidence: lowest mean probability of a region, in [0, 1].

    Raises:
        UsageError: scikit-image isn't installed.
    """
    try:
        from skimage.measure import label, regionprops
    except ModuleNotFoundError:
        raise missing_extra("scikit-image", "annotation") from None
    # neighboring classes have different values, so all classes are labeled at once; 0 stands for "no region"
    numbered = label(result.labels.astype(np.int64) + 1, connectivity=2)
    found = []
    for region in regionprops(numbered, intensity_image=result.confidence):
        class_ = int(result.labels[tuple(region.coords[0])])
        named = class_ < len(result.words) and result.words[class_] != without
        if named and region.num_pixels >= smallest and region.intensity_mean >= least_confidence:
            top, left, *_ = region.bbox
            found.append(LabelRegion(class_, top, left, region.image, float(region.intensity_mean)))
    yield from sorted(found, key=lambda region: region.label)
