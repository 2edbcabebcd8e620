"""Calibrated confidence of taught words: a softmax over a query's words, at a temperature fitted on held-out images.

Classifiers learn by a softmax cross-entropy, which tells words apart, but leaves the level of their logits free: the
sigmoid of a fine-tuned word's logit is close to 1 nearly everywhere. Temperature scaling is from Guo et al. (2017,
arXiv:1706.04599).
"""

import numpy as np
from array_api_compat import device
from jaxtyping import Float, Int

from segvoc.runtime.arrays import Array, array_namespace

TEMPERATURES = (0.2, 20.0)
"""Range of fitted temperatures."""

IMAGE_GROUPS = 16
"""Maximum number of groups of images with a temperature each."""

SEARCH_STEPS = 24

GOLDEN = (5**0.5 - 1) / 2


def softmax_logits(logits: Float[Array, "N P h w"], temperature: float) -> Float[Array, "N P h w"]:
    """The logits of the P words' softmax probabilities: sigmoid(result) = softmax(logits / temperature) over P.

    The order of the words stays the same in every cell. A single word has nothing to compete with and is unchanged.
    """
    if logits.shape[1] == 1:
        return logits
    xp = array_namespace(logits)
    scaled = logits / temperature
    highest = xp.max(scaled, axis=1, keepdims=True)
    powers = xp.exp(scaled - highest)
    words = xp.arange(logits.shape[1], device=device(logits))[None, :, None, None]
    is_highest = xp.argmax(scaled, axis=1, keepdims=True) == words
    behind = xp.sum(xp.where(is_highest, 0.0 * powers, powers), axis=1, keepdims=True)
    # of the strongest word, the others' sum isn't a difference of equal numbers
    others = xp.where(is_highest, behind, behind + 1 - powers)
    return scaled - highest - xp.log(xp.clip(others, min=1e-30))


def fitted_temperature(
    logits: Float[np.ndarray, "M K"],
    labels: Int[np.ndarray, " M"],
    images: Int[np.ndarray, " M"],
    weights: Float[np.ndarray, " M"],
) -> float:
    """The temperature T that minimizes the weighted cross-entropy of softmax(logits / T) over cells of some images.

    It is the median over groups of images: often three or four are held out, and a single one with unusual content,
    which is confidently wrong, would decide the mean.
    """
    groups = np.array_split(np.unique(images), min(IMAGE_GROUPS, len(np.unique(images))))
    members = [np.isin(images, group) for group in groups]
    return round(float(np.median([_best(logits[rows], labels[rows], weights[rows]) for rows in members])), 3)


def _best(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    def loss(log_temperature: float) -> float:  # convex in 1 / T
        scaled = logits / np.exp(log_temperature)
        highest = scaled.max(axis=1, keepdims=True)
        total = highest[:, 0] + np.log(np.exp(scaled - highest).sum(axis=1))
        return float(np.dot(weights, total - scaled[np.arange(len(labels)), labels]))

    low, high = np.log(TEMPERATURES)
    for _ in range(SEARCH_STEPS):  # golden-section search
        one, other = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, other) if loss(one) < loss(other) else (one, high)
    return float(np.exp((low + high) / 2))
