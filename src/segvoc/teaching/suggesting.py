"""Chooses which unlabeled images to label next: those whose labels would tell classifiers most.

The rule is BAIT's (Ash et al., "Gone Fishing: Neural Active Learning with Fisher Embeddings", NeurIPS 2021) for linear
classifiers on features that stay as they are, in which what an image tells is known before it is labeled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from segvoc.teaching.uncertainty import ImageSummary, UncertainRegion

COMPONENTS = 64
"""Principal components of the images' blocks that are compared."""

PRIOR = 3.0
"""What is known before the first image is labeled, in images: the more, the less the order of gains matters."""

AT_ONCE = 1000
"""Images that are compared at once, which bounds memory."""


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
    gain: float
    """How much of the uncertainty that the images before it leave its labels are expected to take away, in [0, 1]."""
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


def suggestions_of(summaries: Sequence[ImageSummary], count: int, *, model: str, words: Sequence[str]) -> Suggestions:
    """Choose images to label.

    Args:
        summaries: those of all unlabeled images.
        count: how many to choose; of fewer, all are ranked.
        model: name of the model.
        words: the words that labels are to teach.
    """
    order = ranked(information(summaries), count) if summaries else []
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
                gain=round(gain, 4),
                uncertainty=summaries[index].uncertainty,
                regions=summaries[index].regions,
            )
            for rank, (index, gain) in enumerate(order, 1)
        ),
    )


def information(summaries: Sequence[ImageSummary]) -> Float64[np.ndarray, "N D B"]:
    """For each image a factor X of its Fisher information X X^T = mean over its blocks of u f f^T.

    f are principal components of the blocks' features and u their uncertainties, in place of p (1 - p).
    """
    count, blocks = len(summaries), max(len(one.doubt) for one in summaries)
    sketches = np.concatenate([one.sketch for one in summaries]).astype(np.float64)
    sketches -= sketches.mean(axis=0)
    _, directions = np.linalg.eigh(sketches.T @ sketches)
    sketches = sketches @ directions[:, -COMPONENTS:]
    factors = np.zeros((count, sketches.shape[1], blocks))
    ends = np.cumsum([len(one.doubt) for one in summaries])
    for index, (one, end) in enumerate(zip(summaries, ends, strict=True)):
        own = len(one.doubt)
        factors[index, :, :own] = sketches[end - own : end].T * np.sqrt(one.doubt.astype(np.float64) / own)
    return factors


def ranked(factors: Float64[np.ndarray, "N D B"], count: int) -> list[tuple[int, float]]:
    """Choose images one by one, each to minimize tr((P + sum_chosen X X^T)^-1 T), the expected variance of scores.

    T is the mean of X X^T over all images, and P = `PRIOR` tr(T) / D.

    Args:
        factors: X of each image (`information`).
        count: how many to choose; of fewer, all are ranked.

    Returns:
        The index of each chosen image, and the share of the variance that it takes away.
    """
    images, size = factors.shape[:2]
    target = sum((part @ part.transpose(0, 2, 1)).sum(axis=0) for part in _parts(factors)) / images
    inverse = np.eye(size) / (PRIOR * max(float(np.trace(target)) / size, 1e-12))
    left = np.ones(images, bool)
    order: list[tuple[int, float]] = []
    for _ in range(min(count, images)):
        gains = np.concatenate([_gains(part, inverse, target) for part in _parts(factors)])
        best = int(np.where(left, gains, -np.inf).argmax())
        variance = float((inverse * target).sum())
        order.append((best, float(gains[best]) / max(variance, 1e-12)))
        left[best] = False
        seen = inverse @ factors[best]
        inverse -= seen @ np.linalg.solve(np.eye(seen.shape[1]) + factors[best].T @ seen, seen.T)
    return order


def _gains(
    factors: Float64[np.ndarray, "n D B"], inverse: Float64[np.ndarray, "D D"], target: Float64[np.ndarray, "D D"]
) -> Float64[np.ndarray, " n"]:
    """How much each image would lower tr(inverse T): tr((1 + X^T V X)^-1 X^T V T V X), by Woodbury's identity."""
    seen = inverse @ factors
    within = np.eye(factors.shape[2]) + factors.transpose(0, 2, 1) @ seen
    return np.trace(np.linalg.solve(within, seen.transpose(0, 2, 1) @ target @ seen), axis1=1, axis2=2)


def _parts(factors: Float64[np.ndarray, "N D B"]) -> list[Float64[np.ndarray, "n D B"]]:
    return [factors[start : start + AT_ONCE] for start in range(0, len(factors), AT_ONCE)]
