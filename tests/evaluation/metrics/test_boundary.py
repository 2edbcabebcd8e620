"""The boundary F-score on outlines that can be counted by hand."""

import sys

import numpy as np
import pytest

from segvoc.errors import UsageError
from segvoc.evaluation.metrics import boundary_scores
from segvoc.imaging.label_maps import UNLABELED


def halves(split: int, size: int = 40) -> np.ndarray:
    """Class 0 left of a column, class 1 from it on."""
    return (np.broadcast_to(np.arange(size), (size, size)) >= split).astype(np.uint16)


def test_equal_maps_score_one():
    assert boundary_scores(halves(20), halves(20)) == {0: 1.0, 1: 1.0}


@pytest.mark.parametrize(("shift", "score"), [(1, 1.0), (2, 0.0)])
def test_an_outline_counts_up_to_the_tolerance(shift, score):
    # the diagonal is 56.6 px, 0.75 % of it less than the pixel that is the least tolerance
    assert boundary_scores(halves(20), halves(20 + shift)) == {0: score, 1: score}


def test_the_tolerance_is_a_share_of_the_diagonal():
    assert boundary_scores(halves(20), halves(23), tolerance=3.1 / 56.57) == {0: 1.0, 1: 1.0}
    assert boundary_scores(halves(20), halves(24), tolerance=3.1 / 56.57) == {0: 0.0, 1: 0.0}


def test_precision_and_recall_by_hand():
    # class 1: a column of 10 true pixels; the prediction has the upper half of it, and 5 pixels far away
    truth, prediction = np.zeros((12, 30), np.uint16), np.zeros((12, 30), np.uint16)
    truth[1:11, 3] = 1
    prediction[1:6, 3] = 1
    prediction[1:6, 20] = 1
    scores = boundary_scores(truth, prediction)
    precision, recall = 5 / 10, 6 / 10  # the sixth pixel is one off
    assert scores[1] == pytest.approx(2 * precision * recall / (precision + recall))


def test_ignored_pixels_make_no_outline_and_no_error():
    truth, prediction = halves(20), halves(20)
    truth[:, 25:30] = UNLABELED
    prediction[:, 26:29] = 0
    assert boundary_scores(truth, prediction) == {0: 1.0, 1: 1.0}


def test_a_class_that_fills_the_image():
    full = np.zeros((8, 8), np.uint16)
    assert boundary_scores(full, full) == {0: 1.0}
    assert boundary_scores(full, full + np.uint16(1)) == {0: 0.0}
    spotted = full.copy()
    spotted[3, 3] = 1
    assert boundary_scores(full, spotted) == {0: 0.0}


def test_classes_that_are_missed_score_nothing_and_false_ones_are_not_asked():
    prediction = halves(20) * np.uint16(2)
    assert boundary_scores(halves(20), prediction) == {0: 1.0, 1: 0.0}


def test_unlabeled_predictions_have_an_outline_against_classes():
    prediction = halves(20)
    prediction[:, 20:] = UNLABELED
    assert boundary_scores(halves(20), prediction) == {0: 1.0, 1: 0.0}


def test_nothing_labeled():
    assert boundary_scores(np.full((4, 4), UNLABELED, np.uint16), np.zeros((4, 4), np.uint16)) == {}


def test_without_scipy_the_extra_is_named(monkeypatch):
    truth = np.zeros((4, 4), np.uint16)
    truth[:2] = 1
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.delitem(sys.modules, "scipy.ndimage", raising=False)
    with pytest.raises(UsageError, match=r'scipy.*pip install "segvoc\[data\]"'):
        boundary_scores(truth, truth)
