"""Labeled cells of images, with their features and zero-shot logits: the training data of taught words."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float16, Float32, Int, UInt16

from segvoc.arrays import Array, to_numpy
from segvoc.imaging.label_maps import UNLABELED
from segvoc.teaching.features import FeatureArrays, cell_features

KEPT_CELLS = 40_000
"""Maximum number of cells in total; tiny's take 3 kB each."""

CELLS_OF_AN_IMAGE = 500
"""Maximum number of cells per image."""


@dataclass(frozen=True)
class Cells:
    """Labeled cells of one or more images."""

    features: Float16[np.ndarray, "M D"]
    zero_shot: Float16[np.ndarray, "M K"]
    """Logits of all words by their text alone."""
    mixed: Float16[np.ndarray, "S M K"]
    """Logits of all words by their text mixed with their regions in other images (`regions.py`), for each candidate
    share; S = 0 without candidates."""
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
        """Replace the text-only logits, except of words that keep them: 0 for text alone, then the candidates."""
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
    """Sample labeled cells of an image, rare words more often: in proportion to pixels^-0.5.

    Args:
        features: the image's maps (1 C h w).
        logits: the words' logits by text (1 K h w); their grid is that of the cells.
        labels: the index of each pixel's word, or `UNLABELED`.
        image: the image's index.
        count: number of cells to sample.
        random: random generator.
        mixed: the logits by text and regions for each candidate share, on the same grid.

    Returns: the cells; None if the image has no labeled pixel.
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
