"""Which labels count as seen in training, by text-encoder similarity, and the scores of seen and unseen classes.

Source: ERR-Seg, Sec. 4.1.3 (Table 2) and Sec. 4.2.1 (Table 5); CAT-Seg, Fig. 2.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional as F

from segvoc.evaluation.metrics import Scores
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.vocabulary import Vocabulary

SEEN_ABOVE = 0.95
"""A label that is more similar than this to a training label counts as seen (Sec. 4.2.1).

The paper states the opposite ("unseen classes are defined as those with a label similarity exceeding
0.95"). Its own numbers contradict that: by Table 2, 41 % of A-150's labels are at least 0.95 similar, and
0.41 x 44.7 + 0.59 x 29.4 = 35.7 is Table 3's 35.8 mIoU only if the 44.7 of "seen" are theirs."""

EQUAL_WITHIN = 1e-4
"""Cosines within this of 1 count as 1 (equal prompts)."""


@dataclass(frozen=True, kw_only=True)
class NearestLabels:
    """The most similar training label of each of K labels."""

    names: tuple[str, ...]
    nearest: tuple[str, ...]
    """Their most similar training labels; ties go to the first."""
    similarity: Float32[np.ndarray, " K"]
    """Cosine of the two embeddings, in [-1, 1]."""

    def share(self, similarity: float) -> float:
        """Share of the labels, in [0, 1], that are at least this similar (Table 2)."""
        return float((self.similarity >= similarity - (EQUAL_WITHIN if similarity == 1 else 0)).mean())

    def seen(self, above: float = SEEN_ABOVE) -> frozenset[str]:
        """The labels whose similarity is above a threshold (Table 5)."""
        return frozenset(name for name, value in zip(self.names, self.similarity, strict=True) if value > above)


def nearest_labels(segmenter: NetworkSegmenter, names: Sequence[str], training: Sequence[str]) -> NearestLabels:
    """Compare labels with training labels by a network's text encoder.

    Labels are embedded as for segmentation: the mean over the network's prompt templates; only the first synonym
    counts.
    """
    labels, known = Vocabulary(names), Vocabulary(training)
    # float64, so that summation order can't decide what exceeds the threshold
    cosines = _embeddings(segmenter, labels) @ _embeddings(segmenter, known).T
    similarity, index = cosines.max(dim=1)
    return NearestLabels(
        names=labels.words,
        nearest=tuple(known.words[at] for at in index.tolist()),
        similarity=similarity.float().numpy(),
    )


def _embeddings(segmenter: NetworkSegmenter, vocabulary: Vocabulary) -> Tensor:
    embedded = cast(Tensor, segmenter.encode_words(vocabulary)).detach().cpu().to(torch.float64)
    return F.normalize(F.normalize(embedded, dim=-1).mean(dim=1), dim=-1)


@dataclass(frozen=True, kw_only=True)
class SeenScores:
    """Mean IoU of seen and of unseen classes, in percent, and their numbers; NaN where no class has a true pixel."""

    seen: float
    unseen: float
    seen_count: int
    unseen_count: int


def seen_scores(
    scores: Scores, classes: Sequence[str], seen: Collection[str], *, apart: Collection[str] = ()
) -> SeenScores:
    """Split the mean IoU by whether a class was seen in training; only classes with a true pixel count.

    Names in `apart`, such as a background that stands for all other classes, count in neither mean.
    """
    counted = ~np.isnan(scores.iou) & np.array([name not in apart for name in classes], bool)
    known = np.array([name in seen for name in classes], bool)
    groups = [scores.iou[counted & known], scores.iou[counted & ~known]]
    means = [float(group.mean()) if group.size else np.nan for group in groups]
    return SeenScores(seen=means[0], unseen=means[1], seen_count=groups[0].size, unseen_count=groups[1].size)
