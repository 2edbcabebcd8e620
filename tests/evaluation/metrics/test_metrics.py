"""Confusion and scores beside torchmetrics; those of parts beside the official evaluators'."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segvoc.data.benchmarks import BenchmarkParts, PartRecord
from segvoc.data.labeled_images import LabeledImages, class_names
from segvoc.evaluation.metrics import Confusion, guided_parts, part_scores
from segvoc.evaluation.protocol import evaluation_protocol
from segvoc.evaluation.runner import TaskSegmenter
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask, ImageScore
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.protocols import Protocol
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.part_cat_seg import PART_CAT_SEG, PartNetwork
from segvoc.vocabulary import Vocabulary
from tests.networks.test_part_cat_seg import small


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


@pytest.mark.parametrize("absent", [(), (2, 5), (0, 1, 2, 3, 4, 5, 6)])
def test_torchmetrics_agrees(absent):
    # here, since it imports SciPy for seconds, which no other test of a process may need
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

    truth, prediction = maps(2, 9, absent, unlabeled=0)
    confusion = Confusion.count(truth, prediction, 9)
    target, predicted = torch.tensor(truth.astype(np.int64)), torch.tensor(prediction.astype(np.int64))
    options = {"num_classes": 9, "ignore_index": UNLABELED}
    assert confusion.dense()[:, :-1].tolist() == MulticlassConfusionMatrix(**options)(predicted, target).tolist()
    scores, there = confusion.scores(), [label for label in range(9) if label not in absent]
    share = np.bincount(truth[truth < 9], minlength=9) / (truth < 9).sum()
    theirs = 100 * MulticlassJaccardIndex(average="none", **options)(predicted, target).numpy()
    np.testing.assert_allclose(scores.iou[there], theirs[there], rtol=1e-6)
    assert (scores.miou, scores.fwiou) == pytest.approx((theirs[there].mean(), theirs @ share), rel=1e-6)
    accuracy = 100 * MulticlassAccuracy(average="none", **options)(predicted, target).numpy()
    np.testing.assert_allclose(scores.accuracy[there], accuracy[there], rtol=1e-6)
    assert scores.mean_accuracy == pytest.approx(accuracy[there].mean(), rel=1e-6)
    assert np.isnan(scores.iou[list(absent)]).all()
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
    assert (merged.dense() == whole.dense()).all() and merged.ignored == whole.ignored
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


def test_nothing_labeled_gives_no_scores_of_parts():
    nothing = Confusion.total([], 2)
    scores = part_scores(nothing, np.array([True, False]), "oracle-obj")
    assert nothing.pixels.size == 0
    assert np.isnan([scores[name] for name in ("miou", "seen", "unseen", "harmonic", "pixel_accuracy")]).all()


def test_the_strongest_confusions_come_first():
    truth = np.array([[0, 0, 0, 1, 1, 2]], np.uint16)
    prediction = np.array([[1, 1, 0, UNLABELED, 1, 0]], np.uint16)
    assert Confusion.count(truth, prediction, 3).strongest(2) == [(0, 1, 2), (1, 3, 1)]


def test_labels_beyond_the_classes_are_refused():
    label = np.zeros((2, 2), np.uint16)
    for name, maps_of_3 in (("prediction", (label, label + np.uint16(3))), ("truth", (label + np.uint16(3), label))):
        with pytest.raises(ValueError, match=f"the {name} has label 3"):
            Confusion.count(*maps_of_3, 3)


@pytest.mark.parametrize("shape", [(2, 4), (3, 2), (1, 3), (6,)])
def test_maps_of_different_sizes_are_refused(shape, as_users_call):
    with pytest.raises(ValueError, match=r"^the truth and the prediction have 3 x 2 and .* pixels; compare maps of"):
        Confusion.count(np.zeros((2, 3), np.uint16), np.zeros(shape, np.uint16), 3)


GOLDEN = Path(__file__).resolve().parent
K = 116
RECORD = json.loads((GOLDEN / "ovparts_metric.json").read_text())
SEEN = np.isin(np.arange(K), RECORD["base_indices"])
OURS = "miou fwiou pixel_accuracy mean_accuracy seen unseen harmonic seen_recall unseen_recall harmonic_recall".split()
THEIRS = "mIoU fwIoU pACC mACC mIoU-base mIoU-unbase h-IoU mRecall-base mRecall-unbase h-Recall".split()


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "ovparts_metric.npz") as file:
        return dict(file)


def labels(values: np.ndarray, none: int) -> np.ndarray:
    return np.where(values == none, np.uint16(UNLABELED), values.astype(np.uint16))


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
    within = np.where(at_output_size(stored["obj_mask"]), oracle, np.uint16(UNLABELED))
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
    compared = {ours: name for ours, name in zip(OURS, THEIRS, strict=True) if name in theirs}
    assert {"miou", "seen", "unseen", "harmonic"} <= set(compared)
    for ours, name in compared.items():
        assert scores[ours] == pytest.approx(theirs[name], abs=1e-6), name


@pytest.mark.golden
def test_confusions_are_the_official_evaluators(confusions, stored):
    for case, name in (("ovparts_oracle", "conf_ovparts"), ("partcatseg_oracle", "conf_pcs_oracle")):
        assert (confusions[case].dense()[:, :-1].T == stored[name][:-1, :-1]).all()
    pred_all = confusions["partcatseg_predall"]
    assert (pred_all.dense().T == stored["conf_pcs_predall"][:, :-1]).all()
    assert pred_all.ignored == stored["conf_pcs_predall"][-1, -1]


def test_an_object_lets_its_own_parts_answer_alone_or_as_published_all_that_contain_its_name():
    objects, object_of, names = ("door", "car"), (0, 1, 0), ("door's knob", "car's door", "door's frame")
    assert guided_parts(objects, object_of, names) == [[0, 2], [1]]
    assert guided_parts(objects, object_of, names, substring=True) == [[0, 1, 2], [1]]


def part_task(root: Path) -> EvaluationTask:
    """Two photographs of a cat and a dog with parts, and one record without."""
    names = class_names("pascal_part116")
    (root / "labels").mkdir()
    records, image = [], root / "photo.png"
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(image)
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(root / "second.png")
    for stem, owner, part in (
        ("photo/0", 7, "cat's head"),
        ("photo/2", 11, "dog's leg"),
        ("second/0", 7, "cat's head"),
    ):
        path = root / "labels" / f"{stem.replace('/', '-')}.png"
        Image.fromarray(np.full((4, 6), names.index(part), np.uint8)).save(path)
        source = root / f"{stem.partition('/')[0]}.png"
        records.append(PartRecord(image=source, labels=path, stem=stem, object=owner, mask=image))
    images = LabeledImages(name="set", vocabulary=Vocabulary(names), images=tuple(records))
    parts = BenchmarkParts(class_list="pascal_part116")
    return EvaluationTask(name="set", title="set", images=images, classes=names, parts=parts)


def scores_of(network: PartNetwork, task: EvaluationTask) -> list[ImageScore]:
    protocols = {"auto": Protocol(size=64)}
    segmenter = NetworkSegmenter(name="own", network=network, protocols=protocols, templates=("{}", "a {}"))
    judge, scores = TaskSegmenter(segmenter, task, evaluation_protocol(segmenter, task, EvaluationSettings())), []
    for image in task.select_images(None):
        truth = image.read(len(task.classes))
        scores.append(judge.score(truth, *judge.segment([truth])))
    return scores


class Answering(PartNetwork):
    """Gives every word's map a height of its own, and "none of them" the one that it is told."""

    height = 0.0

    def compared(self, features, text, **way):
        heights = torch.where(text.places < 0, self.height, text.places.float() / 1000)
        return heights[None, :, None, None].expand(len(features.maps[0]), -1, 4, 6), None


@pytest.mark.parametrize(("none", "unlabeled"), [(1.0, 24 * 3), (-1.0, 0)])
def test_parts_compete_with_none_of_them_where_a_network_knows_it(tmp_path, none, unlabeled):
    """Pred-All: what is given to "none" is a miss of its part; with the object given none has no say."""
    network = small(PART_CAT_SEG)
    network.__class__, Answering.height = Answering, none
    scores = scores_of(network, part_task(tmp_path))
    assert sum(score.confusion.unlabeled() for score in scores) == unlabeled
    assert sum(score.oracle.unlabeled() for score in scores if score.oracle is not None) == 0


def test_parts_in_the_mask_of_an_object_without_any_count_in_pred_all_alone(tmp_path):
    """A sofa before a cat: none of the parts could answer for it, and the evaluation goes on."""
    task = part_task(tmp_path)
    sofa = BenchmarkParts(class_list="pascal_part116").objects.index("sofa")
    records = (*task.images.images[:2], replace(task.images.images[2], object=sofa))
    task = replace(task, images=replace(task.images, images=records))
    for score, drawn, answered in zip(scores_of(small(PART_CAT_SEG), task), (2, 1), (2, 0), strict=True):
        assert score.confusion.pixels.sum() == 24 * drawn
        assert (0 if score.oracle is None else score.oracle.pixels.sum()) == 24 * answered
