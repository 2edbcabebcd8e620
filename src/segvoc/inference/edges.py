"""Edge refinement: a small network sharpens the map of any word, guided by an image encoder's features.

For each cell, it predicts weights of the neighboring cells, at several distances in sequence, then of the neighbors of
each of the four cells that it is upsampled to. All words share the weights, so any number of words works and none is
favored. It reads the features of the image encoder that ships with segvoc; `tools.edges` trains it.
"""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Int, Int64

from segvoc.inference.protocols import SHIPPED_VIEW
from segvoc.inference.taught.features import as_float32
from segvoc.runtime.arrays import Array, bilinear, interpolated, strongest, to_numpy
from segvoc.storage.files import SHIPPED

if TYPE_CHECKING:
    from segvoc.inference.onnx_program import OnnxProgram

IMAGE_PROGRAM = "clicks_image.onnx"
"""From pixels to image features: the shipped image encoder without its heads for words; shares its weights."""

EDGE_WEIGHTS = "edge_weights.onnx"
"""From pixels and these features to the weights of neighboring cells, for maps of any words."""

EDGES = "edges.onnx"
"""From these weights and maps of words to refined maps."""

EDGE_FEATURES = ("tap_1", "tap_0", "appearance")
"""Image features it reads besides the pixels: the encoder's maps at stride 4, 8 and 16."""

CELL_WEIGHTS = 99
"""Weights of a cell at stride 4: of its 3 x 3 neighbors, in seven steps and for each of its four cells at stride 2."""

MOST_WORDS = 512
"""Maps of more words stay as they are: refined maps have 16 times as many cells."""

ISLAND = 1e-3
"""Connected components smaller than this share of a view take the surrounding word."""


@cache
def shipped_program(name: str) -> "OnnxProgram":
    """A shipped program, loaded at its first run and shared by all threads."""
    from segvoc.inference.onnx_program import OnnxProgram  # here, since importing ONNX Runtime takes long

    return OnnxProgram(SHIPPED / name)


def edge_weights(
    pixels: Float32[np.ndarray, "N 3 H W"], features: Mapping[str, Array] | None
) -> Float32[np.ndarray, "N 99 _ _"]:
    """What refines maps of any words in views of an image: weights of the neighbors of cells.

    Its features of the views are computed here if they are None or without `EDGE_FEATURES`.
    """
    if features is None or not all(name in features for name in EDGE_FEATURES):
        height, width = SHIPPED_VIEW.input_size(*pixels.shape[2:])
        pixels = interpolated(interpolated(pixels, 2, height), 3, width)
        features = shipped_program(IMAGE_PROGRAM)({"pixels": pixels})
    seen = {name: to_numpy(as_float32(features[name])) for name in EDGE_FEATURES}
    return shipped_program(EDGE_WEIGHTS)({"pixels": pixels, **seen})["weights"]


def refined(
    logits: Float[Array, "N K _ _"], weights: Float32[np.ndarray, "N 99 h w"]
) -> Float32[np.ndarray, "N K 2*h 2*w"]:
    """Refine the maps of words, on any grid, by `edge_weights` of the same views."""
    coarse = bilinear(as_float32(logits), (weights.shape[2], weights.shape[3]))
    return shipped_program(EDGES)({"maps": to_numpy(coarse), "weights": weights})["refined"]


def without_islands(maps: Float32[np.ndarray, "K h w"]) -> Float32[np.ndarray, "K h w"]:
    """Relabel small connected components (`ISLAND`) with their most frequent neighboring word.

    In these cells, the maps of both words are swapped (in a copy). Islands that only touch islands stay.
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
    order = np.argsort(counts, kind="stable")  # the most frequent comes last, so it is kept
    taken = np.full(len(sizes), -1)
    taken[pairs[order] // len(maps)] = pairs[order] % len(maps)
    rows, columns = np.nonzero(taken[part] >= 0)
    old, new = labels[rows, columns], taken[part[rows, columns]]
    changed = maps.copy()
    changed[new, rows, columns], changed[old, rows, columns] = maps[old, rows, columns], maps[new, rows, columns]
    return changed


def connected_cells(labels: Int[np.ndarray, "h w"]) -> Int64[np.ndarray, "h w"]:
    """Number the 4-connected components of a label map, from 0."""
    starts = np.ones(labels.shape, bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    run = np.cumsum(starts.ravel()).reshape(labels.shape) - 1  # runs of connected cells in a row
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
