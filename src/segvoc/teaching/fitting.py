"""Fits a linear classifier per word on top of its zero-shot logits."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from segvoc.teaching.examples import Cells

DIMENSIONS = 256
"""Number of principal components; further components are noise for few images."""

STEPS = 80

BATCH = 2048

LEARNING_RATE = 0.1
"""Adam's learning rate, with cosine decay to 0."""

UNTAUGHT = 0.5
"""Share of the loss in which a random half of the words uses only its text."""

COMPONENT_LENGTH = 10.0
"""Root mean square length of the components of a cell, which sets the scale of the penalty."""


class Penalty(NamedTuple):
    """Weights of the penalties on the squares of a classifier's weights and of its bias."""

    weights: float
    """On the weights: trust in the examples' appearance."""
    bias: float
    """On the bias: trust in the examples' frequencies."""


@dataclass(frozen=True)
class Components:
    """Principal components of standardized features (x - mean) / scale, with a length of COMPONENT_LENGTH."""

    mean: Float32[np.ndarray, " D"]
    scale: Float32[np.ndarray, " D"]
    basis: Float32[np.ndarray, "D C"]
    """From standardized features to components."""

    @classmethod
    def of(cls, cells: Cells) -> "Components":
        """Those of some cells."""
        count, channels = cells.features.shape
        mean = cells.features.mean(axis=0, dtype=np.float32)
        scale = np.sqrt(np.square(cells.features - mean).mean(axis=0)) + 1e-4
        covariance = np.zeros((channels, channels), np.float32)
        for start in range(0, count, BATCH):
            part = (cells.features[start : start + BATCH] - mean) / scale
            covariance += part.T @ part / count
        kept = min(DIMENSIONS, channels)
        variance, directions = np.linalg.eigh(covariance)
        length = np.sqrt(max(float(variance[-kept:].sum()), 1e-12))
        return cls(
            mean, scale, np.ascontiguousarray(directions[:, -kept:] * (COMPONENT_LENGTH / length), dtype=np.float32)
        )

    def __call__(self, cells: Cells) -> Float32[np.ndarray, "M C"]:
        """The components of cells."""
        parts = [
            ((cells.features[start : start + BATCH] - self.mean) / self.scale) @ self.basis
            for start in range(0, len(cells), BATCH)
        ]
        return np.concatenate(parts)


@dataclass(frozen=True)
class Classifiers:
    """Linear classifiers of some words on components: scores W c + b, which are added to the zero-shot logits."""

    words: Int[np.ndarray, " T"]
    weights: Float32[np.ndarray, "T C"]
    bias: Float32[np.ndarray, " T"]

    def scores(self, components: Float32[np.ndarray, "M C"]) -> Float32[np.ndarray, "M T"]:
        """The scores to add to the words' logits."""
        return components @ self.weights.T + self.bias


def fit(
    components: Float32[np.ndarray, "M C"],
    cells: Cells,
    words: Int[np.ndarray, " T"],
    penalty: Penalty,
    random: np.random.Generator,
) -> Classifiers:
    """Minimize the cross-entropy of softmax(z + m (W c + b)) + w |W|^2 + v |b|^2 over W and b by Adam.

    z are the zero-shot logits of all words, so that without examples nothing changes: the text is the prior, and the
    fewer cells a word has, the closer it stays to its text. In half of the loss m is 0 for a random half of the words:
    classifiers learn to compete with words that only have their text. Cells count by the frequency of their word to the
    power of -0.5. c are the components of the cells, w and v the penalty; `words` are indices, ascending.
    """
    of_word = np.bincount(cells.labels, minlength=cells.zero_shot.shape[1])
    importance = of_word[cells.labels] ** -0.5
    weights = np.zeros((len(words), components.shape[1] + 1), np.float32)
    shrink = 2 * np.array([penalty.weights] * components.shape[1] + [penalty.bias], np.float32)
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    inputs = np.concatenate([components, np.ones((len(components), 1), np.float32)], axis=1)
    for step in range(STEPS):
        drawn = random.integers(len(cells), size=BATCH) if len(cells) > BATCH else np.arange(len(cells))
        seen, truth = inputs[drawn], cells.labels[drawn]
        zero_shot = cells.zero_shot[drawn].astype(np.float32)
        share = (importance[drawn] / importance[drawn].sum())[:, None].astype(np.float32)
        scores = seen @ weights.T
        half = (random.random(len(words)) < 0.5).astype(np.float32)
        one_hot = (truth[:, None] == words).astype(np.float32)
        gradient = (1 - UNTAUGHT) * (_probabilities(zero_shot, words, scores) - one_hot)
        gradient += UNTAUGHT * half * (_probabilities(zero_shot, words, scores * half) - one_hot)
        slope = (gradient * share).T @ seen + shrink * weights
        mean = 0.9 * mean + 0.1 * slope
        square = 0.999 * square + 0.001 * slope**2
        rate = LEARNING_RATE * (1 + np.cos(np.pi * step / STEPS)) / 2
        weights -= rate * (mean / (1 - 0.9 ** (step + 1))) / (np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8)
    return Classifiers(words, weights[:, :-1], weights[:, -1])


def _probabilities(
    zero_shot: Float32[np.ndarray, "M K"], words: Int[np.ndarray, " T"], scores: Float32[np.ndarray, "M T"]
) -> Float32[np.ndarray, "M T"]:
    """Probabilities of the taught words in a softmax over all words."""
    logits = zero_shot.copy()
    logits[:, words] += scores
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    return logits[:, words] / logits.sum(axis=1, keepdims=True)
