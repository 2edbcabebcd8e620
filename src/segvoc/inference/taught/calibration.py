"""Calibrated confidence of taught words: a softmax over a query's words, at a temperature fitted on held-out images.

Classifiers learn by a softmax cross-entropy, which tells words apart, but leaves the level of their logits free: the
sigmoid of a fine-tuned word's logit is close to 1 nearly everywhere. Temperature scaling is from Guo et al. (2017,
arXiv:1706.04599), who fit the cross-entropy.
"""

import statistics
from typing import NamedTuple

import numpy as np
from array_api_compat import device
from jaxtyping import Float, Int

from segvoc.runtime.arrays import Array, array_namespace

TEMPERATURES = (0.05, 20.0)
"""Range of fitted temperatures."""

IMAGE_GROUPS = 16
"""Maximum number of groups of images with a temperature each."""

BISECTIONS = 24


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


class LabeledLogits(NamedTuple):
    """Logits of K words in M labeled cells, for calibration."""

    logits: Float[np.ndarray, "M K"]
    labels: Int[np.ndarray, " M"]
    images: Int[np.ndarray, " M"]
    """The image of each cell."""
    weights: Float[np.ndarray, " M"]
    """Number of pixels that each cell stands for."""


def fitted_temperature(cells: LabeledLogits, lift: float = 0.0) -> float:
    """The temperature T at which the mean confidence of cells is the share of them that is right, plus `lift`.

    The confidence is the highest probability of softmax(logits / T). Against a fit of the cross-entropy, a few
    confidently wrong cells don't decide. T is the (lower) median over groups of images: often two to four are held out,
    and a single one with unusual content, which is wrong nearly everywhere, would decide the mean.
    """
    groups = np.array_split(np.unique(cells.images), min(IMAGE_GROUPS, len(np.unique(cells.images))))
    members = (np.isin(cells.images, group) for group in groups)
    found = [_matched(LabeledLogits(*(column[rows] for column in cells)), lift) for rows in members]
    return round(statistics.median_low(found), 3)


def _matched(cells: LabeledLogits, lift: float) -> float:
    behind = cells.logits - cells.logits.max(axis=1, keepdims=True)
    right = np.average(cells.logits.argmax(axis=1) == cells.labels, weights=cells.weights)
    low, high = np.log(TEMPERATURES)
    for _ in range(BISECTIONS):  # the confidence falls with T
        middle = (low + high) / 2
        confidence = np.average(1 / np.exp(behind / np.exp(middle)).sum(axis=1), weights=cells.weights)
        low, high = (middle, high) if confidence > right + lift else (low, middle)
    return float(np.exp((low + high) / 2))
