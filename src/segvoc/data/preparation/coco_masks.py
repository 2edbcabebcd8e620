"""Masks of COCO annotations, decoded by pycocotools: run lengths (plain or compressed) or polygons.

pycocotools doesn't validate its input: for run lengths that end too early it returns uninitialized memory, and
coordinates far outside the image crash the process. Files from the internet are therefore checked first.
"""

import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool

from segvoc.errors import missing_extra

CocoSegmentation = Mapping[str, Any] | Sequence[Sequence[float | int]]
"""The mask of an annotation: {"size": [H, W], "counts": text or list}, or polygons [x0, y0, x1, y1, ...] in pixels."""

COORDINATE_LIMIT = 100_000.0
"""Largest absolute coordinate of a polygon [px]."""

_NUMBERS = re.compile(rb"(?:[P-o]{0,6}[0-O])+")
"""Compressed run lengths: five bits of a number per character; a sixth bit says that another character follows."""


def coco_mask(segmentation: CocoSegmentation, height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """Decode the mask of an annotation; polygons with fewer than three corners are skipped.

    Args:
        segmentation: run lengths or polygons.
        height: height of the image [px].
        width: width of the image [px].

    Returns:
        The mask, shape (height, width).

    Raises:
        ValueError: the segmentation has an unknown format, is damaged, or has another size than the image.
        UsageError: pycocotools is not installed.
    """
    coco = _pycocotools()
    if isinstance(segmentation, Mapping):
        return _run_length_mask(coco, segmentation, height, width)
    polygons = [_checked_corners(polygon) for polygon in segmentation if len(polygon) >= 6 and len(polygon) % 2 == 0]
    if not polygons:
        return np.zeros((height, width), bool)
    return coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)


def _run_length_mask(
    coco: ModuleType, segmentation: Mapping[str, Any], height: int, width: int
) -> Bool[np.ndarray, "H W"]:
    size = list(segmentation.get("size", [height, width]))
    if size != [height, width]:
        raise ValueError(f"a mask is {size}, its image {[height, width]} (height, width)")
    counts = segmentation["counts"]
    if isinstance(counts, str | bytes):
        text = counts.encode("ascii") if isinstance(counts, str) else counts
        if not _NUMBERS.fullmatch(text):
            raise ValueError("its compressed run lengths are not valid")
    else:
        runs = np.asarray(counts)
        if runs.ndim != 1 or runs.dtype.kind not in "iu" or (runs < 0).any() or runs.sum() != height * width:
            raise ValueError(f"its run lengths don't fill the {height * width} pixels of its image")
        text = coco.frPyObjects({"size": size, "counts": runs.tolist()}, height, width)["counts"]
    # pycocotools only checks for "too long": the lengths must be too long for one pixel less, and fit exactly
    if _fits(coco, text, height * width - 1) or not _fits(coco, text, height * width):
        raise ValueError(f"its run lengths don't fill the {height * width} pixels of its image")
    return coco.decode({"size": size, "counts": text}).astype(bool)


def _fits(coco: ModuleType, text: bytes, pixels: int) -> bool:
    try:
        coco.decode({"size": [pixels, 1], "counts": text})
    except ValueError:
        return False
    return True


def _checked_corners(polygon: Sequence[float | int]) -> list[float]:
    corners = np.asarray(polygon, np.float64)
    # written so that NaN fails as well
    if not (np.abs(corners) <= COORDINATE_LIMIT).all():
        raise ValueError("a corner of its polygon lies far outside its image")
    return corners.tolist()


def _pycocotools() -> ModuleType:
    try:
        from pycocotools import mask
    except ImportError:
        raise missing_extra("pycocotools", "benchmarks") from None
    return mask
