"""Chooses which unlabeled images to label next: those that differ most from one another where the model is uncertain.

The rule is greedy k-center, by which Sener & Savarese ("Active Learning for Convolutional Neural Networks: A Core-Set
Approach", ICLR 2018) choose images, on features in which cells count by their uncertainty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from segvoc.teaching.uncertainty import ImageSummary, UncertainRegion

FULL_DISTANCE = 0.5
"""Share of the median uncertainty from which on an image's distance counts in full."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """An image to label, and why."""

    rank: int
    """From 1."""
    image: str
    """Its name."""
    width: int
    """Its columns [px]."""
    height: int
    """Its rows [px]."""
    distance: float
    """How much it differs from the nearest image before it, where the model is uncertain: the root mean square
    difference in standard deviations of the features; of the first, from the mean of all images."""
    uncertainty: float
    """Mean over the image of 1 - margin, in [0, 1]: the margin is the difference of the two highest probabilities."""
    regions: tuple[UncertainRegion, ...]
    """Its least certain regions, the one with the most uncertainty first; at most five."""


@dataclass(frozen=True, kw_only=True)
class Suggestions:
    """Images to label next; `Segmenter.suggest` makes them."""

    model: str
    """Name of the model."""
    words: tuple[str, ...]
    """The words that labels are to teach."""
    images: int
    """Images that were compared."""
    suggestions: tuple[Suggestion, ...]
    """The images to label, the best first."""


def suggestions_of(
    summaries: Sequence[ImageSummary], count: int, *, model: str, words: Sequence[str], taught: bool = False
) -> Suggestions:
    """Choose images to label.

    Args:
        summaries: those of all unlabeled images.
        count: how many to choose; of fewer, all are ranked.
        model: name of the model.
        words: the words that labels are to teach.
        taught: whether the model was taught some of them.
    """
    order = ranked(summaries, count, taught=taught)
    return Suggestions(
        model=model,
        words=tuple(words),
        images=len(summaries),
        suggestions=tuple(
            Suggestion(
                rank=rank,
                image=summaries[index].image,
                width=summaries[index].width,
                height=summaries[index].height,
                distance=round(distance, 4),
                uncertainty=summaries[index].uncertainty,
                regions=summaries[index].regions,
            )
            for rank, (index, distance) in enumerate(order, 1)
        ),
    )


def ranked(summaries: Sequence[ImageSummary], count: int, *, taught: bool) -> list[tuple[int, float]]:
    """Choose images one by one: the one nearest to the mean of all, then always the farthest from those before it.

    An image's distance is multiplied by min(1, u / (`FULL_DISTANCE` m)), where u is its uncertainty and m the median of
    all, so that images in which the model is sure come last, however they look. If it was taught, its uncertainty says
    more, and the distance is multiplied by u.

    Args:
        summaries: those of all images.
        count: how many to choose; of fewer, all are ranked.
        taught: whether the model was taught some of the words.

    Returns:
        The index of each chosen image, and its distance to the nearest one before it.
    """
    if not summaries:
        return []
    means = standardized(summaries)
    uncertainty = np.array([one.uncertainty for one in summaries], np.float32)
    full = np.minimum(1, uncertainty / max(FULL_DISTANCE * float(np.median(uncertainty)), 1e-6))
    nearest = _distances(means, means.mean(axis=0))
    first = int(np.where(full == full.max(), nearest, np.inf).argmin())
    order, weight = [(first, float(nearest[first]))], uncertainty if taught else full
    left = np.ones(len(means), bool)
    nearest = np.full(len(means), np.inf, np.float32)
    while len(order) < min(count, len(means)):
        last = order[-1][0]
        left[last] = False
        nearest = np.minimum(nearest, _distances(means, means[last]))
        best = int(np.where(left, weight * nearest, -1).argmax())
        order.append((best, float(nearest[best])))
    return order


def standardized(summaries: Sequence[ImageSummary]) -> Float32[np.ndarray, "N D"]:
    """The images' mean features, divided by the standard deviation of the cells of all images."""
    means = np.stack([one.mean for one in summaries]).astype(np.float32)
    square = np.zeros(means.shape[1])
    for one in summaries:
        square += np.square(one.rms.astype(np.float64)) / len(summaries)
    variance = np.maximum(square - np.square(means.mean(axis=0, dtype=np.float64)), 0)
    means /= (np.sqrt(variance) + 1e-4).astype(np.float32)
    return means


def _distances(means: Float32[np.ndarray, "N D"], point: Float32[np.ndarray, " D"]) -> Float32[np.ndarray, " N"]:
    return np.sqrt(np.square(means - point).mean(axis=1))
