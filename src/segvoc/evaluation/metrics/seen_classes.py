"""Scores of the classes that a network has seen in training, and of the others (CAT-Seg, Fig. 2; ERR-Seg, Table 5)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

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

    Names that aren't among `seen` are unseen, but those in `apart`, such as a background that stands for all other
    classes, count in neither mean.
    """
    counted = ~np.isnan(scores.iou) & np.array([name not in apart for name in classes], bool)
    known = np.array([name in seen for name in classes], bool)
    groups = [scores.iou[counted & known], scores.iou[counted & ~known]]
    means = [float(group.mean()) if group.size else np.nan for group in groups]
    return SeenScores(seen=means[0], unseen=means[1], seen_count=groups[0].size, unseen_count=groups[1].size)
