"""Mean IoU of seen and of unseen classes, and which classes are seen."""

import numpy as np
import pytest

from segvoc.data.class_lists import class_names
from segvoc.evaluation.metrics.confusion import Confusion
from segvoc.evaluation.metrics.seen_classes import seen_by_name, seen_scores

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


@pytest.mark.parametrize(
    ("word", "seen"),
    [
        ("wall", True),
        ("door", True),
        ("Bed ", True),
        ("sofa, couch", True),
        ("pottedplant", True),
        ("other", False),
        ("windowpane", False),
        ("birdcage", False),  # of CAT-Seg's Fig. 2 (c)
    ],
)
def test_a_class_is_seen_where_a_name_of_coco_stuff_is_one_of_its_own(word, seen):
    assert (word in seen_by_name([word], class_names("coco"))) == seen


@pytest.mark.parametrize(("name", "seen"), [("ade150", 58), ("pc59", 47), ("voc20", 16)])
def test_how_many_classes_of_the_benchmarks_are_seen(name, seen):
    assert len(seen_by_name(class_names(name), class_names("coco"))) == seen
