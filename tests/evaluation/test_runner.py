"""The loop: scores, resuming, what is refused, damage, and the precision of an evaluation."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc import DatasetWriter, read_dataset
from segvoc.errors import UsageError
from segvoc.evaluation import report_page
from segvoc.evaluation.metrics import Confusion
from segvoc.evaluation.objects import compared_objects, object_scores
from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
from segvoc.imaging.label_maps import read_label_map
from segvoc.inference.objects import with_objects
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.runtime.process_settings import float32_products
from segvoc.training.run import train
from segvoc.training.start import Start
from tests.evaluation.drawn_sets import WORDS, draw_set, scores_of, task_of
from tests.images import one_line_error
from tests.inference.small_network import small_segmenter
from tests.labeling.formats.drawn_results import drawn_result
from tests.test_process_settings import in_force
from tests.training.runs import RECIPE, drawn_images


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    return draw_set(tmp_path / "set")


@pytest.fixture(scope="module")
def small() -> NetworkSegmenter:
    return small_segmenter()


@pytest.fixture(autouse=True)
def few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "MAX_EXAMPLES", 1)


def lines(out: Path, rank: int = 0) -> list[str]:
    return (out / f"journal/rank-{rank}.jsonl").read_text().splitlines()


def test_scores_are_those_of_segment_pixel_by_pixel(small, drawn, tmp_path):
    report = evaluate(small, task_of(drawn), tmp_path / "out")
    table = np.zeros((5, 6), np.int64)
    for number in range(5):
        truth = read_label_map(drawn / f"labels/{number}.png")
        labels = small.segment(drawn / f"images/{number}.png", WORDS).labels
        np.add.at(table, (truth[truth < 5], labels[truth < 5]), 1)
    hits, true, predicted = table.diagonal()[:5], table.sum(1), table.sum(0)[:5]
    iou = 100 * hits[:4] / (true + predicted - hits)[:4]
    assert true[4] == 0 and predicted[4] > 0
    assert report["miou"] == pytest.approx(iou.mean(), abs=1e-9)
    assert report["pixel_accuracy"] == pytest.approx(100 * hits.sum() / table.sum(), abs=1e-9)
    assert [entry["iou"] for entry in report["classes"]] == pytest.approx([*iou, None], abs=1e-9)
    assert report["data"]["labeled_pixels"] == table.sum()
    assert json.loads((tmp_path / "out/report.json").read_text()) == report


def miou_of(drawn, results) -> float:
    truths = [read_label_map(drawn / f"labels/{number}.png") for number in range(5)]
    counts = (Confusion.count(truth, result.labels, 5) for truth, result in zip(truths, results, strict=True))
    return Confusion.total(counts, 5).scores().miou


def test_objects_are_scored_where_a_dataset_has_them(small, drawn, tmp_path):
    with DatasetWriter(tmp_path / "coco", "coco-instances") as dataset:
        for seed in range(2):
            dataset.add(with_objects(drawn_result(seed=seed), least=5), f"{seed}")
    images = read_dataset(tmp_path / "coco")
    settings = EvaluationSettings(options={"objects": True})
    report = evaluate(small, images, tmp_path / "out", settings)
    compared = []
    for index in range(2):
        pixels, labels = images.read(index)
        result = small.segment(pixels, images.vocabulary, objects=True)
        compared.append(compared_objects(result, labels, images.read_objects(index, labels.shape)))
    expected = object_scores(compared, images.vocabulary.words)
    assert report["objects"] == pytest.approx(expected) and expected["objects"] > 2 and expected["predicted"] > 2
    assert scores_of(evaluate(small, images, tmp_path / "out", settings)) == scores_of(report)
    assert evaluate(small, images, tmp_path / "plain")["objects"] is None
    failed = evaluate(small, task_of(drawn), tmp_path / "none", settings)["failures"]
    assert len(failed) == 5 and "the dataset has no objects" in failed[0]["error"]


def test_batches_and_a_named_background_are_scored_as_they_are_segmented(small, drawn, tmp_path):
    images, several = [drawn / f"images/{number}.png" for number in range(5)], small_segmenter(batch=4)
    results = [*several.segment(images[:4], WORDS), *several.segment(images[4:], WORDS)]
    assert evaluate(several, task_of(drawn), tmp_path / "four")["miou"] == miou_of(drawn, results)
    results = [small.segment(image, WORDS, background="wall") for image in images]
    assert evaluate(small, task_of(drawn, "wall"), tmp_path / "named")["miou"] == miou_of(drawn, results)


def test_threshold_leaves_pixels_unlabeled_which_are_misses(small, drawn, tmp_path):
    report = evaluate(small, task_of(drawn), tmp_path / "out", EvaluationSettings(options={"threshold": 1.0}))
    assert report["data"]["unlabeled_predictions"] == report["data"]["labeled_pixels"]
    assert (report["miou"], report["pixel_accuracy"]) == (0, 0)
    assert {pair["prediction"] for pair in report["confusions"]} == {None}


def test_limit_takes_the_first(small, drawn, tmp_path):
    report = evaluate(small, task_of(drawn), tmp_path / "out", EvaluationSettings(limit=2))
    assert report["data"]["images"] == 2
    assert [json.loads(line)["item"] for line in lines(tmp_path / "out")[1:]] == ["0", "1"]
    with pytest.raises(UsageError, match="limit=0"):
        EvaluationSettings(limit=0)


@pytest.mark.parametrize(("kept", "redone"), [(3, ["2", "3", "4"]), (5, [])])
def test_an_interrupted_evaluation_is_continued_to_the_same_report(drawn, tmp_path, kept, redone):
    """A batch (of two) with a missing image is evaluated again."""
    segmenter, task = small_segmenter(batch=2), task_of(drawn)
    whole = evaluate(segmenter, task, tmp_path / "out")
    path = tmp_path / "out/journal/rank-0.jsonl"
    header, *entries = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([header, *entries[:kept], *(entry[:50] for entry in entries[kept : kept + 1])]))
    done: list[str] = []
    again = evaluate(segmenter, task, tmp_path / "out", on_result=lambda image, _: done.append(image.stem))
    assert scores_of(again) == scores_of(whole) and (again["run"]["resumed_images"], done) == (kept, redone)


def test_images_whose_files_changed_are_evaluated_again(small, drawn, tmp_path):
    evaluate(small, task_of(drawn), tmp_path / "out")
    labels = drawn / "labels/3.png"
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(labels)
    os.utime(labels, ns=(1, 1))
    done: list[str] = []
    report = evaluate(small, task_of(drawn), tmp_path / "out", on_result=lambda image, _: done.append(image.stem))
    assert done == ["3"]
    assert scores_of(report) == scores_of(evaluate(small, task_of(drawn), tmp_path / "fresh"))


def test_other_settings_weights_words_and_images_are_refused_with_the_difference_and_the_remedy(small, drawn, tmp_path):
    evaluate(small, task_of(drawn), tmp_path / "out")
    before = (tmp_path / "out/report.json").read_bytes()

    def refused(difference, settings=None, model=small):
        with one_line_error(UsageError, "give another --out, or delete that folder", match=difference):
            evaluate(model, task_of(drawn), tmp_path / "out", settings)

    refused("limit: none, now 3", EvaluationSettings(limit=3))
    refused("window: auto, now single", EvaluationSettings(options={"window": "single"}))
    other = small_segmenter()
    next(other.network.parameters()).data[0] += 1e-3
    refused("weights_digest", model=other)
    (drawn / "classes.json").write_text(json.dumps([*WORDS[:-1], "dog"]))
    refused(r"classes: 5 \(\w+\), now 5")
    (drawn / "classes.json").write_text(json.dumps(WORDS))
    (drawn / "images/4.png").unlink()
    refused(r"images: 5 \(\w+\), now 4")
    assert (tmp_path / "out/report.json").read_bytes() == before


def test_damaged_images_are_reported_and_the_others_are_scored(small, drawn, tmp_path):
    good = evaluate(small, task_of(drawn), tmp_path / "good", EvaluationSettings())
    (drawn / "images/1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(drawn / "labels/2.png")
    (drawn / "labels/4.png").unlink()
    failed: list[str] = []
    report = evaluate(small, task_of(drawn), tmp_path / "out", on_result=lambda *given: failed.extend(given[1:]))
    assert (report["data"]["images"], report["data"]["evaluated"], report["data"]["failed"]) == (5, 2, 3)
    errors = {entry["stem"]: entry["error"] for entry in report["failures"]}
    assert list(errors) == ["1", "2", "4"] and "does not exist" in errors["4"]
    assert sorted(filter(None, failed)) == sorted(errors.values())
    # once the files are repaired, the same call scores the rest
    shutil.rmtree(drawn)
    draw_set(drawn)
    assert scores_of(evaluate(small, task_of(drawn), tmp_path / "out")) == scores_of(good)


def test_nothing_to_score_is_a_report_without_scores(small, drawn, tmp_path):
    for number in range(5):
        Image.fromarray(np.full((40, 60), 255, np.uint8)).save(drawn / f"labels/{number}.png")
    report = evaluate(small, task_of(drawn), tmp_path / "out")
    assert (report["miou"], report["pixel_accuracy"]) == (None, None)
    assert report["worst"] == report["best"] == [] and (tmp_path / "out/index.html").exists()


def test_an_error_of_the_network_ends_the_evaluation_and_keeps_what_is_done(small, drawn, tmp_path, monkeypatch):
    start = small.start

    def broken(*images, **options):
        if len(lines(tmp_path / "out")) > 2:
            raise RuntimeError("out of memory")
        return start(*images, **options)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="out of memory"):
        patch.setattr(small, "start", broken)
        evaluate(small, task_of(drawn), tmp_path / "out")
    assert len(lines(tmp_path / "out")) >= 3
    assert evaluate(small, task_of(drawn), tmp_path / "out")


def test_journals_of_several_processes_are_continued_by_one(small, drawn, tmp_path):
    whole = evaluate(small, task_of(drawn), tmp_path / "out")
    journal = tmp_path / "out/journal"
    header, *entries = (journal / "rank-0.jsonl").read_bytes().splitlines(keepends=True)
    (journal / "rank-0.jsonl").write_bytes(b"".join([header, entries[0], entries[2]]))
    (journal / "rank-1.jsonl").write_bytes(b"".join([header, entries[1], entries[3][:30]]))
    done: list[str] = []
    report = evaluate(small, task_of(drawn), tmp_path / "out", on_result=lambda image, _: done.append(image.stem))
    assert done == ["3", "4"] and scores_of(report) == scores_of(whole)


def test_an_evaluation_is_in_float32_and_says_so(tmp_path):
    model, seen = small_segmenter(), []
    model.network.image_encoder.register_forward_pre_hook(lambda *_: seen.append(in_force()))
    task = EvaluationTask.of_images(drawn_images(tmp_path / "set", 2))
    with float32_products(tf32=True, benchmark=True):
        before = in_force()
        report = evaluate(model, task, tmp_path / "report")
        assert in_force() == before == ("high", True, True)
    assert set(seen) == {("highest", False, False)} and report["protocol"]["tf32"] is False
    key = json.loads((tmp_path / "report/journal/rank-0.jsonl").read_text().splitlines()[0])
    assert '"tf32": false' in json.dumps(key)


def test_training_leaves_the_precision_as_it_was(tmp_path, small_preset, undrawn, monkeypatch):
    """On a GPU it may train in TF32, and what is evaluated afterwards must not be."""
    asked = []

    def noted(**settings):
        asked.append(settings)
        return float32_products(tf32=True, benchmark=True)  # as on a GPU

    monkeypatch.setattr("segvoc.training.run.float32_products", noted)
    before = in_force()
    images = drawn_images(tmp_path / "set", 2)
    train(RECIPE.with_settings(steps=1), images, tmp_path / "run", start=Start(weights="random"), device="cpu")
    assert asked == [{"tf32": False, "benchmark": False}] and in_force() == before
