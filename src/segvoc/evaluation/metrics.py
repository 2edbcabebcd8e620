"""Metrics: the confusion matrix, its scores, and the scores of parts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from segvoc.data.published_scores import PartProtocol
from segvoc.imaging.label_maps import UNLABELED

_DENSE_CODES = 4_000_000
"""Up to this number of class pairs, pixels are counted in a table; beyond it, they are sorted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Confusion:
    """A sparse confusion matrix of K classes: pixel counts per pair of true and predicted class.

    Pairs are distinct and sorted; empty pairs are left out.
    """

    classes: int
    truth: Int64[np.ndarray, " N"]
    """The true class of each pair, in [0, K)."""
    prediction: Int64[np.ndarray, " N"]
    """The predicted class of each pair, in [0, K]; K is "unlabeled"."""
    pixels: Int64[np.ndarray, " N"]
    outside: Mapping[int, int] = field(default_factory=dict)
    """Pixels without a true class, by predicted class; no other count includes them."""

    @property
    def ignored(self) -> int:
        """Pixels without a true class."""
        return sum(self.outside.values())

    @classmethod
    def count(
        cls, truth: UInt16[np.ndarray, "H W"], prediction: UInt16[np.ndarray, "H W"], classes: int
    ) -> "Confusion":
        """Count the pairs of one label map; `ValueError` if sizes differ, or a label is not below `classes`.

        A truth of 65535 is ignored; a prediction of 65535 (unlabeled) is wrong where there is a true class.
        """
        if truth.shape != prediction.shape:
            sizes = " and ".join(" x ".join(map(str, labels.shape[::-1])) for labels in (truth, prediction))
            raise ValueError(f"the truth and the prediction have {sizes} pixels; compare maps of one size")
        for what, labels in (("truth", truth), ("prediction", prediction)):
            labels = labels[labels != UNLABELED]
            if labels.size and labels.max() >= classes:
                raise ValueError(f"the {what} has label {labels.max()}, but there are only {classes} classes")
        known, predicted = truth != UNLABELED, np.minimum(prediction, classes, dtype=np.int64)
        codes, pixels = _counted(truth[known] * np.int64(classes + 1) + predicted[known], classes * (classes + 1))
        outside = (counts.tolist() for counts in _counted(predicted[~known], classes + 1))
        return cls._of(codes, pixels, classes, dict(zip(*outside, strict=True)))

    @classmethod
    def total(cls, confusions: Iterable["Confusion"], classes: int) -> "Confusion":
        """Sum several confusion matrices of the same classes; exact in any order."""
        confusions = list(confusions)
        if any(confusion.classes != classes for confusion in confusions):
            raise ValueError(f"cannot add confusion matrices of different sizes; all need {classes} classes")
        pairs = [confusion.truth * (classes + 1) + confusion.prediction for confusion in confusions]
        codes, places = np.unique(np.concatenate([np.zeros(0, np.int64), *pairs]), return_inverse=True)
        pixels = np.concatenate([np.zeros(0, np.int64), *(entry.pixels for entry in confusions)])
        outside = sum((Counter(confusion.outside) for confusion in confusions), Counter[int]())
        return cls._of(codes, _summed(places, pixels, len(codes)), classes, dict(sorted(outside.items())))

    @classmethod
    def _of(cls, codes: np.ndarray, pixels: np.ndarray, classes: int, outside: Mapping[int, int]) -> "Confusion":
        truth, prediction = np.divmod(codes, classes + 1)
        return cls(classes=classes, truth=truth, prediction=prediction, pixels=pixels, outside=outside)

    def dense(self) -> Int64[np.ndarray, "K K1"]:
        """The matrix: rows are true classes, columns are predicted classes; the last column is "unlabeled"."""
        table = np.zeros((self.classes, self.classes + 1), np.int64)
        table[self.truth, self.prediction] = self.pixels
        return table

    def hits(self) -> Int64[np.ndarray, " K"]:
        """Correct pixels of each class."""
        right = self.truth == self.prediction
        return _summed(self.truth[right], self.pixels[right], self.classes)

    def truth_pixels(self) -> Int64[np.ndarray, " K"]:
        """Pixels of each true class, including those that the prediction leaves unlabeled."""
        return _summed(self.truth, self.pixels, self.classes)

    def predicted_pixels(self) -> Int64[np.ndarray, " K"]:
        """Pixels of each predicted class; pixels without a true class don't count."""
        return _summed(self.prediction, self.pixels, self.classes + 1)[:-1]

    def unlabeled(self) -> int:
        """Pixels with a true class but no predicted class."""
        return int(self.pixels[self.prediction == self.classes].sum())

    def scores(self) -> "Scores":
        """IoU, accuracies and their means: see `Scores`."""
        hits, true, predicted = self.hits(), self.truth_pixels(), self.predicted_pixels()
        iou, accuracy = ratio(hits, np.where(true > 0, true + predicted - hits, 0)), ratio(hits, true)
        there = true > 0
        if not there.any():
            undefined = dict.fromkeys(("miou", "fwiou", "pixel_accuracy", "mean_accuracy"), np.nan)
            return Scores(**undefined, iou=iou, accuracy=accuracy)
        return Scores(
            miou=float(iou[there].mean()),
            fwiou=float((iou[there] * (true[there] / true.sum())).sum()),
            pixel_accuracy=100 * int(hits.sum()) / int(true.sum()),
            mean_accuracy=float(accuracy[there].mean()),
            iou=iou,
            accuracy=accuracy,
        )

    def strongest(self, number: int) -> list[tuple[int, int, int]]:
        """The wrong pairs with the most pixels: true class, predicted class (K: unlabeled) and pixels."""
        wrong = np.flatnonzero(self.truth != self.prediction)
        order = wrong[np.argsort(-self.pixels[wrong], kind="stable")][:number]
        return [(int(self.truth[at]), int(self.prediction[at]), int(self.pixels[at])) for at in order]


def _counted(codes: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    if limit > _DENSE_CODES:
        distinct, pixels = np.unique(codes, return_counts=True)
        return distinct, pixels.astype(np.int64)
    table = np.bincount(codes, minlength=1)
    distinct = np.flatnonzero(table)
    return distinct.astype(np.int64), table[distinct].astype(np.int64)


def _summed(classes: np.ndarray, pixels: np.ndarray, number: int) -> np.ndarray:
    return np.bincount(classes, pixels, number).astype(np.int64)  # floats count exactly up to 2**53


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """The scores of a confusion matrix, in percent; NaN where a score is not defined.

    They follow detectron2's evaluator, as the papers do: only classes with at least one true pixel count (the others
    are NaN, however often they are predicted), and pixels without a true class are ignored, also in the predicted
    area. An unlabeled pixel is a miss of its class.
    """

    miou: float
    """Mean IoU of the classes."""
    fwiou: float
    """Mean IoU, weighted by the true pixels of the classes."""
    pixel_accuracy: float
    mean_accuracy: float
    iou: Float64[np.ndarray, " K"]
    """For each class: hits / (true + predicted - hits)."""
    accuracy: Float64[np.ndarray, " K"]
    """For each class: hits / true."""


def ratio(part: np.ndarray, whole: np.ndarray) -> Float64[np.ndarray, " K"]:
    """Shares of a whole in percent; NaN where the whole is 0."""
    return np.divide(100.0 * part, whole, out=np.full(len(part), np.nan), where=whole > 0)


PartRule = Literal["part-cat-seg", "ov-parts"]
"""Which classes enter the means over seen and unseen classes: classes with IoU > 0 in PartCATSeg's evaluator (which
PCA-Seg uses), classes with at least one true or predicted pixel in OV-PARTS'."""


def part_scores(
    confusion: Confusion, seen: Bool[np.ndarray, " K"], protocol: PartProtocol, rule: PartRule = "part-cat-seg"
) -> dict[str, float]:
    """The scores of a confusion matrix of parts, by name, in percent; NaN where a score is not defined.

    `miou` is the mean over all classes with a true or predicted pixel, `fwiou` weights them by their true pixels,
    `mean_accuracy` is their mean recall (hits / true). `seen` and `unseen` are mean IoUs of parts of objects seen in
    training and of the others, `harmonic` is their harmonic mean.

    Pred-All: the overall scores have a background class in addition to the parts. All ignored pixels are hits of the
    background (the official evaluator forces them to it); unlabeled predictions are misses of their parts and count
    as predicted area of the background. Oracle-Obj: pixels without a prediction (part pixels outside the mask of the
    object) count nowhere.

    `seen` says which parts belong to objects that are seen in training, `rule` which classes enter the means `seen` and
    `unseen`; the other scores don't depend on it.
    """
    table = confusion.dense()
    if protocol == "pred-all":
        table = np.vstack([table, np.zeros(confusion.classes + 1, np.int64)])
        table[-1, -1] = confusion.ignored
    else:
        table = table[:, :-1]
    hits, true, predicted = table.diagonal(), table.sum(1), table.sum(0)
    iou, recall = ratio(hits, true + predicted - hits), ratio(hits, true)
    parts_iou, parts_recall = iou[: confusion.classes], recall[: confusion.classes]
    means = [_mean(values[chosen], rule) for values in (parts_iou, parts_recall) for chosen in (seen, ~seen)]
    seen_iou, unseen_iou, seen_recall, unseen_recall = means
    return {
        "miou": _mean(iou, "ov-parts"),
        "fwiou": float(np.nansum(iou * true) / true.sum()) if true.any() else np.nan,
        "pixel_accuracy": 100 * int(hits.sum()) / int(true.sum()) if true.any() else np.nan,
        "mean_accuracy": _mean(recall, "ov-parts"),
        "seen": seen_iou,
        "unseen": unseen_iou,
        "harmonic": _harmonic(seen_iou, unseen_iou),
        "seen_recall": seen_recall,
        "unseen_recall": unseen_recall,
        "harmonic_recall": _harmonic(seen_recall, unseen_recall),
    }


def _mean(values: np.ndarray, rule: PartRule) -> float:
    counted = values[values > 0] if rule == "part-cat-seg" else values[~np.isnan(values)]
    return float(counted.mean()) if counted.size else np.nan


def _harmonic(seen: float, unseen: float) -> float:
    return 2 * seen * unseen / (seen + unseen) if seen + unseen > 0 else np.nan


def guided_parts(
    objects: Sequence[str], object_of: Sequence[int], names: Sequence[str], *, substring: bool = False
) -> list[list[int]]:
    """Candidate parts of each object when the object is given (Oracle-Obj), as ascending indices.

    `object_of` is the index of each part's object. With `substring`, as published, all parts whose name contains the
    object's name are candidates, so "car's door" is one for "door"; otherwise only the parts of the object itself.
    """
    parts = list(enumerate(zip(object_of, names, strict=True)))
    return [
        [part for part, (whose, name) in parts if whose == number or (substring and owner in name)]
        for number, owner in enumerate(objects)
    ]
