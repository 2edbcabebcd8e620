"""Part metrics, beside the official evaluators' figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from segvoc.evaluation.confusion import Confusion
from segvoc.evaluation.parts import guided_parts, part_scores
from segvoc.label_maps import UNLABELLED

GOLDEN = Path(__file__).resolve().parent
K = 116
RECORD = json.loads((GOLDEN / "ovparts_metric.json").read_text())
SEEN = np.isin(np.arange(K), RECORD["base_indices"])
THEIR_NAMES = {
    "miou": "mIoU",
    "fwiou": "fwIoU",
    "pixel_accuracy": "pACC",
    "mean_accuracy": "mACC",
    "seen": "mIoU-base",
    "unseen": "mIoU-unbase",
    "harmonic": "h-IoU",
    "seen_recall": "mRecall-base",
    "unseen_recall": "mRecall-unbase",
    "harmonic_recall": "h-Recall",
}


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "ovparts_metric.npz") as file:
        return dict(file)


def labels(values: np.ndarray, none: int) -> np.ndarray:
    return np.where(values == none, np.uint16(UNLABELLED), values.astype(np.uint16))


def at_output_size(values: np.ndarray) -> np.ndarray:
    """30 x 26 -> 24 x 20 by the nearest pixel above and to the left, as the official evaluators bring truths back."""
    rows, columns = np.arange(24) * 30 // 24, np.arange(20) * 26 // 20
    return values[:, rows[:, None], columns]


def counted(truths: np.ndarray, predictions: np.ndarray) -> Confusion:
    return Confusion.total((Confusion.count(*pair, K) for pair in zip(truths, predictions, strict=True)), K)


@pytest.fixture(scope="module")
def confusions(stored) -> dict[str, Confusion]:
    truth = at_output_size(labels(stored["gt"], 255))
    oracle = stored["pred_oracle"].astype(np.uint16)
    within = np.where(at_output_size(stored["obj_mask"]), oracle, np.uint16(UNLABELLED))
    return {
        "ovparts_oracle": counted(truth, within),
        "partcatseg_oracle": counted(truth, oracle),
        "partcatseg_predall": counted(truth, labels(stored["pred_all"], 116)),
    }


@pytest.mark.golden
@pytest.mark.parametrize(
    ("case", "protocol", "rule"),
    [
        ("ovparts_oracle", "oracle-obj", "ov-parts"),
        ("partcatseg_oracle", "oracle-obj", "part-cat-seg"),
        ("partcatseg_predall", "pred-all", "part-cat-seg"),
    ],
)
def test_scores_are_the_official_evaluators(confusions, case, protocol, rule):
    scores, theirs = part_scores(confusions[case], SEEN, protocol, rule), RECORD[case]
    compared = {ours: name for ours, name in THEIR_NAMES.items() if name in theirs}
    assert {"miou", "seen", "unseen", "harmonic"} <= set(compared)
    for ours, name in compared.items():
        assert getattr(scores, ours) == pytest.approx(theirs[name], abs=1e-6), name


@pytest.mark.golden
def test_confusions_are_the_official_evaluators(confusions, stored):
    for case, name in (("ovparts_oracle", "conf_ovparts"), ("partcatseg_oracle", "conf_pcs_oracle")):
        assert (confusions[case].dense()[:, :-1].T == stored[name][:-1, :-1]).all()
    pred_all = confusions["partcatseg_predall"]
    assert (pred_all.dense().T == stored["conf_pcs_predall"][:, :-1]).all()
    assert pred_all.ignored == stored["conf_pcs_predall"][-1, -1]


@pytest.mark.golden
def test_ious_of_the_parts_are_the_official_ones_where_a_part_is_true(confusions):
    for case in ("partcatseg_oracle", "partcatseg_predall"):
        # detectron2's rule and theirs differ for classes without a true pixel alone
        ours, theirs = confusions[case].scores().iou, np.array(RECORD[case]["IoU"][:K], float)
        there = confusions[case].truth_pixels() > 0
        if case == "partcatseg_oracle":
            np.testing.assert_allclose(ours[there], theirs[there], atol=1e-6)
        assert theirs[~there].sum() == 0 or np.isnan(theirs[~there]).all()


def test_rules_differ_by_the_parts_that_are_never_hit():
    truth = np.array([[0, 1, 2, 3]], np.uint16)
    confusion = Confusion.count(truth, np.array([[0, 0, 2, 2]], np.uint16), 4)
    seen = np.array([True, True, False, False])
    ours = part_scores(confusion, seen, "oracle-obj")
    assert (ours.seen, ours.unseen, ours.harmonic) == (50, 50, 50)
    theirs = part_scores(confusion, seen, "oracle-obj", "ov-parts")
    assert (theirs.seen, theirs.unseen, theirs.harmonic) == (25, 25, 25)


def test_pred_all_counts_unlabelled_as_background_and_oracle_leaves_it_out():
    truth = np.array([[0, 0, UNLABELLED, UNLABELLED]], np.uint16)
    confusion = Confusion.count(truth, np.array([[0, UNLABELLED, 0, 0]], np.uint16), 1)
    seen = np.array([True])
    pred_all = part_scores(confusion, seen, "pred-all")
    assert pred_all.seen == 50
    assert pred_all.miou == pytest.approx((50 + 200 / 3) / 2)
    assert pred_all.pixel_accuracy == 75
    assert part_scores(confusion, seen, "oracle-obj").seen == 100


def test_scores_that_nothing_defines_are_nan():
    confusion = Confusion.total([], 2)
    scores = part_scores(confusion, np.array([True, False]), "oracle-obj")
    assert np.isnan([scores.miou, scores.seen, scores.unseen, scores.harmonic, scores.pixel_accuracy]).all()


def test_an_object_lets_its_own_parts_answer_alone_or_as_published_all_that_contain_its_name():
    objects, object_of, names = ("door", "car"), (0, 1, 0), ("door's knob", "car's door", "door's frame")
    assert guided_parts(objects, object_of, names) == [[0, 2], [1]]
    assert guided_parts(objects, object_of, names, substring=True) == [[0, 1, 2], [1]]
