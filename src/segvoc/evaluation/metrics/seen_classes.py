"""Scores of the classes that a network has seen in training, and of the others (CAT-Seg, Fig. 2; ERR-Seg, Table 5)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from segvoc.data.class_lists import ENGLISH_NAMES
from segvoc.evaluation.metrics.confusion import Scores


@dataclass(frozen=True, kw_only=True)
class SeenScores:
    """Mean IoU of seen and of unseen classes, in percent; NaN where no class has a true pixel."""

    seen: float
    """Mean IoU of the seen classes."""
    unseen: float
    """Mean IoU of the unseen classes."""
    seen_count: int
    """Number of seen classes with a true pixel: those in the mean."""
    unseen_count: int
    """Number of unseen classes with a true pixel."""


def seen_scores(
    scores: Scores, classes: Sequence[str], seen: Collection[str], *, apart: Collection[str] = ()
) -> SeenScores:
    """Split the mean IoU by whether a class was seen in training, whatever the rule that decides it.

    As in the overall mean, only classes with a true pixel count.

    Args:
        scores: the scores of all classes.
        classes: the class names, in label order.
        seen: the names of the seen classes; all others are unseen.
        apart: names that count in neither mean, such as a background that stands for all other classes.
    """
    counted = ~np.isnan(scores.iou) & np.array([name not in apart for name in classes], bool)
    known = np.array([name in seen for name in classes], bool)
    groups = [scores.iou[counted & known], scores.iou[counted & ~known]]
    means = [float(group.mean()) if group.size else np.nan for group in groups]
    return SeenScores(seen=means[0], unseen=means[1], seen_count=groups[0].size, unseen_count=groups[1].size)


def seen_by_name(classes: Iterable[str], trained: Iterable[str]) -> frozenset[str]:
    """The classes that share a name with a class of the training set.

    Names are compared without case. Synonyms ("sofa, couch") are names of their own, and the training set's qualified
    names stand for what they qualify: COCO-Stuff's "wall-brick" and "door-stuff" for "wall" and "door".

    Args:
        classes: the class names to look up.
        trained: the class names of the training set.
    """
    known = {name for word in trained for name in _names(word)}
    known |= {name.partition("-")[0] for name in known}
    return frozenset(word for word in classes if not known.isdisjoint(_names(word)))


def _names(word: str) -> set[str]:
    names = (name.strip() for name in word.split(", "))
    return {ENGLISH_NAMES.get(name, name).casefold() for name in names}
