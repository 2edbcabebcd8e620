"""Examples in the joint embedding space: embeddings of regions, mixed into the words' text embeddings."""

from collections.abc import Iterable, Mapping

import numpy as np
from array_api_compat import device
from jaxtyping import Float, Float32, Int, UInt16

from segvoc.arrays import Array, array_namespace, normalized, to_numpy
from segvoc.imaging.label_maps import UNLABELED
from segvoc.teaching.examples import labels_of_cells
from segvoc.teaching.features import CLASS_LOGITS, FeatureArrays, as_float32

SHARES = (0.25, 0.5)
"""Candidate shares of regions in the words' embeddings, besides 0."""


FEW_IMAGES = 10
"""Number of images from which networks with known classes only learn classifiers."""


WordRegions = Mapping[int, Float32[np.ndarray, " C"]]
"""For each word in an image, by index: the direction of its cells in the words' embedding space."""


def mixes(features: FeatureArrays, images: int) -> bool:
    """Whether to try mixing regions of so many images into a network's word embeddings: it has maps in their space.

    tiny, which also compares words with the names of its encoder's known classes, only gains from regions if examples
    are few (docs/explanation/teaching.md).
    """
    few = CLASS_LOGITS not in features or images < FEW_IMAGES
    return few and any(name.startswith("map_") for name in features)


def regions_of(features: FeatureArrays, labels: UInt16[np.ndarray, "H W"]) -> dict[int, Float32[np.ndarray, " C"]]:
    """The regions of an image: for each word, the mean of its unit-length cells.

    Each map that the network compares with words is pooled on its grid (1 C h w), and the directions are summed, since
    the same embedding is compared with all maps. Labels are the index of each pixel's word, or `UNLABELED`.
    """
    found: dict[int, np.ndarray] = {}
    for name in sorted(name for name in features if name.startswith("map_")):
        maps = to_numpy(as_float32(features[name]))[0]
        cells = normalized(maps.reshape(len(maps), -1).T)
        words = labels_of_cells(labels, (maps.shape[1], maps.shape[2])).ravel()
        for word in np.unique(words[words != UNLABELED]).tolist():
            found[word] = found.get(word, 0.0) + normalized(cells[words == word].mean(axis=0))
    return {word: normalized(direction) for word, direction in found.items()}


def toward_examples(images: Iterable[WordRegions], text: Float[Array, "K P C"]) -> Float32[np.ndarray, "K C"]:
    """The target of each word: its mean region, shifted across the modality gap from images to texts.

    Image and text embeddings differ by a nearly constant vector, so subtract the mean of all regions and add the mean
    of the words' texts (of any norm): u = v - mean(v) + mean(e), with unit lengths. It is 0 for words without regions,
    and for all if fewer than two words have some.
    """
    unit = normalized(to_numpy(as_float32(text)))
    sums, shown = np.zeros((len(unit), unit.shape[2]), np.float32), np.zeros(len(unit), bool)
    for regions in images:
        for word, direction in regions.items():
            sums[word] += direction
            shown[word] = True
    found = np.zeros_like(sums)
    if shown.sum() > 1:
        mean = normalized(sums[shown])
        found[shown] = normalized(mean - mean.mean(axis=0) + unit[shown].mean(axis=(0, 1)))
    return found


def mixed(
    text: Float[Array, "K P C"],
    words: Int[np.ndarray, " T"],
    toward: Float[np.ndarray, "T C"],
    shares: Float[np.ndarray, " T"],
) -> Float[Array, "K P C"]:
    """Mix regions into the embeddings of some words: e' = |e| unit((1 - a) unit(e) + a u).

    Args:
        text: prompt embeddings of all K words, which keep their lengths.
        words: indices of the words to mix.
        toward: u for each of them; 0 leaves the embedding unchanged.
        shares: a for each of them.
    """
    xp, where = array_namespace(text), device(text)
    places = xp.asarray(words, device=where)
    own = xp.astype(text[places], xp.float32)
    by = xp.asarray(shares.astype(np.float32), device=where)[:, None, None]
    direction = (1 - by) * normalized(own) + by * xp.asarray(toward.astype(np.float32), device=where)[:, None, :]
    found = xp.asarray(text, copy=True)
    found[places] = xp.astype(normalized(direction) * xp.linalg.vector_norm(own, axis=-1, keepdims=True), text.dtype)
    return found
