"""Scores of part segmentation: seen and unseen parts, with and without the object given.

Sources: OV-PARTS (Wei et al., 2023), PartCATSeg (Choi et al., 2025), whose evaluators differ in which classes enter the
mean.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool

from segvoc.data.published_scores import PartProtocol
from segvoc.evaluation.metrics.confusion import Confusion, ratio

PartRule = Literal["part-cat-seg", "ov-parts"]
"""Which classes enter the mean of the seen and of the unseen classes: in PartCATSeg's evaluator (which PCA-Seg uses)
those with IoU > 0, in OV-PARTS' those with at least one true or predicted pixel."""

PUBLISHED_WORKERS = 4
"""Data loader workers in PartCATSeg's configuration."""

PUBLISHED_LOADER_SEED = 42
"""Seed of detectron2's data loader in each worker."""


@dataclass(frozen=True, kw_only=True)
class PartScores:
    """Scores of part segmentation in percent; NaN where a score is not defined."""

    miou: float
    """Mean IoU of all classes with a true or predicted pixel."""
    fwiou: float
    """Mean IoU, weighted by the true pixels of the classes."""
    pixel_accuracy: float
    """Share of correct pixels."""
    mean_accuracy: float
    """Mean of hits / true over the classes."""
    seen: float
    """Mean IoU of the parts of objects that are seen in training."""
    unseen: float
    """Mean IoU of the other parts."""
    harmonic: float
    """Harmonic mean of `seen` (s) and `unseen` (u): 2su / (s + u)."""
    seen_recall: float
    """Mean of hits / true over the parts of seen objects."""
    unseen_recall: float
    """Mean of hits / true over the other parts."""
    harmonic_recall: float
    """Harmonic mean of the two recalls."""


def part_scores(
    confusion: Confusion, seen: Bool[np.ndarray, " K"], protocol: PartProtocol, rule: PartRule = "part-cat-seg"
) -> PartScores:
    """The scores of a confusion matrix of parts.

    Pred-All: the overall scores have a background class in addition to the parts. All ignored pixels are hits of the
    background (the official evaluator forces them to it); unlabeled predictions are misses of their parts and count
    as predicted area of the background. Oracle-Obj: pixels without a prediction (part pixels outside the mask of the
    object) count nowhere.

    Args:
        confusion: of K parts, over all images.
        seen: which parts belong to objects that are seen in training.
        protocol: how the predictions were made.
        rule: which classes enter the means `seen` and `unseen`; the other scores don't depend on it.
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
    return PartScores(
        miou=_mean(iou, "ov-parts"),
        fwiou=float(np.nansum(iou * true) / true.sum()) if true.any() else np.nan,
        pixel_accuracy=100 * int(hits.sum()) / int(true.sum()) if true.any() else np.nan,
        mean_accuracy=_mean(recall, "ov-parts"),
        seen=seen_iou,
        unseen=unseen_iou,
        harmonic=_harmonic(seen_iou, unseen_iou),
        seen_recall=seen_recall,
        unseen_recall=unseen_recall,
        harmonic_recall=_harmonic(seen_recall, unseen_recall),
    )


def _mean(values: np.ndarray, rule: PartRule) -> float:
    counted = values[values > 0] if rule == "part-cat-seg" else values[~np.isnan(values)]
    return float(counted.mean()) if counted.size else np.nan


def _harmonic(seen: float, unseen: float) -> float:
    return 2 * seen * unseen / (seen + unseen) if seen + unseen > 0 else np.nan


def substitutes(left_out: Sequence[bool], workers: int = PUBLISHED_WORKERS) -> list[int]:
    """For each record without a part, the record that the published evaluations score a second time in its place.

    Their data loader (detectron2's `MapDataset`) draws another record when one gives nothing. Worker w of n reads the
    records w, w + n, ... and draws with a generator of its own; all generators have the same seed.

    Args:
        left_out: for each record in order, whether it has no part.
        workers: number of data loader workers.

    Returns:
        Indices of records with a part; one may come several times.
    """
    found: list[int] = []
    for worker in range(workers):
        generator, candidates = random.Random(PUBLISHED_LOADER_SEED), set(range(len(left_out)))
        for index in range(worker, len(left_out), workers):
            current = index
            while left_out[current]:
                candidates.discard(current)
                if not candidates:
                    return found
                current = generator.sample(list(candidates), k=1)[0]
            if current != index:
                found.append(current)
    return found


def guided_parts(
    objects: Sequence[str], object_of: Sequence[int], names: Sequence[str], *, substring: bool = False
) -> list[list[int]]:
    """For each object, the parts that may answer for it when it is given (Oracle-Obj), as ascending indices.

    Args:
        objects: names of the objects.
        object_of: the object of each part, as an index.
        names: names of the parts ("dog's head").
        substring: as published, all parts whose name contains the name of the object, so that "car's door" may answer
            for "door"; otherwise only the parts of the object itself.
    """
    return [
        [
            part
            for part, (whose, name) in enumerate(zip(object_of, names, strict=True))
            if whose == number or (substring and owner in name)
        ]
        for number, owner in enumerate(objects)
    ]
