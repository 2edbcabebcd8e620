"""Where a model hesitates in an image: what is kept of an unlabeled image to choose the images to label next."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Int

from segvoc.arrays import Array, bilinear, to_numpy
from segvoc.teaching.features import FeatureArrays, cell_features

GRID = 28
"""Most rows and columns of cells in which uncertainty is measured."""

LEAST_DOUBT = 1e-3
"""What is added to the uncertainty of cells, so that those of a certain image count too."""

REGIONS = 5
"""Least certain regions that are named of an image, at most."""

HESITATES = 0.5
"""Margin below which a cell is in one of them."""


@dataclass(frozen=True, kw_only=True)
class UncertainRegion:
    """Connected cells of an image in which a model hesitates between the same two words."""

    x: int
    """First column [px]."""
    y: int
    """First row [px]."""
    width: int
    """Columns [px]."""
    height: int
    """Rows [px]."""
    words: tuple[str, str]
    """The two words, the likelier one first."""
    margin: float
    """Mean difference of their probabilities, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSummary:
    """All that is kept of an unlabeled image: for `tiny` 6 kB, whatever its size."""

    image: str
    """Its name."""
    width: int
    """Its columns [px]."""
    height: int
    """Its rows [px]."""
    uncertainty: float
    """Mean over the image of 1 - margin, where the margin is the difference of the two highest probabilities."""
    mean: Float16[np.ndarray, " D"]
    """Mean of each feature over its cells, which count by their uncertainty."""
    rms: Float16[np.ndarray, " D"]
    """Root mean square of each feature over its cells, which count alike."""
    regions: tuple[UncertainRegion, ...]
    """Its least certain regions; the one with the most uncertainty first."""


def summary_of(
    name: str,
    size: tuple[int, int],
    words: Sequence[str],
    logits: Float[Array, "1 K h w"],
    features: FeatureArrays,
) -> ImageSummary:
    """What is kept of an image.

    Args:
        name: of the image.
        size: its height and width [px].
        words: the K words.
        logits: their logits, with what the model was taught.
        features: the feature maps that classifiers read.
    """
    probabilities = cell_probabilities(logits)
    grid = probabilities.shape[1:]
    ranked = np.sort(probabilities, axis=0)
    margin = ranked[-1] - ranked[-2] if len(ranked) > 1 else np.ones(grid, np.float32)
    doubt = (1 - margin).ravel()
    values = cell_features(features, (grid[0], grid[1]), np.arange(margin.size))
    share = (doubt + LEAST_DOUBT) / (doubt + LEAST_DOUBT).sum()
    return ImageSummary(
        image=name,
        width=size[1],
        height=size[0],
        uncertainty=round(float(doubt.mean()), 4),
        mean=(share @ values).astype(np.float16),
        rms=np.sqrt(np.square(values).mean(axis=0)).astype(np.float16),
        regions=_regions(probabilities, margin, words, size),
    )


def cell_probabilities(logits: Float[Array, "1 K h w"]) -> Float32[np.ndarray, "K y x"]:
    """Probabilities of the words, softmax(z), averaged over the cells of a grid of at most `GRID` rows and columns."""
    grid = min(GRID, int(logits.shape[2])), min(GRID, int(logits.shape[3]))
    fine = tuple(-(-int(side) // cells) * cells for side, cells in zip(logits.shape[2:], grid, strict=True))
    values = to_numpy(bilinear(logits, (fine[0], fine[1])))[0].astype(np.float32)
    values = np.exp(values - values.max(axis=0))
    values /= values.sum(axis=0)
    blocks = values.reshape(len(values), grid[0], fine[0] // grid[0], grid[1], fine[1] // grid[1])
    return blocks.mean(axis=(2, 4))


def _regions(
    probabilities: Float32[np.ndarray, "K y x"],
    margin: Float32[np.ndarray, "y x"],
    words: Sequence[str],
    size: tuple[int, int],
) -> tuple[UncertainRegion, ...]:
    if len(words) < 2:
        return ()
    order = np.argsort(-probabilities, axis=0, kind="stable")[:2]
    pairs = np.sort(order, axis=0)
    numbers = connected(pairs[0] * len(words) + pairs[1], margin < HESITATES)
    doubt = np.bincount(numbers.ravel(), (1 - margin).ravel())
    found: list[UncertainRegion] = []
    for number in np.argsort(-doubt[1:], kind="stable")[:REGIONS].tolist():
        inside = numbers == number + 1
        rows, columns = (np.flatnonzero(inside.any(axis=axis)).tolist() for axis in (1, 0))
        y, bottom = (_edge(row, inside.shape[0], size[0]) for row in (rows[0], rows[-1] + 1))
        x, right = (_edge(column, inside.shape[1], size[1]) for column in (columns[0], columns[-1] + 1))
        first = probabilities[:, inside].mean(axis=1)
        pair: list[int] = sorted(pairs[:, inside][:, 0].tolist(), key=lambda word: -first[word])
        found.append(
            UncertainRegion(
                x=x,
                y=y,
                width=max(right - x, 1),
                height=max(bottom - y, 1),
                words=(words[pair[0]], words[pair[1]]),
                margin=round(float(margin[inside].mean()), 4),
            )
        )
    return tuple(found)


def _edge(cell: int, cells: int, pixels: int) -> int:
    """The pixel at which a cell begins."""
    return min(cell * pixels // cells, pixels - 1) if cell < cells else pixels


def connected(values: Int[np.ndarray, "y x"], inside: Bool[np.ndarray, "y x"]) -> Int[np.ndarray, "y x"]:
    """The connected regions of equal values, numbered from 1 by their first cell; 0 is outside.

    Each cell takes the least number of its four neighbors of equal value until none changes.
    """
    numbers = np.where(inside, np.arange(1, inside.size + 1).reshape(inside.shape), 0)
    down = inside[1:] & inside[:-1] & (values[1:] == values[:-1])
    across = inside[:, 1:] & inside[:, :-1] & (values[:, 1:] == values[:, :-1])
    while True:
        before = numbers.copy()
        for joined, one, other in (
            (down, numbers[1:], numbers[:-1]),
            (across, numbers[:, 1:], numbers[:, :-1]),
        ):
            least = np.minimum(one, other)
            np.copyto(one, np.where(joined, least, one))
            np.copyto(other, np.where(joined, np.minimum(least, other), other))
        if np.array_equal(before, numbers):
            return np.unique(np.concatenate([[0], numbers.ravel()]), return_inverse=True)[1][1:].reshape(inside.shape)
