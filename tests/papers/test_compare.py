"""Two label maps side by side."""

import numpy as np
import pytest

from papers.compare import Disagreement
from segvoc.errors import UsageError
from segvoc.inference.segmentation import Segmentation

WORDS = ("truck", "runway", "sky")


def result(labels, confidence=0.5, words=WORDS) -> Segmentation:
    labels = np.array(labels, np.uint16)
    return Segmentation(
        labels=labels,
        words=words,
        confidence=np.full(labels.shape, confidence, np.float32),
        selected=np.ones(len(words), bool),
        image=np.zeros((*labels.shape, 3), np.uint8),
        model="drawn",
        seconds=0.0,
    )


FIRST = result([[0, 0, 1, 1], [2, 2, 2, 1]], 0.75)
SECOND = result([[1, 1, 1, 1], [2, 65535, 2, 0]], 0.25)


def test_where_two_maps_differ_and_by_which_words():
    found = Disagreement(first=FIRST, second=SECOND, names=("a", "b"))
    assert found.differing.tolist() == [[True, True, False, False], [False, True, False, True]]
    facts = found.facts()
    assert facts["differing"] == 0.5
    assert facts["models"][0]["fractions"] == {"truck": 0.25, "runway": 0.375, "sky": 0.375}
    assert [model["mean_confidence"] for model in facts["models"]] == [0.75, 0.25]


def test_other_words_or_sizes_can_not_be_compared():
    for other in (result(FIRST.labels, words=("a", "b", "c")), result([[0]])):
        with pytest.raises(UsageError, match="differ in their words or image"):
            Disagreement(first=FIRST, second=other, names=("a", "b"))
