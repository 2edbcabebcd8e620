"""Mean IoU of seen and of unseen classes."""

import numpy as np
import pytest

from segvoc.evaluation.metrics import Confusion
from segvoc.evaluation.seen_classes import seen_scores

CLASSES = ("cat", "sofa", "wall", "rocket", "background")


def scores(absent: int | None = None):
    """Every class has one row of the label map; its first `label + 1` of eight pixels are right."""
    truth = np.repeat(np.arange(5, dtype=np.uint16)[:, None], 8, axis=1)
    prediction = np.where(np.arange(8) <= truth, truth, np.uint16(65535))
    if absent is not None:
        truth[absent] = 65535
    return Confusion.count(truth, prediction, 5).scores()


def test_the_mean_is_split_between_the_two_groups():
    split = seen_scores(scores(), CLASSES, {"cat", "wall"})
    assert (split.seen, split.unseen) == (pytest.approx(100 * (1 + 3) / 16), pytest.approx(100 * (2 + 4 + 5) / 24))
    assert (split.seen_count, split.unseen_count) == (2, 3)


def test_absent_classes_and_those_apart_are_in_neither_mean():
    split = seen_scores(scores(absent=0), CLASSES, {"cat", "wall"}, apart=("background",))
    assert (split.seen, split.unseen) == (pytest.approx(100 * 3 / 8), pytest.approx(100 * (2 + 4) / 16))
    assert (split.seen_count, split.unseen_count) == (1, 2)


def test_a_group_without_classes_has_no_score():
    split = seen_scores(scores(), CLASSES, ())
    assert np.isnan(split.seen) and split.seen_count == 0 and split.unseen_count == 5
