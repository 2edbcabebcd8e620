"""The training data of taught words: labeled cells of images, with features and zero-shot logits, and regions.

Regions are examples in the joint embedding space: their embeddings are mixed into the words' text embeddings.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from array_api_compat import device
from jaxtyping import Float, Float16, Float32, Int, UInt16

from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.taught.features import CLASS_LOGITS, FeatureArrays, as_float32, cell_features
from segvoc.runtime.arrays import Array, array_namespace, normalized, numbered_names, to_numpy

KEPT_CELLS = 40_000
"""Maximum number of cells in total; those of the shipped model take 3 kB each."""

CELLS_OF_AN_IMAGE = 500
"""Maximum number of cells per image."""


@dataclass(frozen=True)
class Cells:
    """Labeled cells of one or more images."""

    features: Float16[np.ndarray, "M D"]
    zero_shot: Float16[np.ndarray, "M K"]
    """Logits of all words by their text alone."""
    mixed: Float16[np.ndarray, "S M K"]
    """Logits of all words by their text mixed with their regions in other images (`mixed`), for each candidate share;
    S = 0 without candidates."""
    labels: Int[np.ndarray, " M"]
    """Index of each cell's word."""
    weights: Float32[np.ndarray, " M"]
    """Number of labeled pixels that each cell represents: cells of small regions are sampled more often."""
    images: Int[np.ndarray, " M"]
    """Index of each cell's image."""

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: np.ndarray) -> "Cells":
        """Select cells by indices or a mask."""
        arrays = (self.labels, self.weights, self.images)
        return Cells(
            self.features[chosen], self.zero_shot[chosen], self.mixed[:, chosen], *(array[chosen] for array in arrays)
        )

    def with_share(self, share: int, keep_text: Sequence[int] = ()) -> "Cells":
        """Use the logits of a share (0: text alone; from 1 on: the candidates), except for the words in `keep_text`."""
        if not share:
            return self
        logits = self.mixed[share - 1].copy()
        logits[:, keep_text] = self.zero_shot[:, keep_text]
        return replace(self, zero_shot=logits)

    @classmethod
    def joined(cls, several: Sequence["Cells"]) -> "Cells":
        """Concatenate the cells of several images."""
        return cls(
            **{
                one.name: np.concatenate([getattr(cells, one.name) for cells in several], axis=int(one.name == "mixed"))
                for one in fields(cls)
            }
        )


def cells_per_image(images: int) -> int:
    """Number of cells to keep per image, to bound memory."""
    return max(1, min(CELLS_OF_AN_IMAGE, KEPT_CELLS // images))


def labels_of_cells(labels: UInt16[np.ndarray, "H W"], grid: tuple[int, int]) -> UInt16[np.ndarray, "h w"]:
    """The label of each cell of a grid: the first labeled of nine pixels in it, or `UNLABELED`.

    Single pixels would miss scribbles, which are thinner than cells.
    """
    found = np.full(grid, UNLABELED, np.uint16)
    for down, across in ((3, 3), (1, 1), (1, 5), (5, 1), (5, 5), (1, 3), (3, 1), (3, 5), (5, 3)):
        rows = (np.arange(grid[0]) * 6 + down) * labels.shape[0] // (6 * grid[0])
        columns = (np.arange(grid[1]) * 6 + across) * labels.shape[1] // (6 * grid[1])
        found = np.where(found == UNLABELED, labels[rows][:, columns], found)
    return found


def sampled_cells(
    features: FeatureArrays,
    logits: Array,
    labels: UInt16[np.ndarray, "H W"],
    image: int,
    count: int,
    random: np.random.Generator,
    mixed: Sequence[Array] = (),
) -> Cells | None:
    """Sample labeled cells of an image, rare words more often: in proportion to pixels^-0.5; None without labels.

    The words' logits by text (1 K h w), and those by text and regions for each candidate share, have the grid of the
    cells. Labels are the index of each pixel's word, or `UNLABELED`; `image` is the image's index.
    """
    grid = (int(logits.shape[2]), int(logits.shape[3]))
    of_cells = labels_of_cells(labels, grid).ravel().astype(np.int64)
    labeled = np.flatnonzero(of_cells != UNLABELED)
    if not len(labeled):
        return None
    pixels = np.bincount(of_cells[labeled])
    chance = pixels[of_cells[labeled]] ** -0.5
    chance /= chance.sum()
    drawn = np.sort(random.choice(len(labeled), min(count, len(labeled)), replace=False, p=chance))
    cells = labeled[drawn]
    names = of_cells[cells]
    share = pixels[names] / np.bincount(names, minlength=len(pixels))[names]
    at_cells = [to_numpy(one)[0].reshape(logits.shape[1], -1)[:, cells].T for one in (logits, *mixed)]
    zero_shot = np.stack(at_cells).astype(np.float16)
    return Cells(
        cell_features(features, grid, cells).astype(np.float16),
        zero_shot[0],
        zero_shot[1:],
        names,
        share.astype(np.float32),
        np.full(len(cells), image),
    )


SHARES = (0.25, 0.5)
"""Candidate shares of regions in the words' embeddings, besides 0."""

FEW_IMAGES = 10
"""Number of images from which networks with known classes only learn classifiers."""

WordRegions = Mapping[int, Float32[np.ndarray, " C"]]
"""For each word in an image, by index: the direction of its cells in the words' embedding space."""


def mixes(features: FeatureArrays, images: int) -> bool:
    """Whether to try mixing regions of so many images into a network's word embeddings: it has maps in their space.

    One that also compares words with the names of its encoder's known classes only gains from regions if examples are
    few (docs/explanation/teaching.md).
    """
    few = CLASS_LOGITS not in features or images < FEW_IMAGES
    return few and any(name.startswith("map_") for name in features)


def regions_of(features: FeatureArrays, labels: UInt16[np.ndarray, "H W"]) -> dict[int, Float32[np.ndarray, " C"]]:
    """The regions of an image: for each word, the mean of its unit-length cells.

    Each map that the network compares with words is pooled on its grid (1 C h w), and the directions are summed, since
    the same embedding is compared with all maps. Labels are the index of each pixel's word, or `UNLABELED`.
    """
    found: dict[int, np.ndarray] = {}
    for name in numbered_names("map", features):
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
    """Mix regions into the embeddings e of some words, by index: e' = |e| unit((1 - a) unit(e) + a u).

    `toward` has u for each of them, where 0 leaves the embedding unchanged, and `shares` a.
    """
    xp, where = array_namespace(text), device(text)
    places = xp.asarray(words, device=where)
    own = xp.astype(text[places], xp.float32)
    by = xp.asarray(shares.astype(np.float32), device=where)[:, None, None]
    direction = (1 - by) * normalized(own) + by * xp.asarray(toward.astype(np.float32), device=where)[:, None, :]
    found = xp.asarray(text, copy=True)
    found[places] = xp.astype(normalized(direction) * xp.linalg.vector_norm(own, axis=-1, keepdims=True), text.dtype)
    return found
