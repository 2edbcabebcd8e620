"""Scores of objects: by hand, and as pycocotools gives them for files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segvoc.evaluation.objects import compared_objects, object_scores
from segvoc.imaging.label_maps import UNLABELED
from tests.labeling.formats.drawn_results import drawn_result

WORDS = ("dog", "cat", "wall")


def _squares(*places: tuple[int, int, int, int], size: tuple[int, int] = (60, 80)) -> tuple[np.ndarray, np.ndarray]:
    """Labels and objects: squares of 10 pixels (row, column, label, number) on nothing."""
    labels, objects = np.full(size, UNLABELED, np.uint16), np.zeros(size, np.uint16)
    for row, column, label, number in places:
        labels[row : row + 10, column : column + 10], objects[row : row + 10, column : column + 10] = label, number
    return labels, objects


def _compared(found: tuple[np.ndarray, np.ndarray], truth: tuple[np.ndarray, np.ndarray], seed: int = 0) -> dict:
    result = replace(drawn_result(found[0], WORDS), object_map=found[1])
    confidence = np.random.default_rng(seed).random(found[0].shape).astype(np.float32)
    return compared_objects(replace(result, confidence=confidence), *truth)


def test_a_perfect_prediction_has_100_and_a_shifted_one_counts_from_its_iou() -> None:
    truth = _squares((0, 0, 0, 1), (0, 20, 0, 2), (20, 0, 1, 3))
    scores = object_scores([_compared(truth, truth)], WORDS)
    assert [scores[name] for name in ("ap", "ap50", "pq", "sq", "rq")] == pytest.approx([100] * 5)
    assert (scores["objects"], scores["found"], scores["predicted"]) == (3, 3, 3)
    # cats at an IoU of 0.8, since what isn't labeled counts nowhere; one of two dogs
    moved = _squares((0, 0, 0, 1), (40, 40, 0, 2), (22, 0, 1, 3))
    scores = object_scores([_compared(moved, truth)], WORDS)
    assert (scores["found"], scores["predicted"]) == (2, 3)
    dogs, cats = 1 / (1 + 1 / 2), 0.8
    assert scores["pq"] == pytest.approx(100 * (dogs + cats) / 2)
    assert scores["rq"] == pytest.approx(100 * (dogs + 1) / 2) and scores["sq"] == pytest.approx(100 * (1 + cats) / 2)


def test_touching_objects_in_one_are_missed_and_crowds_and_nothing_count_nowhere() -> None:
    truth = _squares((0, 0, 0, 1), (0, 10, 0, 2), (30, 30, 0, 0), (0, 50, 2, 0))
    one = _squares((0, 0, 0, 1), (0, 10, 0, 1), (30, 30, 0, 2), (0, 50, 2, 0))
    split = _squares((0, 0, 0, 1), (0, 10, 0, 3), (30, 30, 0, 2), (0, 50, 2, 0), (50, 60, 0, 4))
    missed, right = (object_scores([_compared(found, truth)], WORDS) for found in (one, split))
    assert (missed["objects"], missed["found"], missed["ap50"]) == (2, 1, pytest.approx(50.495, abs=0.01))
    assert (right["objects"], right["found"]) == (2, 2)
    # on the crowd and where nothing is labeled, a prediction is no error of PQ; the wall is one of its segments
    assert right["pq"] == pytest.approx(100) and missed["pq"] == pytest.approx(100 * (0 + 1) / 2)


def test_pycocotools_gives_the_same_for_files(tmp_path: Path) -> None:
    rng, images = np.random.default_rng(0), []
    for seed in range(6):
        places = [(int(r), int(c), int(k), n) for n, (r, c, k) in enumerate(rng.integers(0, (50, 70, 2), (6, 3)), 1)]
        moved = [(max(0, r + int(rng.integers(-3, 4))), c, k, n) for r, c, k, n in places if rng.random() < 0.8]
        images.append(_compared(_squares(*moved), _squares(*places), seed))
    scores = object_scores(images, WORDS)
    truth = [{"image_id": at, **one} for at, image in enumerate(images) for one in image["truth"]]
    content = {
        "images": [{"id": at, "height": 60, "width": 80} for at in range(len(images))],
        "categories": [{"id": label + 1, "name": word} for label, word in enumerate(WORDS)],
        "annotations": [{"id": number, **one} for number, one in enumerate(truth, 1)],
    }
    found = [{"image_id": at, **one} for at, image in enumerate(images) for one in image["found"]]
    for name, value in (("truth", content), ("found", found)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    coco = COCO(tmp_path / "truth.json")
    theirs = COCOeval(coco, coco.loadRes(str(tmp_path / "found.json")), "segm")
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    assert 0 < scores["ap"] < scores["ap50"] < 100
    assert (scores["ap"], scores["ap50"]) == pytest.approx(tuple(100 * theirs.stats[:2]))


def test_without_objects_nothing_is_defined() -> None:
    scores = object_scores([_compared(_squares(), _squares())], WORDS)
    assert scores["ap"] is scores["ap50"] is scores["pq"] is None and scores["objects"] == 0
