"""The regions of an overlay: classes and their parts, each with a color and a line in the legend."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Integer, UInt8, UInt16

from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.legend import LegendEntry
from segvoc.imaging.palette import UNLABELED_COLOR, shades
from segvoc.vocabulary import Part, parts_by_object

_CELLS = 320
"""Cells of the coarse map along the longer side of the image."""


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of an image."""

    labels: Integer[np.ndarray, "H W"]
    """Index of each pixel's region."""
    colors: UInt8[np.ndarray, "R 3"]
    """RGB of each region."""
    entries: list[LegendEntry]
    """Lines of the legend, largest region first; parts follow their object."""
    objects: list[tuple[int, str, str]] = field(default_factory=list)
    """Objects that are regions of their own: the region, its name with its number ("cat 2"), and the number alone."""

    @property
    def cell_size(self) -> int:
        """Width and height of a cell of the coarse map [pixels]."""
        return math.ceil(max(self.labels.shape) / _CELLS)

    @functools.cached_property
    def cells(self) -> Integer[np.ndarray, "h w"]:
        """The coarse map, which knows of each cell's pixels only the one in the middle.

        What doesn't need every pixel takes as long for a large image as for a small one.
        """
        start = self.cell_size // 2
        return self.labels[start :: self.cell_size, start :: self.cell_size]


def class_regions(labels: UInt16[np.ndarray, "H W"], words: Sequence[str], colors: UInt8[np.ndarray, "K 3"]) -> Regions:
    """The regions of the K classes, and that of the unlabeled pixels (65535)."""
    table = np.empty((UNLABELED + 1, 3), np.uint8)
    table[:] = UNLABELED_COLOR
    table[: len(colors)] = colors
    counts = np.bincount(labels.ravel(), minlength=UNLABELED + 1)
    present = np.flatnonzero(counts)
    # the legend lists the classes, so unlabeled comes last, however large it is
    order = np.lexsort((-counts[present], present == UNLABELED))
    entries = []
    label: int
    for label in present[order].tolist():
        name = words[label] if label != UNLABELED else "unlabeled"
        entries.append(_entry(label, name, table[label], counts[label] / labels.size))
    return Regions(labels, table, entries)


def with_parts(
    regions: Regions, words: Sequence[str], part_labels: UInt16[np.ndarray, "H W"], parts: Sequence[Part]
) -> Regions:
    """The regions of classes, divided into their parts, in shades of the class's color."""
    labels = regions.labels.astype(np.int32)
    colors, entries = [regions.colors], []
    number = len(regions.colors)
    of_words = list(parts_by_object(words, parts))
    for entry in regions.entries:
        entries.append(entry)
        own = [] if entry.region == UNLABELED else of_words[entry.region]
        if not own:
            continue
        inside = regions.labels == entry.region
        counts = np.bincount(part_labels[inside], minlength=UNLABELED + 1)
        of_object = []
        for (index, part), shade in zip(own, shades(entry.color, len(own)), strict=True):
            if counts[index]:
                labels[inside & (part_labels == index)] = number
                colors.append(shade[None])
                of_object.append(_entry(number, part.part, shade, counts[index] / labels.size, of_part=True))
                number += 1
        entries += sorted(of_object, key=lambda entry: -entry.fraction)
    return Regions(labels, np.concatenate(colors), entries)


def with_objects(regions: Regions, words: Sequence[str], objects: UInt16[np.ndarray, "H W"]) -> Regions:
    """The regions of classes, divided into their objects (0: none), each with borders and a number."""
    inside = (objects > 0) & (regions.labels != UNLABELED)
    pairs = regions.labels[inside].astype(np.uint32) << 16 | objects[inside]
    found, index = np.unique(pairs, return_inverse=True)
    labels = regions.labels.astype(np.int32)
    labels[inside] = len(regions.colors) + index
    named = [
        (number, f"{words[pair >> 16]} {pair & UNLABELED}", str(pair & UNLABELED))
        for number, pair in enumerate(found.tolist(), len(regions.colors))
    ]
    return Regions(labels, np.concatenate([regions.colors, regions.colors[found >> 16]]), regions.entries, named)


def _entry(
    region: int, name: str, color: UInt8[np.ndarray, " 3"], fraction: float, *, of_part: bool = False
) -> LegendEntry:
    red, green, blue = color.tolist()
    return LegendEntry(region=region, name=name, color=(red, green, blue), fraction=float(fraction), of_part=of_part)
