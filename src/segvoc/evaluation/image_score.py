"""The score of one image: small and exact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segvoc.evaluation.metrics.boundary import boundary_scores
from segvoc.evaluation.metrics.confusion import Confusion
from segvoc.evaluation.task import EvaluationImage, EvaluationTask, GroundTruth
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.segmentation import Segmentation


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageScore:
    """What one image adds to the scores of its set."""

    stem: str
    """Names the image in its set."""
    seconds: float
    """Time that the network took [s]."""
    kept_classes: int
    """Number of classes that class selection kept in any view of the image."""
    confusion: Confusion
    """Of all records of the image."""
    oracle: Confusion | None = None
    """For parts: the same with the object given (Oracle-Obj)."""
    boundary: Mapping[int, float] = field(default_factory=dict)
    """The boundary F-score in [0, 1] by class, if it was asked for."""

    def to_json(self) -> dict[str, Any]:
        """The score as plain values, for `from_json`."""
        oracle = None if self.oracle is None else _packed(self.oracle)
        boundary = [[label, score] for label, score in self.boundary.items()]
        return {**vars(self), "confusion": _packed(self.confusion), "oracle": oracle, "boundary": boundary}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "ImageScore":
        """The score from the values that `to_json` returned."""
        oracle = None if entry["oracle"] is None else _unpacked(entry["oracle"])
        boundary = {label: score for label, score in entry["boundary"]}
        return cls(**{**entry, "confusion": _unpacked(entry["confusion"]), "oracle": oracle, "boundary": boundary})


def score_image(
    task: EvaluationTask, image: EvaluationImage, truth: GroundTruth, result: Segmentation, *, boundary: bool
) -> ImageScore:
    """Compare a prediction with the truth.

    For parts, the result's `group_labels` holds a prediction for each object of `present_objects`.
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
        stem=image.stem,
        seconds=result.seconds,
        kept_classes=int(result.selected.sum()),
        confusion=Confusion.total((Confusion.count(record, prediction, classes) for record in truth.records), classes),
        oracle=oracle,
        boundary=boundary_scores(truth.combined(), prediction) if boundary else {},
    )


def present_objects(objects: Sequence[int | None]) -> list[int]:
    """The distinct objects of the records of an image, ascending."""
    return sorted({owner for owner in objects if owner is not None})


def shown_prediction(task: EvaluationTask, truth: GroundTruth, result: Segmentation) -> np.ndarray:
    """The prediction as it is shown: for parts only where the truth has a part, since nothing else is scored."""
    prediction = task.scored(result.labels)
    if task.parts is None:
        return prediction
    return np.where(truth.combined() == UNLABELED, np.uint16(UNLABELED), prediction)


def _packed(confusion: Confusion) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(confusion).items()}


def _unpacked(entry: Mapping[str, Any]) -> Confusion:
    arrays = {name: np.array(entry[name], np.int64) for name in ("truth", "prediction", "pixels")}
    return Confusion(**{**entry, **arrays})
