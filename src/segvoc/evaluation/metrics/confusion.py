"""The confusion of classes, counted pixel by pixel, and the scores that follow from it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt16

from segvoc.imaging.label_maps import UNLABELLED

_DENSE_CODES = 4_000_000
"""Up to so many pairs of classes are counted in a table; more are sorted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Confusion:
    """How many pixels of each true class were given each class; pairs without a pixel are left out.

    classes: K, how many there are. truth, prediction: the classes of each pair; prediction K is "unlabelled". pixels:
    of each pair. ignored: pixels without a true class, which count nowhere else. Pairs ascend, each is there once.
    """

    classes: int
    truth: Int64[np.ndarray, " N"]
    prediction: Int64[np.ndarray, " N"]
    pixels: Int64[np.ndarray, " N"]
    ignored: int = 0

    @classmethod
    def count(
        cls, truth: UInt16[np.ndarray, "H W"], prediction: UInt16[np.ndarray, "H W"], classes: int
    ) -> "Confusion":
        """Count the pairs of one picture.

        Args:
            truth: the true class of each pixel, below `classes`; 65535 is ignored.
            prediction: the class that it was given, below `classes`; 65535 (unlabelled) is wrong wherever there is a
                true class.
            classes: how many there are.

        Raises:
            ValueError: a label is not below `classes`.
        """
        known = truth != UNLABELLED
        true, given = truth[known].astype(np.int64), prediction[known].astype(np.int64)
        for what, labels in (("truth", true), ("prediction", given[given != UNLABELLED])):
            if labels.size and labels.max() >= classes:
                raise ValueError(f"the {what} has the label {labels.max()}, and there are {classes} classes")
        given[given == UNLABELLED] = classes
        codes, pixels = _counted(true * (classes + 1) + given, classes * (classes + 1))
        return cls._of(codes, pixels, classes, int(truth.size - true.size))

    @classmethod
    def total(cls, parts: Iterable["Confusion"], classes: int) -> "Confusion":
        """The sum of several, which is exact in any order and any division."""
        parts = list(parts)
        if any(part.classes != classes for part in parts):
            raise ValueError(f"confusions of other classes than {classes} can't be added")
        pairs = [part.truth * (classes + 1) + part.prediction for part in parts]
        codes, places = np.unique(np.concatenate([np.zeros(0, np.int64), *pairs]), return_inverse=True)
        pixels = np.zeros(len(codes), np.int64)
        np.add.at(pixels, places, np.concatenate([np.zeros(0, np.int64), *(part.pixels for part in parts)]))
        return cls._of(codes, pixels, classes, sum(part.ignored for part in parts))

    @classmethod
    def _of(cls, codes: np.ndarray, pixels: np.ndarray, classes: int, ignored: int) -> "Confusion":
        truth, prediction = np.divmod(codes, classes + 1)
        return cls(classes=classes, truth=truth, prediction=prediction, pixels=pixels, ignored=ignored)

    def dense(self) -> Int64[np.ndarray, "K K1"]:
        """The table: rows are true classes, columns predicted ones, the last column unlabelled."""
        table = np.zeros((self.classes, self.classes + 1), np.int64)
        table[self.truth, self.prediction] = self.pixels
        return table

    def hits(self) -> Int64[np.ndarray, " K"]:
        """Pixels of each class that were given it."""
        right = self.truth == self.prediction
        return _summed(self.truth[right], self.pixels[right], self.classes)

    def truth_pixels(self) -> Int64[np.ndarray, " K"]:
        """Pixels of each true class, unlabelled ones included."""
        return _summed(self.truth, self.pixels, self.classes)

    def predicted_pixels(self) -> Int64[np.ndarray, " K"]:
        """Pixels that were given each class, among those that have a true one."""
        return _summed(self.prediction, self.pixels, self.classes + 1)[:-1]

    def unlabelled(self) -> int:
        """Pixels with a true class that were given none."""
        return int(self.pixels[self.prediction == self.classes].sum())

    def scores(self) -> "Scores":
        """IoU, accuracies and their means: see `Scores`."""
        return Scores.of(self)

    def strongest(self, number: int) -> list[tuple[int, int, int]]:
        """The confused pairs with the most pixels: true class, predicted class (K: unlabelled), pixels."""
        wrong = np.flatnonzero(self.truth != self.prediction)
        order = wrong[np.argsort(-self.pixels[wrong], kind="stable")][:number]
        return [(int(self.truth[at]), int(self.prediction[at]), int(self.pixels[at])) for at in order]


def _counted(codes: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    if limit > _DENSE_CODES:
        found, pixels = np.unique(codes, return_counts=True)
        return found, pixels.astype(np.int64)
    table = np.bincount(codes, minlength=1)
    found = np.flatnonzero(table)
    return found.astype(np.int64), table[found].astype(np.int64)


def _summed(classes: np.ndarray, pixels: np.ndarray, number: int) -> np.ndarray:
    # `bincount` with weights would count in floats
    sums = np.zeros(number, np.int64)
    np.add.at(sums, classes, pixels)
    return sums


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """The scores of a confusion, in percent; NaN where nothing defines them.

    A class's IoU is hits / (true + predicted - hits), its accuracy hits / true. The rule is that of detectron2's
    evaluator, by which the papers' figures are made: only classes with a true pixel count (others are NaN, however
    often they are predicted), and pixels without a true class count nowhere, not in the predicted area either. An
    unlabelled pixel is a miss of its class.

    miou: mean IoU of the classes. fwiou: mean weighted by their true pixels. pixel_accuracy: share of right pixels.
    mean_accuracy: mean of the classes' accuracies.
    """

    miou: float
    fwiou: float
    pixel_accuracy: float
    mean_accuracy: float
    iou: Float64[np.ndarray, " K"]
    accuracy: Float64[np.ndarray, " K"]

    @classmethod
    def of(cls, confusion: Confusion) -> "Scores":
        """The scores of a confusion."""
        hits, true, predicted = confusion.hits(), confusion.truth_pixels(), confusion.predicted_pixels()
        iou = ratio(hits, np.where(true > 0, true + predicted - hits, 0))
        accuracy = ratio(hits, true)
        there = true > 0
        if not there.any():
            return cls(
                **dict.fromkeys(("miou", "fwiou", "pixel_accuracy", "mean_accuracy"), np.nan),
                iou=iou,
                accuracy=accuracy,
            )
        return cls(
            miou=float(iou[there].mean()),
            fwiou=float((iou[there] * (true[there] / true.sum())).sum()),
            pixel_accuracy=100 * int(hits.sum()) / int(true.sum()),
            mean_accuracy=float(accuracy[there].mean()),
            iou=iou,
            accuracy=accuracy,
        )


def ratio(part: np.ndarray, whole: np.ndarray) -> Float64[np.ndarray, " K"]:
    """Shares in percent; NaN where the whole is 0."""
    return np.divide(100.0 * part, whole, out=np.full(len(part), np.nan), where=whole > 0)
