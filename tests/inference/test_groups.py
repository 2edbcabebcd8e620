"""The most likely word among some of those that were asked for."""

import numpy as np
import pytest

from segvoc.errors import UsageError
from segvoc.inference.protocols import Window
from tests.images import squares
from tests.inference.small_network import small_segmenter

WORDS = ("cat", "sofa", "wall", "rocket", "cup")
IMAGE = squares()

small = pytest.fixture(scope="module")(small_segmenter)


@pytest.mark.parametrize("window", COMMON_WINDOWS)
def test_it_is_the_most_probable_word_of_the_group(small, window: Window):
    groups = ((1, 3, 4), (2,), (0, 1, 2, 3, 4))
    result = small.segment(IMAGE, WORDS, window=window, groups=groups, return_probabilities=True)
    assert result.group_labels.shape == (3, 90, 120)
    for group, labels in zip(groups, result.group_labels, strict=True):
        best = result.probabilities[list(group)].argmax(0)
        # interpolated in tiles and as a whole: the last bit may differ where two words all but tie
        assert (labels == np.array(group)[best]).mean() > 0.999
    assert (result.group_labels[1] == 2).all()
    assert (result.group_labels[2] == result.labels).all()
    assert len(np.unique(result.group_labels[0])) > 1


def test_words_that_were_dropped_leave_the_group_to_the_others(small):
    result = small.segment(IMAGE, WORDS, keep_classes=1, groups=[(0, 1, 2, 3, 4), (1, 2)])
    (kept,) = np.flatnonzero(result.selected)
    assert (result.group_labels[0] == kept).all()
    assert (result.group_labels[1] == (kept if kept in (1, 2) else 1)).all()


@pytest.mark.parametrize("group", [(), (5,), (-1, 2)])
def test_a_group_of_no_words_is_refused(small, group):
    with pytest.raises(UsageError, match="has no valid words"):
        small.segment(IMAGE, WORDS, groups=[group])
