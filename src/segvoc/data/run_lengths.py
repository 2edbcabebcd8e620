"""Masks as COCO stores them: run lengths (plain and compressed) and polygons, to arrays.

The format: a mask is read column by column; its runs alternate between 0 and 1 and begin with 0. Compressed, a run is a
number in groups of five bits, least significant first, each group a character from "0" on whose sixth bit says that
another follows; from the fourth run on, the difference to the run two before is stored (cocodataset/cocoapi).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

POLYGON_SCALE = 5
"""Polygons are drawn this many times finer than pixels, as cocoapi does."""

Segmentation = Mapping[str, Any] | Sequence[Sequence[float | int]]
"""Of a COCO annotation: {"size": [H, W], "counts": text or list}, or a list of polygons [x0, y0, x1, y1, ...]."""


def segmentation_mask(segmentation: Segmentation, height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """The mask of an annotation in a picture of this size; polygons without an inside (lines, points) are passed over.

    Raises: ValueError: it is none of these formats, or of another size than the picture.
    """
    if isinstance(segmentation, Mapping):
        if "size" in segmentation and list(segmentation["size"]) != [height, width]:
            raise ValueError(f"a mask is {list(segmentation['size'])}, its picture {[height, width]} (height, width)")
        return run_length_mask(run_lengths(segmentation["counts"]), height, width)
    mask = np.zeros((height, width), bool)
    for polygon in segmentation:
        if len(polygon) >= 6 and len(polygon) % 2 == 0:
            mask |= polygon_mask(np.asarray(polygon, np.float64), height, width)
    return mask


def run_lengths(counts: str | bytes | Sequence[int]) -> Int64[np.ndarray, " R"]:
    """The lengths of the runs, of either form.

    Raises: ValueError: a compressed text ends within a number.
    """
    if not isinstance(counts, str | bytes):
        return np.asarray(counts, np.int64)
    text = counts.encode("ascii") if isinstance(counts, str) else counts
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = character - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:  # the sign
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("its compressed run lengths end within a number")
    return np.asarray(runs, np.int64)


def run_length_mask(runs: Int64[np.ndarray, " R"], height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """The mask of these runs.

    Raises: ValueError: they don't fill the picture.
    """
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"its runs fill {runs.sum()} pixels, its picture has {height * width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def polygon_mask(polygon: Float64[np.ndarray, " N"], height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """The inside of a polygon [x0, y0, x1, y1, ...], pixel by pixel as cocoapi draws it."""
    corners = np.trunc(POLYGON_SCALE * polygon.reshape(-1, 2) + 0.5).astype(np.int64)
    ends = np.roll(corners, -1, axis=0)
    outline = np.concatenate([_line(start, end) for start, end in zip(corners, ends, strict=True)])
    (x, y), (next_x, next_y) = outline[:-1].T, outline[1:].T
    # Where the outline steps sideways it crosses columns; those through the centres of pixels are kept, and every
    # crossing turns the inside on or off for the rest of the column.
    column = (np.minimum(x, next_x) + 0.5) / POLYGON_SCALE - 0.5
    crosses = (x != next_x) & (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    row = np.ceil(np.clip((np.minimum(y, next_y) + 0.5) / POLYGON_SCALE - 0.5, 0, height))
    turns = (column * height + row)[crosses].astype(np.int64)
    inside = np.cumsum(np.bincount(turns, minlength=height * width + 1))[: height * width] % 2 == 1
    return inside.reshape(width, height).T


def _line(start: Int64[np.ndarray, "2"], end: Int64[np.ndarray, "2"]) -> Int64[np.ndarray, "N 2"]:
    """Every grid point of a line, from start to end; rounded as if it were drawn from left to right (or downwards)."""
    steps = np.abs(end - start)
    along = 0 if steps[0] >= steps[1] else 1
    first, last = (end, start) if start[along] > end[along] else (start, end)
    length = int(steps[along])
    distance = np.arange(length + 1)
    points = np.empty((length + 1, 2), np.int64)
    points[:, along] = first[along] + distance
    slope = (last[1 - along] - first[1 - along]) / length if length else 0.0
    points[:, 1 - along] = np.trunc(first[1 - along] + slope * distance + 0.5)
    return points if first is start else points[::-1]
