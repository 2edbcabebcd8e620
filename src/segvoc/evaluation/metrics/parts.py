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

from segvoc.evaluation.metrics.confusion import Confusion, ratio

PartProtocol = Literal["pred-all", "oracle-obj"]
"""Pred-All: every part competes. Oracle-Obj: only the parts of the true object do."""

PartRule = Literal["part-cat-seg", "ov-parts"]
"""Which classes enter the mean of the seen or unseen ones: PartCATSeg's evaluator (and by it PCA-Seg's) takes those
with IoU > 0, OV-PARTS' those with any true or predicted pixel."""


READERS, LOADER_SEED = 4, 42
"""Processes that read records in PartCATSeg's configuration, and the seed of detectron2's loader in each of them."""


@dataclass(frozen=True, kw_only=True)
class PartScores:
    """Scores of parts in percent; NaN where nothing defines them.

    miou, fwiou: of all classes with a true or predicted pixel, by the plain and by the pixels' mean. pixel_accuracy,
    mean_accuracy: share of right pixels, of all and as the classes' mean. seen, unseen: mIoU of the parts of objects
    that training saw, and of the others; harmonic: 2su / (s + u). The same three for the recall hits / true.
    """

    miou: float
    fwiou: float
    pixel_accuracy: float
    mean_accuracy: float
    seen: float
    unseen: float
    harmonic: float
    seen_recall: float
    unseen_recall: float
    harmonic_recall: float


def part_scores(
    confusion: Confusion, seen: Bool[np.ndarray, " K"], protocol: PartProtocol, rule: PartRule = "part-cat-seg"
) -> PartScores:
    """The scores of a confusion of parts.

    Pred-All: a background stands beside the parts in the overall scores; all ignored pixels are its hits (the official
    evaluator forces them to it), unlabelled predictions its false area, and misses of their parts. Oracle-Obj: pixels
    without a prediction (part pixels outside the object's mask) count nowhere.

    Args:
        confusion: of K parts, over all pictures.
        seen: which parts are of objects that training saw.
        protocol: how the predictions were made.
        rule: which classes enter the seen and unseen means; the other scores are the same.
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


def substitutes(left_out: Sequence[bool], readers: int = READERS) -> list[int]:
    """For each record that has no part, the one that the published evaluations score once more in its place.

    Their loader (detectron2's `MapDataset`) draws another record where one gives nothing. Every one of its processes
    reads each `readers`-th record, and draws by a generator of its own, all with one seed.

    Args:
        left_out: of all records, in their order, which have no part.
        readers: processes that read.

    Returns: indices of records with a part; one may come several times.
    """
    found: list[int] = []
    for reader in range(readers):
        generator, candidates = random.Random(LOADER_SEED), set(range(len(left_out)))
        for index in range(reader, len(left_out), readers):
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
    """For each object the parts that may answer for it (Oracle-Obj), as ascending indices.

    Args:
        objects: names of the objects.
        object_of: the object of each part.
        names: the parts' names ("dog's head").
        substring: as published: every part whose name contains the object's, so that "door" lets "car's door" through;
            otherwise the object's own alone.
    """
    return [
        [
            part
            for part, (whose, name) in enumerate(zip(object_of, names, strict=True))
            if whose == number or (substring and owner in name)
        ]
        for number, owner in enumerate(objects)
    ]
