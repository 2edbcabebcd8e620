"""The confusion's counts and scores, beside a plain reference and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

from segvoc.evaluation.metrics import Confusion
from segvoc.imaging.label_maps import UNLABELED


def maps(
    seed: int, classes: int, absent: tuple[int, ...] = (), unlabeled: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """A truth without some classes, and predictions that are right half of the time; both with unlabeled pixels."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([label for label in range(classes) if label not in absent], (23, 31)).astype(np.uint16)
    prediction = np.where(rng.random(truth.shape) < 0.5, truth, rng.integers(0, classes, truth.shape)).astype(np.uint16)
    truth[rng.random(truth.shape) < 0.2] = UNLABELED
    prediction[rng.random(truth.shape) < unlabeled] = UNLABELED
    return truth, prediction


def reference(truth: np.ndarray, prediction: np.ndarray, classes: int) -> dict[str, object]:
    """detectron2's rule, written out a pixel at a time."""
    pairs = [(t, p) for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True) if t != UNLABELED]
    iou, accuracy, weight = {}, {}, {}
    for label in range(classes):
        both = sum(t == p == label for t, p in pairs)
        true, given = sum(t == label for t, _ in pairs), sum(p == label for _, p in pairs)
        if true:
            iou[label], accuracy[label] = both / (true + given - both), both / true
            weight[label] = true / len(pairs)
    return {
        "miou": 100 * sum(iou.values()) / len(iou),
        "fwiou": 100 * sum(iou[label] * weight[label] for label in iou),
        "pixel_accuracy": 100 * sum(t == p for t, p in pairs) / len(pairs),
        "mean_accuracy": 100 * sum(accuracy.values()) / len(accuracy),
        "iou": iou,
    }


@pytest.mark.parametrize("absent", [(), (0, 4), (1, 2, 3, 4, 5, 6)])
def test_scores_are_those_of_a_plain_reference(absent):
    truth, prediction = maps(1, 7, absent)
    expected, scores = reference(truth, prediction, 7), Confusion.count(truth, prediction, 7).scores()
    for name in ("miou", "fwiou", "pixel_accuracy", "mean_accuracy"):
        assert getattr(scores, name) == pytest.approx(expected[name], abs=1e-9)
    for label in range(7):
        if label in absent:
            assert np.isnan(scores.iou[label])
            assert np.isnan(scores.accuracy[label])
        else:
            assert scores.iou[label] == pytest.approx(100 * expected["iou"][label], abs=1e-9)


@pytest.mark.parametrize("absent", [(), (2, 5)])
def test_torchmetrics_agrees(absent):
    truth, prediction = maps(2, 9, absent, unlabeled=0)
    confusion = Confusion.count(truth, prediction, 9)
    target, predicted = torch.tensor(truth.astype(np.int64)), torch.tensor(prediction.astype(np.int64))
    options = {"num_classes": 9, "ignore_index": UNLABELED}
    assert confusion.dense()[:, :-1].tolist() == MulticlassConfusionMatrix(**options)(predicted, target).tolist()
    scores, there = confusion.scores(), [label for label in range(9) if label not in absent]
    theirs = MulticlassJaccardIndex(average="none", **options)(predicted, target).numpy()
    np.testing.assert_allclose(scores.iou[there], 100 * theirs[there], rtol=1e-6)
    accuracy = MulticlassAccuracy(average="none", **options)(predicted, target).numpy()
    np.testing.assert_allclose(scores.accuracy[there], 100 * accuracy[there], rtol=1e-6)
    micro = MulticlassAccuracy(average="micro", **options)(predicted, target)
    assert scores.pixel_accuracy == pytest.approx(100 * micro.item(), rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_shards_add_up_exactly_in_any_order(seeds, random):
    parts = [Confusion.count(*maps(seed, 6), 6) for seed in seeds]
    whole = Confusion.total(parts, 6)
    random.shuffle(parts)
    cut = len(parts) // 2
    merged = Confusion.total([Confusion.total(parts[:cut], 6), Confusion.total(parts[cut:], 6)], 6)
    assert (merged.dense() == whole.dense()).all()
    assert merged.ignored == whole.ignored
    assert merged.scores().miou == whole.scores().miou


@pytest.mark.parametrize("classes", [847, 3000])
def test_many_classes_are_counted_alike_in_a_table_and_by_sorting(classes):
    truth, prediction = maps(4, classes)
    confusion = Confusion.count(truth, prediction, classes)
    known = truth != UNLABELED
    given = np.where(prediction == UNLABELED, classes, prediction)
    pairs = sorted(zip(truth[known].tolist(), given[known].tolist(), strict=True))
    told = zip(confusion.truth.tolist(), confusion.prediction.tolist(), confusion.pixels.tolist(), strict=True)
    assert [(t, p) for t, p, pixels in told for _ in range(pixels)] == pairs


def test_nothing_labeled_gives_no_scores():
    truth = np.full((2, 2), UNLABELED, np.uint16)
    confusion = Confusion.count(truth, np.zeros((2, 2), np.uint16), 3)
    assert np.isnan(confusion.scores().miou)
    assert np.isnan(confusion.scores().pixel_accuracy)
    assert Confusion.total([], 3).pixels.size == 0


def test_the_strongest_confusions_come_first():
    truth = np.array([[0, 0, 0, 1, 1, 2]], np.uint16)
    prediction = np.array([[1, 1, 0, UNLABELED, 1, 0]], np.uint16)
    assert Confusion.count(truth, prediction, 3).strongest(2) == [(0, 1, 2), (1, 3, 1)]


def test_labels_beyond_the_classes_are_refused():
    label = np.zeros((2, 2), np.uint16)
    with pytest.raises(ValueError, match="the prediction has label 3"):
        Confusion.count(label, label + np.uint16(3), 3)
    with pytest.raises(ValueError, match="the truth has label 3"):
        Confusion.count(label + np.uint16(3), label, 3)
