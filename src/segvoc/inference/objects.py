"""Objects of a labeled image: the connected components of things."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, UInt16

from segvoc.encoders.lexicon import surfaces_among
from segvoc.errors import UsageError
from segvoc.imaging.connected_regions import Region, connected_regions
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.segmentation import Segmentation

LEAST_SHARE, LEAST_PIXELS = 1 / 5000, 12
"""Minimum size of an object, as a share of the image and in pixels."""

SPECK_REACH = 1 / 50
"""Maximum distance of a speck from the object that it joins, as a share of the image's longer side."""


def with_objects(result: Segmentation, words: Iterable[str] | None = None, *, least: int | None = None) -> Segmentation:
    """Number the objects of words, as `segment(..., objects=True)` does.

        result = with_objects(model.segment("photo.jpg", ["cat", "sofa", "wall"]))
        result.objects, result.object_map, result.object_counts

    Components are 8-connected. What is smaller than `least` joins the nearest object of its word within a fiftieth of
    the image's longer side; otherwise it belongs to no object, and dataset formats mark it as crowd. Things that touch
    are a single object, which can be divided on the page.

    Args:
        result: a labeled image.
        words: the words with objects; None: all except stuff (sky, wall, ..., see `segvoc.encoders.lexicon`) and the
            call's background.
        least: minimum size of an object [px]; None: a 5,000th of the image, at least 12.

    Returns:
        The result with an `object_map`, numbered from 1, word by word and from top to bottom.

    Raises:
        UsageError: a word isn't in the result or there are more than 65,535 objects.
    """
    chosen = _labels(result, words)
    if least is None:
        least = max(LEAST_PIXELS, round(LEAST_SHARE * result.labels.size))
    regions = [region for region in connected_regions(result.labels, len(result.words)) if region.label in chosen]
    objects = np.zeros(result.labels.shape, np.uint16)
    large = [region for region in regions if region.area >= least]
    if len(large) > UNLABELED:
        raise UsageError(f"there are {len(large)} objects, more than {UNLABELED}; count larger ones only (least)")
    for number, region in enumerate(large, 1):
        objects[region.place][region.inside] = number
    joined = [(region, _nearest(region, result.labels, objects)) for region in regions if region.area < least]
    for region, number in joined:
        objects[region.place][region.inside] = number
    return replace(result, object_map=objects)


def consecutive(
    labels: UInt16[np.ndarray, "H W"], objects: UInt16[np.ndarray, "H W"], classes: int
) -> UInt16[np.ndarray, "H W"]:
    """Renumber the objects of the first `classes` classes from 1 without gaps, the largest first; 0 for none."""
    inside: Bool[np.ndarray, "H W"] = (objects > 0) & (labels < classes)
    pairs = labels[inside] * np.int64(UNLABELED + 1) + objects[inside]
    distinct, index, pixels = np.unique(pairs, return_inverse=True, return_counts=True)
    rank = np.empty(len(distinct), np.uint16)
    rank[np.argsort(-pixels, kind="stable")] = np.arange(1, len(distinct) + 1)
    numbers = np.zeros(labels.shape, np.uint16)
    numbers[inside] = rank[index]
    return numbers


def _labels(result: Segmentation, words: Iterable[str] | None) -> frozenset[int]:
    if words is None:
        return frozenset(range(len(result.words))) - surfaces_among(result.words, result.background)
    names = [words] if isinstance(words, str) else list(words)
    if unknown := [name for name in names if name not in result.words]:
        raise UsageError(f"the result has no word {unknown[0]!r}; it has {', '.join(result.words[:5])}, ...")
    return frozenset(map(result.words.index, names))


def _nearest(region: Region, labels: UInt16[np.ndarray, "H W"], objects: UInt16[np.ndarray, "H W"]) -> int:
    """The number of the word's object nearest to a small component's bounding box; 0: none is near."""
    height, width = labels.shape
    reach = max(2, round(SPECK_REACH * max(height, width)))
    top, left = max(0, region.top - reach), max(0, region.left - reach)
    rows, columns = region.inside.shape
    bottom, right = min(height, region.top + rows + reach), min(width, region.left + columns + reach)
    window = slice(top, bottom), slice(left, right)
    around = np.where(labels[window] == region.label, objects[window], 0)
    y, x = np.arange(top, bottom)[:, None], np.arange(left, right)
    down = np.maximum(np.maximum(region.top - y, y - (region.top + rows - 1)), 0)
    across = np.maximum(np.maximum(region.left - x, x - (region.left + columns - 1)), 0)
    distance = np.where(around > 0, down**2 + across**2, reach**2 + 1)
    place = int(distance.argmin())
    return int(around.flat[place]) if distance.flat[place] <= reach**2 else 0
