"""Learns words from cells of labeled images, judged on images that were held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from segvoc.errors import UsageError
from segvoc.teaching.examples import Cells
from segvoc.teaching.fitting import BATCH, Classifiers, Components, Penalty, fit
from segvoc.teaching.taught_words import TaughtWord, withheld

PENALTIES = (
    Penalty(0.2, 0.2),
    Penalty(0.04, 0.04),
    Penalty(0.04, 0.004),
    Penalty(0.01, 0.001),
    Penalty(0.003, 0.0003),
)
"""Penalties that are tried, from trusting text to trusting examples."""

BETTER = 0.5
"""What the sum of mean IoU and accuracy has to gain for a smaller penalty, or a share of regions [points]: held-out
images are few."""

HOPELESS = 4.0
"""What it may lose before smaller penalties aren't tried [points]."""

SINGLE_IMAGE = 0.5
"""Factor of the classifier of a word in a single image: no held-out image can tell whether it is right."""

FOLDS = 4
"""Parts that images are divided into for cross-validation."""

HeldOutParts = Sequence[Int[np.ndarray, " _"]]
"""The images of each part, by index."""

HELD_OUT_CELLS = 12_000
"""Cells of the images that judge, at most: with more, a part of the images is held out once."""


@dataclass(frozen=True)
class Learned:
    """Classifiers and what was measured on held-out images."""

    components: Components
    """What the classifiers read."""
    classifiers: Classifiers
    """The classifiers of the words that don't keep their text."""
    words: tuple[TaughtWord, ...]
    """All words with labeled cells, in the order of their indices."""
    penalty: Penalty
    """The penalty that was chosen."""
    share: int
    """The share of regions that was chosen: 0 for text alone, and from 1 on those that `Cells.mixed` has."""
    before: "HeldOutScores"
    """By text alone."""
    after: "HeldOutScores"
    """With examples."""


@dataclass(frozen=True)
class HeldOutScores:
    """HeldOutScores of held-out cells [%]."""

    iou: Float[np.ndarray, " K"]
    """Of each word; NaN where no held-out cell shows it."""
    accuracy: float
    """Share of the right pixels."""

    @classmethod
    def of(cls, cells: Cells, predicted: Int[np.ndarray, " M"]) -> "HeldOutScores":
        """Those of predictions; each cell counts as many pixels as it stands for."""
        count = cells.zero_shot.shape[1]
        pairs = cells.labels * count + predicted
        confusion = np.bincount(pairs, cells.weights, count * count).reshape(count, count)
        right, labeled = np.diag(confusion), confusion.sum(axis=1)
        union = labeled + confusion.sum(axis=0) - right
        iou = np.where(labeled > 0, 100 * right / np.maximum(union, 1e-9), np.nan)
        return cls(iou, 100 * float(right.sum()) / max(float(confusion.sum()), 1e-9))

    @property
    def miou(self) -> float:
        """Mean IoU over the words that held-out cells show."""
        return float(np.nanmean(self.iou))

    def value(self, before: "HeldOutScores") -> float:
        """What a penalty is chosen by: the sum of mean IoU and accuracy, where a loss counts twice."""
        gains = self.miou - before.miou, self.accuracy - before.accuracy
        return sum(gains) + sum(min(gain, 0.0) for gain in gains)


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
    """Fit classifiers of the words that labeled cells show, and measure on held-out images what they are good for.

    First the penalty is chosen with the text alone. Regions have to add to what these classifiers gain: with this
    penalty, each share is tried. The regions in a cell's logits are those of images in other parts, in fitting too.

    Args:
        cells: labeled cells of at least two images.
        vocabulary: the words.
        pixels: labeled pixels of each word.
        images: images that show each word.
        parts: the parts that images are held out in (default: `held_out_parts` the images of the cells).
        seed: of everything that is drawn.
        keep_worse: use the examples of a word even if it gets worse by them.
        on_fit: called after each fit, for progress.

    Raises:
        UsageError: there are fewer than two labeled images or words.
    """
    shown = np.unique(cells.labels)
    if len(shown) < 2:
        only = f"only {vocabulary[shown[0]]!r} has" if len(shown) else "no word has"
        raise UsageError(f"{only} labeled pixels; words are learned by telling them apart, so label at least two")
    if len(np.unique(cells.images)) < 2:
        raise UsageError("only one image has labels; give at least two, so that one can be held out")
    components = Components.of(cells)
    reduced = components(cells)
    folds = _folds(cells, held_out_parts(cells.images, seed) if parts is None else parts)
    judged = np.concatenate([np.flatnonzero(held) for held in folds])
    before = HeldOutScores.of(cells.only(judged), cells.zero_shot[judged].argmax(axis=1))
    best = _best(_Folds(cells, reduced, folds, shown, seed, on_fit), before)
    penalty, share, fitted, after = best
    taught = shown
    worse = [] if keep_worse else [index for index in shown.tolist() if after.iou[index] < before.iou[index]]
    for index in sorted(worse, key=lambda index: after.iou[index] - before.iou[index]):
        fewer = taught[taught != index]
        chosen = cells.with_share(share, np.setdiff1d(shown, fewer).tolist())
        without = _judged(chosen, reduced, folds, fitted, fewer)
        if without.iou[index] > after.iou[index]:
            taught, after = fewer, without
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
    return Learned(components, classifiers, words, penalty, share, before, after)


class _Tried(NamedTuple):
    """Classifiers of each fold, and how they did."""

    penalty: Penalty
    share: int
    fitted: list[Classifiers]
    after: HeldOutScores


@dataclass(frozen=True)
class _Folds:
    """What can be tried with the cells of each fold held out."""

    cells: Cells
    reduced: np.ndarray
    folds: Sequence[np.ndarray]
    shown: np.ndarray
    seed: int
    on_fit: Callable[[], None]

    def tried(self, penalty: Penalty, share: int) -> _Tried:
        """Fit the classifiers of all words."""
        cells, fitted = self.cells.with_share(share), []
        for held in self.folds:
            words, random = np.unique(cells.labels[~held]), np.random.default_rng(self.seed)
            fitted.append(fit(self.reduced[~held], cells.only(~held), words, penalty, random))
            self.on_fit()
        return _Tried(penalty, share, fitted, _judged(cells, self.reduced, self.folds, fitted, self.shown))


def _best(folds: _Folds, before: HeldOutScores) -> _Tried:
    """The best penalty by text alone, and with it the best share."""
    best = folds.tried(PENALTIES[0], 0)
    for penalty in PENALTIES[1:]:
        other = folds.tried(penalty, 0)
        if other.after.value(before) > best.after.value(before) + BETTER:
            best = other
        elif other.after.value(before) < best.after.value(before) - HOPELESS:
            break
    for share in range(1, 1 + len(folds.cells.mixed)):
        other = folds.tried(best.penalty, share)
        if other.after.value(before) > best.after.value(before) + BETTER:
            best = other
    return best


def fits_of(cells: Cells, parts: HeldOutParts) -> int:
    """How often `learn` fits classifiers, for progress."""
    return (len(PENALTIES) + len(cells.mixed)) * len(_folds(cells, parts)) + 1


def predicted(cells: Cells, reduced: np.ndarray, classifiers: Classifiers, taught: np.ndarray) -> np.ndarray:
    """The strongest word of each cell, where only some words use their classifiers (see `TaughtQuery`)."""
    found: list[np.ndarray] = []
    use = np.isin(classifiers.words, taught)
    strangers = len(classifiers.words) < cells.zero_shot.shape[1]
    places = classifiers.words[use]
    for start in range(0, len(cells), BATCH):
        logits = cells.zero_shot[start : start + BATCH].astype(np.float32)
        if len(places):
            text = logits[:, places]
            after = text + classifiers.scores(reduced[start : start + BATCH])[:, use]
            if strangers:
                after = after - withheld(text.max(axis=1, keepdims=True), after.max(axis=1, keepdims=True))
            logits[:, places] = after
        found.append(logits.argmax(axis=1))
    return np.concatenate(found)


def held_out_parts(images: Int[np.ndarray, " _"], seed: int) -> HeldOutParts:
    """The parts that images are held out in, which are drawn.

    Args:
        images: indices of the labeled images; an image may be there several times.
        seed: of the draw.
    """
    drawn = np.random.default_rng(seed).permutation(np.unique(images))
    return np.array_split(drawn, min(FOLDS, max(1, len(drawn))))


def _folds(cells: Cells, parts: HeldOutParts) -> list[Bool[np.ndarray, " M"]]:
    """For each fold, which cells are held out: those of whole images; at least one cell is, and at least one isn't."""
    held = [np.isin(cells.images, part) for part in parts]
    held = [one for one in held if one.any() and not one.all()]
    return held if len(cells) <= HELD_OUT_CELLS else held[:1]


def _judged(
    cells: Cells,
    reduced: np.ndarray,
    folds: Sequence[np.ndarray],
    fitted: Sequence[Classifiers],
    taught: np.ndarray,
) -> HeldOutScores:
    """HeldOutScores of all held-out cells, each by the classifiers that were fitted without its image."""
    found = [predicted(cells.only(held), reduced[held], one, taught) for held, one in zip(folds, fitted, strict=True)]
    judged = np.concatenate([np.flatnonzero(held) for held in folds])
    return HeldOutScores.of(cells.only(judged), np.concatenate(found))


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 2)
