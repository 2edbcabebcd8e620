"""Where a model hesitates in an image: what is kept of an unlabeled image to choose the images to label next."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Int

from segvoc.arrays import Array, bilinear, to_numpy
from segvoc.teaching.features import FeatureArrays, cell_features

GRID = 28
"""Most rows and columns of cells in which uncertainty is measured."""

BLOCKS = 4
"""Rows and columns of blocks that an image is summarized in, at most."""

SKETCH = 128
"""Dimensions that the features of a cell are projected to."""

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
    """All that is kept of an unlabeled image: about 5 kB, whatever its size."""

    image: str
    """Its name."""
    width: int
    """Its columns [px]."""
    height: int
    """Its rows [px]."""
    uncertainty: float
    """Mean over the image of 1 - margin, where the margin is the difference of the two highest probabilities."""
    sketch: Float16[np.ndarray, "M S"]
    """For each block, the mean of its cells' projected features, in which cells count by their uncertainty."""
    doubt: Float16[np.ndarray, " M"]
    """For each block, the mean of 1 - margin."""
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
    sketch, of_blocks = _blocks(projected(features, (grid[0], grid[1])), doubt, (grid[0], grid[1]))
    return ImageSummary(
        image=name,
        width=size[1],
        height=size[0],
        uncertainty=round(float(doubt.mean()), 4),
        sketch=sketch,
        doubt=of_blocks,
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


def projected(features: FeatureArrays, grid: tuple[int, int]) -> Float32[np.ndarray, "M S"]:
    """The features of all cells of a grid in few dimensions, whose distances are about those of the features.

    Each map of a cell has length 1 before it is multiplied by a matrix of random signs (Achlioptas, Database-friendly
    random projections, 2003), the same for all images.
    """
    cells = np.arange(grid[0] * grid[1])
    total = np.zeros((len(cells), SKETCH), np.float32)
    for name, one in features.items():
        values = cell_features({name: one}, grid, cells)
        values /= np.linalg.norm(values, axis=1, keepdims=True) + 1e-6
        signs = np.random.default_rng(values.shape[1]).integers(2, size=(values.shape[1], SKETCH)) * 2 - 1
        total += values @ (signs / np.sqrt(SKETCH)).astype(np.float32)
    return total


def _blocks(
    sketches: Float32[np.ndarray, "M S"], doubt: Float32[np.ndarray, " M"], grid: tuple[int, int]
) -> tuple[Float16[np.ndarray, "B S"], Float16[np.ndarray, " B"]]:
    """The mean sketch of each block, in which cells count by their doubt, and the mean doubt."""
    rows, columns = (np.arange(side) * min(BLOCKS, side) // side for side in grid)
    block = (rows[:, None] * (columns[-1] + 1) + columns).ravel()
    count = int(block[-1]) + 1
    share = np.zeros((count, len(block)), np.float32)
    share[block, np.arange(len(block))] = doubt + LEAST_DOUBT
    means = share @ sketches / share.sum(axis=1, keepdims=True)
    return means.astype(np.float16), (np.bincount(block, doubt) / np.bincount(block)).astype(np.float16)


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
