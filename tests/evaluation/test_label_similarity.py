"""Similarity of labels by a text encoder, and the labels that it calls seen."""

import numpy as np
import pytest
import torch

from segvoc.errors import UsageError
from segvoc.evaluation.seen_classes import NearestLabels, nearest_labels
from segvoc.vocabulary import Vocabulary
from tests.inference.small_network import small_segmenter


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


def test_no_labels_are_refused(segmenter):
    with pytest.raises(UsageError):
        nearest_labels(segmenter, [], ["door"])
