"""Edges that follow the image: a small network sharpens the map of any word by what `tiny` sees in the image.

For each cell it finds weights of the cells around it, at several distances and one after the other, then of the cells
around each of the four cells that it divides it into. The same weights hold for all words, so none is favored, and
neither the words nor their number matters. `tools.edges` trains it and writes its program.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Int, Int64

from segvoc.arrays import Array, array_namespace, bilinear, interpolated, strongest, to_numpy
from segvoc.inference.protocols import Protocol

if TYPE_CHECKING:
    from segvoc.inference.onnx_program import OnnxProgram

WEIGHTS = Path(__file__).parents[1] / "weights"
"""Folder of the programs and weights that ship with the package."""

SEEN = "clicks_image.onnx"
"""From pixels to what `tiny` sees in them, without the heads for words; its weights are those of `tiny`."""

EDGES = "edges.onnx"
"""From what `tiny` sees in an image, and maps of words, to refined maps."""

FEATURES = ("tap_1", "tap_0", "appearance")
"""What it reads of the image beside its pixels: `tiny`'s maps at stride 4, 8 and 16."""

VIEW = Protocol(size=448, multiple=32, squash=2.0, max_aspect=4.0)
"""The size at which `tiny` sees an image."""

MOST_WORDS = 512
"""Maps of more words stay as they are: refined maps have 16 times as many cells."""

ISLAND = 1e-3
"""Connected cells of one word that are less than this share of a view take the word around them."""


@cache
def shipped_program(name: str) -> "OnnxProgram":
    """A program that ships, loaded when it first runs, for all threads."""
    from segvoc.inference.onnx_program import OnnxProgram  # here, since importing ONNX Runtime takes long

    return OnnxProgram(WEIGHTS / name)


def refined(
    logits: Float[Array, "N K h w"], pixels: Float32[np.ndarray, "N 3 H W"], features: Mapping[str, Array] | None
) -> Float32[np.ndarray, "N K _ _"]:
    """Refine the maps of words by the image.

    Args:
        logits: maps of K words in each of N views, on any grid.
        pixels: the views, in [0, 255].
        features: what `tiny` sees in them; None, or without `FEATURES`: it looks at them now.

    Returns:
        Logits on a grid of stride 2 of the size at which `tiny` sees the views.
    """
    if features is None or not all(name in features for name in FEATURES):
        height, width = VIEW.input_size(*pixels.shape[2:])
        pixels = interpolated(interpolated(pixels, 2, height), 3, width)
        features = shipped_program(SEEN)({"pixels": pixels})
    xp = array_namespace(logits)
    coarse = bilinear(xp.astype(logits, xp.float32), (pixels.shape[2] // 4, pixels.shape[3] // 4))
    seen = {name: to_numpy(_float32(features[name])) for name in FEATURES}
    return shipped_program(EDGES)({"pixels": pixels, "maps": to_numpy(coarse), **seen})["refined"]


def _float32(x: Array) -> Array:
    xp = array_namespace(x)
    return xp.astype(x, xp.float32)


def without_islands(maps: Float32[np.ndarray, "K h w"]) -> Float32[np.ndarray, "K h w"]:
    """Give connected cells of one word that are few (`ISLAND`) to the word most often beside them.

    In these cells, the maps of both words change places. Islands beside nothing but islands stay.

    Args:
        maps: maps of the words, of which the strongest has a cell.

    Returns:
        The maps, or changed copies of them.
    """
    labels = strongest(maps)[1]
    part = connected_cells(labels)
    sizes = np.bincount(part.ravel())
    small = sizes < ISLAND * labels.size
    if not small.any() or small.all():
        return maps
    beside = np.concatenate(
        [
            np.stack([one.ravel(), other.ravel()])
            for first, second in ((part[1:], part[:-1]), (part[:, 1:], part[:, :-1]))
            for one, other in ((first, second), (second, first))
        ],
        axis=1,
    )
    beside = beside[:, small[beside[0]] & ~small[beside[1]]]
    label_of = np.zeros(len(sizes), np.int64)
    label_of[part] = labels
    pairs, counts = np.unique(beside[0] * len(maps) + label_of[beside[1]], return_counts=True)
    order = np.argsort(counts, kind="stable")  # the most frequent comes last, and so is kept
    taken = np.full(len(sizes), -1)
    taken[pairs[order] // len(maps)] = pairs[order] % len(maps)
    rows, columns = np.nonzero(taken[part] >= 0)
    old, new = labels[rows, columns], taken[part[rows, columns]]
    changed = maps.copy()
    changed[new, rows, columns], changed[old, rows, columns] = maps[old, rows, columns], maps[new, rows, columns]
    return changed


def connected_cells(labels: Int[np.ndarray, "h w"]) -> Int64[np.ndarray, "h w"]:
    """Number the parts of a label map that are connected by sides of cells, from 0 on."""
    starts = np.ones(labels.shape, bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    run = np.cumsum(starts.ravel()).reshape(labels.shape) - 1  # cells of a row that are connected in it
    touching = (labels[1:] == labels[:-1]) & (starts[1:] | starts[:-1])
    above, below = run[:-1][touching], run[1:][touching]
    root = np.arange(run[-1, -1] + 1)
    while len(above):
        np.minimum.at(root, np.maximum(root[above], root[below]), np.minimum(root[above], root[below]))
        while not np.array_equal(nearer := root[root], root):
            root = nearer
        apart = root[above] != root[below]
        above, below = above[apart], below[apart]
    return np.unique(root, return_inverse=True)[1][run]
