"""Label maps as run lengths: COCO RLE masks and Label Studio brush masks, one per class.

A brush mask is an RGBA image, row by row, packed as runs (the format of the JavaScript package rle-pack). All numbers
are unsigned bit fields, most significant bit first:

- 32 bits: number of values
- 5 bits: bits per value, minus 1
- 4 x 4 bits: four widths, in bits, minus 1
- for each run: a 1, the index of a width (2 bits), the run length minus 1 (in that width), and the value
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8, UInt16

from segvoc.errors import UsageError, naming_extra


def coco_masks(labels: UInt16[np.ndarray, "H W"], classes: int) -> Iterator[dict[str, Any]]:
    """Yield the mask of each class, {"size": [H, W], "counts": "..."}, as compressed by pycocotools (required).

    A single pass finds the runs of all classes, so time doesn't grow with their number. Labels from `classes` on
    (65535: unlabeled) have no mask.
    """
    with naming_extra("pycocotools", "serve"):
        from pycocotools.mask import frPyObjects

    height, width = labels.shape
    for changes in class_runs(labels.T.ravel(), classes):
        counts = np.diff(changes, prepend=0, append=labels.size).tolist()
        if counts[-1] == 0:
            counts.pop()
        uncompressed: Any = {"size": [height, width], "counts": counts}
        mask = frPyObjects(uncompressed, height, width)
        yield {"size": [height, width], "counts": mask["counts"].decode("ascii")}


def class_runs(values: UInt16[np.ndarray, " N"], classes: int) -> Iterator[Integer[np.ndarray, " R"]]:
    """Yield the bounds of each class's runs: begin, end (exclusive), begin, end, and so on."""
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    begins, ends = np.concatenate(([0], edges)), np.concatenate((edges, [values.size]))
    by_class = np.argsort(values[begins], kind="stable")
    bounds = np.searchsorted(values[begins][by_class], np.arange(classes + 1))
    for first, last in itertools.pairwise(bounds):
        own = by_class[first:last]
        yield np.stack((begins[own], ends[own]), axis=1).ravel()


_CHANNELS = 4
"""Values of a pixel: red, green, blue and alpha, which are equal here."""

_VALUE_BITS, _INSIDE = 8, 255

_WIDTHS = np.array([3, 4, 8, 16])
"""Bit widths of run lengths; the shortest sufficient width is used."""

_LONGEST = 1 << 16
"""Maximum run length; longer runs are split."""

_BLOCK = 1 << 16
"""Runs per chunk; each takes 32 bytes."""

_MOST_PIXELS = (1 << 32) // _CHANNELS - 1


def brush_masks(labels: UInt16[np.ndarray, "H W"], classes: int) -> Iterator[UInt8[np.ndarray, " N"]]:
    """Yield the mask of each class as packed bytes, empty without pixels; `UsageError` from 2^30 pixels on."""
    if labels.size > _MOST_PIXELS:
        raise UsageError(f"a brush mask has at most {_MOST_PIXELS} pixels, not {labels.size}; make the image smaller")
    for changes in class_runs(labels.ravel(), classes):
        yield packed_runs(changes, labels.size) if changes.size else np.empty(0, np.uint8)


def packed_runs(changes: Integer[np.ndarray, " R"], pixels: int) -> UInt8[np.ndarray, " N"]:
    """Pack a mask of `pixels` pixels from the run bounds of `class_runs`."""
    lengths = np.diff(changes, prepend=0, append=pixels) * _CHANNELS
    values = np.resize(np.array([0, _INSIDE]), lengths.size)
    lengths, values = lengths[lengths > 0], values[lengths > 0]
    pieces = -(-lengths // _LONGEST)
    last = np.cumsum(pieces) - 1
    values = np.repeat(values, pieces)
    pieces_of = np.full(values.size, _LONGEST)
    pieces_of[last] = lengths - (pieces - 1) * _LONGEST
    header = [(pixels * _CHANNELS, 32), (_VALUE_BITS - 1, 5), *((width - 1, 4) for width in _WIDTHS)]
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
