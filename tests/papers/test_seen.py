"""Similarity of labels, and mean IoU of seen and of unseen classes."""

import numpy as np
import pytest
import torch

from papers.seen import seen_scores
from papers.vocabulary import NearestLabels, nearest_labels
from segvoc.evaluation.metrics import Confusion
from segvoc.vocabulary import Vocabulary
from tests.inference.small_network import small_segmenter

CLASSES = ("cat", "sofa", "wall", "rocket", "background")


def scores(absent: int | None = None):
    """Every class has one row of the label map; its first `label + 1` of eight pixels are right."""
    truth = np.repeat(np.arange(5, dtype=np.uint16)[:, None], 8, axis=1)
    prediction = np.where(np.arange(8) <= truth, truth, np.uint16(65535))
    if absent is not None:
        truth[absent] = 65535
    return Confusion.count(truth, prediction, 5).scores()


@pytest.mark.parametrize(
    ("absent", "seen", "apart", "expected"),
    [
        (None, {"cat", "wall"}, (), (4 / 16, 11 / 24, 2, 3)),
        (0, {"cat", "wall"}, ("background",), (3 / 8, 6 / 16, 1, 2)),
        (None, (), (), (np.nan, 15 / 40, 0, 5)),
    ],
)
def test_the_mean_is_split_between_two_groups_without_what_is_absent_or_apart(absent, seen, apart, expected):
    split = seen_scores(scores(absent).iou, CLASSES, seen, apart=apart)
    found = (split.seen / 100, split.unseen / 100, split.seen_count, split.unseen_count)
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.fixture(scope="module")
def segmenter():
    return small_segmenter()


def test_the_most_similar_training_label_is_found_by_the_cosine(segmenter):
    labels, training = ("cat", "sofa", "wall"), ("cap", "cat", "walls")
    found = nearest_labels(segmenter, labels, training)
    first, second = (segmenter.encode_words(Vocabulary(words))[:, 0] for words in (labels, training))
    cosines = torch.cosine_similarity(first[:, None], second[None], dim=-1)
    np.testing.assert_allclose(found.similarity, cosines.amax(dim=1), atol=1e-5)
    assert found.nearest == tuple(training[at] for at in cosines.argmax(dim=1).tolist())
    assert (found.nearest[0], found.similarity[0]) == ("cat", pytest.approx(1, abs=1e-6))


def test_of_synonyms_the_first_counts(segmenter):
    found = nearest_labels(segmenter, ["door, double door", "sofa"], ["door", "wall, couch"])
    assert found.nearest[0] == "door"
    assert found.share(1.0) == 0.5


def test_shares_include_the_threshold_and_seen_labels_are_above_it():
    found = NearestLabels(
        names=("a", "b", "c", "d"), nearest=("x",) * 4, similarity=np.array([1 - 1e-6, 0.96, 0.95, 0.5], np.float32)
    )
    assert [found.share(value) for value in (1.0, 0.95, 0.5)] == [0.25, pytest.approx(0.75), 1]
    assert found.seen(float(np.float32(0.95))) == {"a", "b"}
    assert found.seen(0.4) == {"a", "b", "c", "d"}
