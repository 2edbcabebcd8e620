"""Learns words from cells of labeled images: a linear classifier per word on top of its zero-shot logits.

Cross-validation on held-out images chooses how far they are trusted.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Int, Integer

from segvoc.errors import UsageError
from segvoc.inference.taught.calibration import LabeledLogits
from segvoc.inference.taught.examples import Cells
from segvoc.inference.taught.taught_words import TaughtWord, untaught_margin

DIMENSIONS = 256
"""Number of principal components; further components are noise for few images."""

LOWEST = np.float32(-1e9)
"""Below all logits."""

STEPS, BATCH, LEARNING_RATE = 80, 2048, 0.1
"""Adam: number of steps, batch size [cells], and learning rate, with cosine decay to 0."""

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
    importance = np.bincount(cells.labels)[cells.labels] ** -0.5
    text, others = cells.zero_shot[:, words], _log_sum(np.delete(cells.zero_shot, words, axis=1))
    columns = np.searchsorted(words, cells.labels)
    weights = np.zeros((len(words), components.shape[1] + 1), np.float32)
    shrink = 2 * np.array([penalty.weights] * components.shape[1] + [penalty.bias], np.float32)
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    inputs = np.concatenate([components, np.ones((len(components), 1), np.float32)], axis=1)
    for step in range(STEPS):
        drawn = random.integers(len(cells), size=BATCH) if len(cells) > BATCH else np.arange(len(cells))
        seen, truth = inputs[drawn], columns[drawn]
        zero_shot, rest = text[drawn].astype(np.float32), others[drawn]
        share = (importance[drawn] / importance[drawn].sum())[:, None].astype(np.float32)
        scores = seen @ weights.T
        half = (random.random(len(words)) < 0.5).astype(np.float32)
        gradient = (1 - UNTAUGHT) * _probabilities(zero_shot + scores, rest)
        gradient += UNTAUGHT * half * _probabilities(zero_shot + scores * half, rest)
        gradient[np.arange(len(drawn)), truth] -= (1 - UNTAUGHT) + UNTAUGHT * half[truth]
        slope = (gradient * share).T @ seen + shrink * weights
        mean = 0.9 * mean + 0.1 * slope
        square = 0.999 * square + 0.001 * slope**2
        rate = LEARNING_RATE * (1 + np.cos(np.pi * step / STEPS)) / 2
        weights -= rate * (mean / (1 - 0.9 ** (step + 1))) / (np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8)
    return Classifiers(words, weights[:, :-1], weights[:, -1])


def _log_sum(logits: Float16[np.ndarray, "M U"]) -> Float32[np.ndarray, " M"]:
    """The logarithm of the summed exponentials of logits; -inf if there are none."""
    values = logits.astype(np.float32)
    highest = values.max(axis=1, initial=-np.inf, keepdims=True)
    with np.errstate(divide="ignore"):
        return highest[:, 0] + np.log(np.exp(values - highest).sum(axis=1))


def _probabilities(logits: Float32[np.ndarray, "M T"], rest: Float32[np.ndarray, " M"]) -> Float32[np.ndarray, "M T"]:
    """Probabilities of some words in a softmax over all, of which the others have logits with the log-sum `rest`."""
    highest = np.maximum(logits.max(axis=1), rest)[:, None]
    powers = np.exp(logits - highest)
    return powers / (powers.sum(axis=1, keepdims=True) + np.exp(rest[:, None] - highest))


PENALTIES = (Penalty(0.2, 0.2), Penalty(0.04, 0.04), Penalty(0.04, 0.004), Penalty(0.01, 0.001), Penalty(0.003, 0.0003))
"""Candidate penalties, from trusting text to trusting examples."""

BETTER = 0.5
"""Minimum gain of the sum of mean IoU and accuracy for a smaller penalty, a share of regions, or refined edges
[points]: held-out images are few."""

HOPELESS = 4.0
"""Maximum loss of the sum before the search for smaller penalties stops [points]."""

SINGLE_IMAGE = 0.5
"""Factor of the classifier of a word in a single image, which no held-out image can validate."""

FOLDS = 4

CALIBRATION_CELLS = 4_000
"""Maximum number of held-out cells that the temperature is fitted on."""

HeldOutParts = Sequence[Int[np.ndarray, " _"]]
"""The images of each fold, by index."""

HELD_OUT_CELLS = 12_000
"""Maximum number of held-out cells for cross-validation; with more, use a single split."""


@dataclass(frozen=True)
class Learned:
    """Classifiers and their scores on held-out images."""

    components: Components
    classifiers: Classifiers
    """The classifiers of the words that don't keep their text."""
    words: tuple[TaughtWord, ...]
    """All words with labeled cells, in the order of their indices."""
    penalty: Penalty
    share: int
    """The chosen share of regions: 0 for text alone, and from 1 on the shares of `Cells.mixed`."""
    before: "HeldOutScores"
    """Scores zero-shot."""
    after: "HeldOutScores"
    """With examples."""
    held_out: LabeledLogits
    """Held-out cells, for the temperature of the confidence."""


@dataclass(frozen=True)
class HeldOutScores:
    """Scores on held-out cells [%]."""

    iou: Float[np.ndarray, " K"]
    """IoU of each word; NaN without held-out cells."""
    accuracy: float

    @classmethod
    def of(cls, pixels: Float[np.ndarray, "3 K"]) -> "HeldOutScores":
        """Score counted pixels (`pixel_counts`)."""
        right, labeled, predicted = pixels
        iou = np.where(labeled > 0, 100 * right / np.maximum(labeled + predicted - right, 1e-9), np.nan)
        return cls(iou, 100 * float(right.sum()) / max(float(labeled.sum()), 1e-9))

    @property
    def miou(self) -> float:
        """Mean IoU over the words with held-out cells."""
        return float(np.nanmean(self.iou))

    def value(self, before: "HeldOutScores") -> float:
        """The criterion for penalties: the sum of mean IoU and accuracy, where a loss counts twice."""
        gains = self.miou - before.miou, self.accuracy - before.accuracy
        return sum(gains) + sum(min(gain, 0.0) for gain in gains)


def pixel_counts(
    labels: Integer[np.ndarray, " M"],
    predicted: Integer[np.ndarray, " M"],
    count: int,
    weights: Float[np.ndarray, " M"] | None = None,
) -> Float[np.ndarray, "3 K"]:
    """For each of `count` words, the pixels predicted right, labeled and predicted, of cells with weights (or 1)."""
    of_cells = np.ones(len(labels)) if weights is None else weights
    right = np.bincount(labels, of_cells * (labels == predicted), count)
    return np.stack([right, np.bincount(labels, of_cells, count), np.bincount(predicted, of_cells, count)])


def learn(
    cells: Cells,
    vocabulary: Sequence[str],
    pixels: Int[np.ndarray, " K"],
    images: Int[np.ndarray, " K"],
    *,
    parts: HeldOutParts | None = None,
    seed: int = 0,
    keep_worse: bool = False,
    on_fit: Callable[[], None] = lambda: None,
) -> Learned:
    """Fit classifiers of the words with labeled cells, and score them on held-out images.

    The penalty is chosen with the text alone; then each share of regions is tried with this penalty, and has to improve
    the classifiers. The regions in a cell's logits come from images of other folds, also in fitting.

    `pixels` and `images` count the labeled pixels of each word, and the images with it; `parts` are the folds (default:
    `held_out_parts` of the cells' images). With `keep_worse`, words that get worse use their examples too. `on_fit` is
    called after each fit (`fits_of`). `UsageError`: there are fewer than two labeled images or words.
    """
    shown = np.unique(cells.labels)
    if len(shown) < 2:
        only = f"only {vocabulary[shown[0]]!r} has" if len(shown) else "no word has"
        raise UsageError(f"{only} labeled pixels; words are learned by telling them apart, so label at least two")
    if len(np.unique(cells.images)) < 2:
        raise UsageError("only one image has labels; give at least two, so that one can be held out")
    components = Components.of(cells)
    reduced = components(cells)
    held = _folds(cells, held_out_parts(cells.images, seed) if parts is None else parts)
    before = _HeldOutCells(cells, held).scores()
    penalty, share, held_out, after = _best(cells, reduced, held, before, seed, on_fit)
    taught = shown
    worse = [] if keep_worse else [index for index in shown.tolist() if after.iou[index] < before.iou[index]]
    for index in sorted(worse, key=lambda index: after.iou[index] - before.iou[index]):
        without = held_out.with_text(index)
        scores = without.scores()
        if scores.iou[index] > after.iou[index]:
            taught, held_out, after = taught[taught != index], without, scores
    if after.value(before) <= 0 and not keep_worse:
        taught, after = taught[:0], before
    share = share if len(taught) else 0
    words = tuple(
        TaughtWord(
            name=str(vocabulary[index]),
            images=int(images[index]),
            pixels=int(pixels[index]),
            before=_rounded(float(before.iou[index])),
            after=_rounded(float(after.iou[index])),
            keeps_text=index not in taught,
        )
        for index in shown.tolist()
    )
    kept = np.isin(shown, taught)
    chosen = cells.with_share(share, shown[~kept].tolist())
    final = fit(reduced, chosen, shown, penalty, np.random.default_rng(seed))
    on_fit()
    trust = np.where(images[taught] == 1, SINGLE_IMAGE, 1.0).astype(np.float32)
    classifiers = Classifiers(taught, final.weights[kept] * trust[:, None], final.bias[kept] * trust)
    return Learned(components, classifiers, words, penalty, share, before, after, held_out.sample())


class _Tried(NamedTuple):
    """The held-out cells, labeled with a penalty and a share, and their scores."""

    penalty: Penalty
    share: int
    held_out: "_HeldOutCells"
    after: HeldOutScores


def _best(
    cells: Cells,
    reduced: Float32[np.ndarray, "M C"],
    held: Sequence[Bool[np.ndarray, " M"]],
    before: HeldOutScores,
    seed: int,
    on_fit: Callable[[], None],
) -> _Tried:
    """The best penalty zero-shot, and the best share with that penalty, each fold held out in turn."""

    def tried(penalty: Penalty, share: int) -> _Tried:
        shared, fitted = cells.with_share(share), []
        for fold in held:
            words, random = np.unique(shared.labels[~fold]), np.random.default_rng(seed)
            fitted.append((fit(reduced[~fold], shared.only(~fold), words, penalty, random), reduced))
            on_fit()
        held_out = _HeldOutCells(cells, held, share, fitted)
        return _Tried(penalty, share, held_out, held_out.scores())

    best = tried(PENALTIES[0], 0)
    for penalty in PENALTIES[1:]:
        other = tried(penalty, 0)
        if other.after.value(before) > best.after.value(before) + BETTER:
            best = other
        elif other.after.value(before) < best.after.value(before) - HOPELESS:
            break
    for share in range(1, 1 + len(cells.mixed)):
        other = tried(best.penalty, share)
        if other.after.value(before) > best.after.value(before) + BETTER:
            best = other
    return best


class _HeldOutCells:
    """All held-out cells, each labeled by the classifiers that were fitted without its image (see `TaughtQuery`).

    A word that falls back to its text changes few cells, and only these are labeled again: labeling all of them anew
    for every word would take most of the time.
    """

    def __init__(
        self,
        cells: Cells,
        held: Sequence[Bool[np.ndarray, " M"]],
        share: int = 0,
        fitted: Sequence[tuple[Classifiers, Float32[np.ndarray, "M C"]]] = (),
    ) -> None:
        """Label the cells of each fold (`held`) by its classifiers and their components; without any, by text."""
        self.fold, indices = np.nonzero(np.stack(held))
        self.labels, self.weights, self.text = cells.labels[indices], cells.weights[indices], cells.zero_shot[indices]
        self.images = cells.images[indices]
        self.logits = cells.mixed[share - 1][indices] if share else self.text
        self.added = np.zeros(self.text.shape, np.float32)
        self.taught = np.zeros((len(held), self.text.shape[1]), bool)
        self.text_only = np.zeros(self.text.shape[1], bool)  # words whose examples are not used
        for fold, (classifiers, components) in enumerate(fitted):
            self.taught[fold, classifiers.words] = True
            self.added[np.ix_(self.fold == fold, classifiers.words)] = classifiers.scores(components[held[fold]])
        self.has_untaught_words: Bool[np.ndarray, " F"] = np.asarray(~self.taught.all(axis=1))
        starts = range(0, len(indices), BATCH)
        labeled = [self._labeled(np.arange(start, min(start + BATCH, len(indices)))) for start in starts]
        self.current = [np.concatenate(one) for one in zip(*labeled, strict=True)]

    def _labeled(self, rows: Int[np.ndarray, " R"]) -> tuple[np.ndarray, ...]:
        """For some cells: the strongest word, its logit, and the taught words' highest logits by text and examples."""
        after, by_text, by_examples = self._scored(rows)
        return after.argmax(axis=1), after.max(axis=1), by_text, by_examples

    def _scored(self, rows: Int[np.ndarray, " R"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For some cells: all words' logits, and the taught words' highest logits by text and examples."""
        fold = self.fold[rows]
        taught = self.taught[fold]
        before = np.where(self.text_only, self.text[rows], self.logits[rows]).astype(np.float32)
        after = before + np.where(self.text_only, 0, self.added[rows])
        by_text, by_examples = (np.where(taught, one, LOWEST).max(axis=1) for one in (before, after))
        after -= taught * (self.has_untaught_words[fold] * untaught_margin(by_text, by_examples))[:, None]
        return after, by_text, by_examples

    def sample(self) -> LabeledLogits:
        """At most `CALIBRATION_CELLS` of the cells, evenly spread."""
        rows = np.arange(0, len(self.labels), -(-len(self.labels) // CALIBRATION_CELLS))
        return LabeledLogits(self._scored(rows)[0], self.labels[rows], self.images[rows], self.weights[rows])

    def with_text(self, word: int) -> "_HeldOutCells":
        """A copy in which a word falls back to its text."""
        predicted, highest, by_text, by_examples = self.current
        text, logits, added = (one[:, word] for one in (self.text, self.logits, self.added))
        was_strongest = (predicted == word) | (logits >= by_text) | (logits + added >= by_examples)
        rows = np.flatnonzero(was_strongest | (text >= highest))
        other = copy(self)
        other.text_only, other.taught = self.text_only.copy(), self.taught.copy()
        other.text_only[word], other.taught[:, word] = True, False
        other.current = [one.copy() for one in self.current]
        for one, values in zip(other.current, other._labeled(rows), strict=True):
            one[rows] = values
        return other

    def scores(self) -> HeldOutScores:
        return HeldOutScores.of(pixel_counts(self.labels, self.current[0], self.text.shape[1], self.weights))


def fits_of(cells: Cells, parts: HeldOutParts) -> int:
    """Number of fits of `learn`, for progress."""
    return (len(PENALTIES) + len(cells.mixed)) * len(_folds(cells, parts)) + 1


def held_out_parts(images: Int[np.ndarray, " _"], seed: int) -> HeldOutParts:
    """Assign labeled images, by index, to random folds."""
    drawn = np.random.default_rng(seed).permutation(np.unique(images))
    return np.array_split(drawn, min(FOLDS, max(1, len(drawn))))


def _folds(cells: Cells, parts: HeldOutParts) -> list[Bool[np.ndarray, " M"]]:
    """For each fold, the mask of held-out cells, by whole images; never empty or full."""
    held = [np.isin(cells.images, part) for part in parts]
    held = [one for one in held if one.any() and not one.all()]
    return held if len(cells) <= HELD_OUT_CELLS else held[:1]


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 2)
