"""The regions of an overlay: classes and their parts, each with a color and a line in the legend."""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8, UInt16

from segvoc.errors import UsageError, missing_extra
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.legend import LegendEntry
from segvoc.imaging.palette import UNLABELED_COLOR, shades
from segvoc.vocabulary import Part, parts_by_object


def coco_masks(labels: UInt16[np.ndarray, "H W"], classes: int) -> Iterator[dict[str, Any]]:
    """Yield the mask of each class, {"size": [H, W], "counts": "..."}, as pycocotools compresses it.

    The runs of all classes are found in one pass, so time doesn't grow with their number.

    Args:
        labels: the index of each pixel's class; indices from `classes` on (65535: unlabeled) have no mask.
        classes: number of classes.

    Raises:
        UsageError: pycocotools isn't installed.
    """
    try:
        from pycocotools.mask import frPyObjects
    except ModuleNotFoundError:
        raise missing_extra("pycocotools", "serve") from None

    height, width = labels.shape
    for changes in class_runs(labels.T.ravel(), classes):
        counts = np.diff(changes, prepend=0, append=labels.size).tolist()
        if counts[-1] == 0:
            counts.pop()
        uncompressed: Any = {"size": [height, width], "counts": counts}
        mask = frPyObjects(uncompressed, height, width)
        yield {"size": [height, width], "counts": mask["counts"].decode("ascii")}


def class_runs(values: UInt16[np.ndarray, " N"], classes: int) -> Iterator[Integer[np.ndarray, " R"]]:
    """Yield where the runs of each class begin and end: begin, end (exclusive), begin, end, and so on.

    Args:
        values: indices of classes.
        classes: number of classes.
    """
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    begins, ends = np.concatenate(([0], edges)), np.concatenate((edges, [values.size]))
    by_class = np.argsort(values[begins], kind="stable")
    bounds = np.searchsorted(values[begins][by_class], np.arange(classes + 1))
    for first, last in itertools.pairwise(bounds):
        own = by_class[first:last]
        yield np.stack((begins[own], ends[own]), axis=1).ravel()


CHANNELS = 4
"""Values of a pixel: red, green, blue and alpha, which are equal here."""

_VALUE_BITS = 8
_INSIDE = 255
_WIDTHS = np.array([3, 4, 8, 16])
"""Bits that the length of a run may take; the shortest that holds it is chosen."""

_LONGEST = 1 << 16
"""Length of the longest run; a longer one is written as several."""

_BLOCK = 1 << 16
"""Runs whose bits are in memory at a time; each takes 32 bytes."""

_MOST_PIXELS = (1 << 32) // CHANNELS - 1


def brush_masks(labels: UInt16[np.ndarray, "H W"], classes: int) -> Iterator[UInt8[np.ndarray, " N"]]:
    """Yield the mask of each class as the bytes of the packed runs; empty for a class without pixels.

    Args:
        labels: the index of each pixel's class; indices from `classes` on (65535: unlabeled) have no mask.
        classes: number of classes.

    Raises:
        UsageError: the label map has 2^30 pixels or more.
    """
    if labels.size > _MOST_PIXELS:
        raise UsageError(f"a brush mask has at most {_MOST_PIXELS} pixels, not {labels.size}; make the image smaller")
    for changes in class_runs(labels.ravel(), classes):
        yield packed_runs(changes, labels.size) if changes.size else np.empty(0, np.uint8)


def packed_runs(changes: Integer[np.ndarray, " R"], pixels: int) -> UInt8[np.ndarray, " N"]:
    """The bytes of a mask of so many pixels whose runs begin and end where `class_runs` says."""
    lengths = np.diff(changes, prepend=0, append=pixels) * CHANNELS
    values = np.resize(np.array([0, _INSIDE]), lengths.size)
    lengths, values = lengths[lengths > 0], values[lengths > 0]
    pieces = -(-lengths // _LONGEST)
    last = np.cumsum(pieces) - 1
    values = np.repeat(values, pieces)
    pieces_of = np.full(values.size, _LONGEST)
    pieces_of[last] = lengths - (pieces - 1) * _LONGEST
    header = [(pixels * CHANNELS, 32), (_VALUE_BITS - 1, 5), *((width - 1, 4) for width in _WIDTHS)]
    left = np.concatenate([_bits(np.array([number]), np.array([size])) for number, size in header])
    packed = []
    for start in range(0, values.size, _BLOCK):
        bits = np.concatenate((left, _run_bits(pieces_of[start : start + _BLOCK], values[start : start + _BLOCK])))
        whole = bits.size - bits.size % 8
        packed.append(np.packbits(bits[:whole]))
        left = bits[whole:]
    # the missing bits of the last byte are 0
    return np.concatenate((*packed, np.packbits(left)))


def _run_bits(lengths: Integer[np.ndarray, " R"], values: Integer[np.ndarray, " R"]) -> UInt8[np.ndarray, " N"]:
    number = np.searchsorted(1 << _WIDTHS, lengths)
    width = _WIDTHS[number]
    codes = (((0b100 | number) << width | (lengths - 1)) << _VALUE_BITS) | values
    return _bits(codes, 3 + width + _VALUE_BITS)


def _bits(numbers: Integer[np.ndarray, " R"], sizes: Integer[np.ndarray, " R"]) -> UInt8[np.ndarray, " N"]:
    """The lowest `sizes` bits of each number, highest first, one after another."""
    high_aligned = (numbers.astype(np.uint64) << (32 - sizes).astype(np.uint64)).astype(">u4")
    bits = np.unpackbits(high_aligned.view(np.uint8)).reshape(-1, 32)
    return bits[np.arange(32) < sizes[:, None]]


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


def _entry(
    region: int, name: str, color: UInt8[np.ndarray, " 3"], fraction: float, *, of_part: bool = False
) -> LegendEntry:
    red, green, blue = color.tolist()
    return LegendEntry(region=region, name=name, color=(red, green, blue), fraction=float(fraction), of_part=of_part)
