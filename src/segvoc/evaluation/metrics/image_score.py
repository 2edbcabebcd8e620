"""What one picture adds to the scores of a set: small, exact, and a line of JSON in the journal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segvoc.evaluation.metrics.boundary import boundary_scores
from segvoc.evaluation.metrics.confusion import Confusion
from segvoc.evaluation.task import Picture, Task, TrueLabels
from segvoc.imaging.label_maps import UNLABELLED
from segvoc.inference.segmentation import Segmentation


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageScore:
    """The counts of one picture.

    stem: its name. stamp: of the files that were read. seconds: that the network took [s]. confusion: of all its
    records. oracle: for parts, the same with the object given. boundary: F in [0, 1] by class, where it was asked for.
    """

    stem: str
    stamp: list[int]
    seconds: float
    confusion: Confusion
    oracle: Confusion | None = None
    boundary: Mapping[int, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes it again."""
        return {
            "stem": self.stem,
            "stamp": self.stamp,
            "seconds": self.seconds,
            "confusion": _packed(self.confusion),
            "oracle": None if self.oracle is None else _packed(self.oracle),
            "boundary": [[label, score] for label, score in self.boundary.items()],
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "ImageScore":
        """What `to_json` gave."""
        return cls(
            stem=entry["stem"],
            stamp=entry["stamp"],
            seconds=entry["seconds"],
            confusion=_unpacked(entry["confusion"]),
            oracle=None if entry["oracle"] is None else _unpacked(entry["oracle"]),
            boundary={label: score for label, score in entry["boundary"]},
        )


def score_image(task: Task, picture: Picture, truth: TrueLabels, result: Segmentation, *, boundary: bool) -> ImageScore:
    """Compare a result with the truth.

    Args:
        task: whose rules count.
        picture: its names.
        truth: its true labels.
        result: the prediction; for parts with `among` for the objects of the records, in order of their numbers.
        boundary: the boundary F-score too.
    """
    classes, prediction = len(task.classes), task.scored(result.labels)
    oracle = None
    if task.parts is not None and result.group_labels is not None:
        given = dict(zip(present_objects(truth.objects), result.group_labels, strict=True))
        oracle = Confusion.total(
            (
                Confusion.count(record, given[owner], classes)
                for record, owner in zip(truth.records, truth.objects, strict=True)
                if owner is not None
            ),
            classes,
        )
    return ImageScore(
        stem=picture.stem,
        stamp=truth.stamp,
        seconds=result.seconds,
        confusion=Confusion.total((Confusion.count(record, prediction, classes) for record in truth.records), classes),
        oracle=oracle,
        boundary=boundary_scores(truth.together(), prediction) if boundary else {},
    )


def present_objects(objects: Sequence[int | None]) -> list[int]:
    """The objects of a picture's records, each once, ascending."""
    return sorted({owner for owner in objects if owner is not None})


def shown_prediction(task: Task, truth: TrueLabels, result: Segmentation) -> np.ndarray:
    """The prediction for the eye: for parts only where a part is true, since nothing else is scored."""
    prediction = task.scored(result.labels)
    if task.parts is None:
        return prediction
    return np.where(truth.together() == UNLABELLED, np.uint16(UNLABELLED), prediction)


def _packed(confusion: Confusion) -> dict[str, Any]:
    return {
        "classes": confusion.classes,
        "truth": confusion.truth.tolist(),
        "prediction": confusion.prediction.tolist(),
        "pixels": confusion.pixels.tolist(),
        "ignored": confusion.ignored,
    }


def _unpacked(entry: Mapping[str, Any]) -> Confusion:
    arrays = {name: np.array(entry[name], np.int64) for name in ("truth", "prediction", "pixels")}
    return Confusion(classes=entry["classes"], ignored=entry["ignored"], **arrays)
