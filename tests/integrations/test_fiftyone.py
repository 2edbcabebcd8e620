"""FiftyOne's own data sets: segvoc's predictions in them, their labels as labeled images, and the other way round."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import InputError, UsageError
from segvoc.formats.objects import with_objects
from segvoc.imaging.label_maps import UNLABELED
from segvoc.integrations.fiftyone import (
    dataset_of,
    detections_of,
    label_samples,
    labeled_images,
    mask_targets,
    segmentation_of,
)
from tests.formats.drawn_results import WORDS, drawn_result, hard_labels
from tests.training.runs import drawn_images


def samples_of(fiftyone: Any, folder: Path, name: str, **fields: Any) -> Any:
    """A data set of two images with the same labels, and a third without."""
    folder.mkdir(exist_ok=True)
    dataset = fiftyone.Dataset(f"segvoc-test-{name}")
    for number in range(3):
        path = folder / f"{number}.png"
        Image.fromarray(drawn_result(seed=number).image).save(path)
        dataset.add_sample(fiftyone.Sample(filepath=str(path), **(fields if number < 2 else {})))
    return dataset


def test_predictions_are_a_field(fiftyone: Any, tmp_path: Path) -> None:
    dataset = samples_of(fiftyone, tmp_path, "predictions")
    (tmp_path / "1.png").write_bytes(b"no image")
    model, words = segvoc.load("tiny", device="cpu"), ["cat", "stone wall"]
    (problem,) = label_samples(dataset, model, words, "found", threshold=0.01)
    assert isinstance(problem, InputError) and "1.png" in str(problem)
    assert dataset.mask_targets["found"] == {1: "cat", 2: "stone wall"}
    first, damaged, last = dataset
    assert damaged["found"] is None
    for sample in (first, last):
        expected = model.segment(sample.filepath, words, threshold=0.01).labels
        np.testing.assert_array_equal(sample["found"].mask, np.where(expected == UNLABELED, 0, expected + 1))
    assert label_samples(dataset.limit(1), model, words, "objects", kind="detections") == []
    objects = dataset.first()["objects"].detections
    assert all(one.label == "cat" and 0 < one.confidence <= 1 for one in objects)  # a wall is stuff
    assert dataset.last()["objects"] is None


def test_results_come_back_as_they_went(fiftyone: Any, tmp_path: Path) -> None:
    result = with_objects(drawn_result(), ["cat"], least=30)
    assert result.objects is not None
    fields = {"labels": segmentation_of(result), "things": detections_of(result, background="road")}
    dataset = samples_of(fiftyone, tmp_path, "results", **fields)
    dataset.mask_targets = {"labels": mask_targets(WORDS)}
    dataset.save()
    images = labeled_images(dataset, "labels")
    assert images.vocabulary.words == WORDS and images.name == "segvoc-test-results"
    image, labels = pickle.loads(pickle.dumps(images)).read(1)
    np.testing.assert_array_equal(labels, hard_labels())
    np.testing.assert_array_equal(image, drawn_result(seed=1).image)
    with pytest.raises(InputError, match=r"2\.png' has no labels in 'labels'"):
        images.read(2)
    things = labeled_images(dataset, "things", WORDS, background="road")
    stuff = np.isin(hard_labels(), [2, 3])
    crowd = (hard_labels() == 0) & (result.objects == 0)
    expected = np.where(stuff | crowd | (hard_labels() == UNLABELED), 3, hard_labels())
    np.testing.assert_array_equal(things.read(0).labels, expected)
    numbers = things.read_objects(0, (48, 64))
    assert numbers is not None and len(np.unique(numbers[expected == 0])) == result.objects.max()
    # a change of the labels is a change of the image's stamp
    before = images.images[0].stamp()
    sample = dataset.first()
    sample["labels"] = fiftyone.Segmentation(mask=np.ones((48, 64), np.uint8))
    sample.save()
    assert labeled_images(dataset, "labels").images[0].stamp()[1] != before[1]


def test_shapes_files_and_odd_masks(fiftyone: Any, tmp_path: Path) -> None:
    square = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]
    lines = fiftyone.Polylines(polylines=[fiftyone.Polyline(label="tray", points=[square], closed=True, filled=True)])
    stretched = fiftyone.Detection(label="lid", bounding_box=[0.5, 0.5, 0.6, 0.5], mask=np.array([[True, False]]))
    Image.fromarray(np.uint8([[0, 7], [255, 9]]).repeat(24, 0).repeat(32, 1)).save(tmp_path / "mask.png")
    fields = {
        "lines": lines,
        "boxes": fiftyone.Detections(detections=[stretched]),
        "bare": fiftyone.Detections(detections=[fiftyone.Detection(label="lid", bounding_box=[0, 0, 1, 1])]),
        "file": fiftyone.Segmentation(mask_path=str(tmp_path / "mask.png")),
        "kind": fiftyone.Classification(label="lid"),
    }
    dataset = samples_of(fiftyone, tmp_path / "images", "odd", **fields)
    tray = np.full((48, 64), UNLABELED)
    tray[12:36, 16:48] = 0
    np.testing.assert_array_equal(labeled_images(dataset, "lines").read(0).labels, tray)
    lid = np.full((48, 64), 1)
    lid[24:, 32:51] = 0
    read = labeled_images(dataset, "boxes", background="table")
    assert read.vocabulary.words == ("lid", "table") and (read.read(0).labels == lid).mean() > 0.999
    classes = {7: "a", 255: "b", 9: "c"}
    stored = labeled_images(dataset, "file", classes).read(0).labels
    assert [int(stored[row, column]) for row in (0, 40) for column in (0, 40)] == [UNLABELED, 0, 2, 1]
    with pytest.raises(InputError, match="has no mask"):
        labeled_images(dataset, "bare").read(0)
    with pytest.raises(InputError, match="value 9"):
        labeled_images(dataset, "file", {7: "a", 255: "b"}).read(0)
    for field, problem in {"file": "mask_targets", "kind": "Classification", "nothing": "no labels"}.items():
        with pytest.raises(UsageError, match=problem):
            labeled_images(dataset, field)


def test_labeled_images_are_a_data_set_that_is_evaluated(fiftyone: Any, tmp_path: Path) -> None:
    images: LabeledImages = drawn_images(tmp_path, 3)
    (tmp_path / "labels/1.png").unlink()
    dataset = dataset_of(images, "segvoc-test-drawn")
    assert [sample["ground_truth"] is None for sample in dataset] == [False, True, False]
    back = labeled_images(dataset.select([sample.id for sample in dataset if sample["ground_truth"] is not None]))
    assert back.vocabulary == images.vocabulary and len(back) == 2
    for index, number in enumerate((0, 2)):
        for ours, theirs in zip(images.read(number), back.read(index), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    report = segvoc.evaluate(segvoc.load("tiny", device="cpu"), back, tmp_path / "report")
    assert report["data"]["evaluated"] == 2
    # FiftyOne scores the same predictions; pixels without a class are misses there
    model, one = segvoc.load("tiny", device="cpu"), dataset.select([dataset.first().id])
    label_samples(one, model, images.vocabulary)
    results = one.evaluate_segmentations("segvoc", gt_field="ground_truth")
    found = model.segment(dataset.first().filepath, images.vocabulary)
    truth = images.read(0).labels
    known = truth != UNLABELED
    assert results.metrics()["accuracy"] == pytest.approx((found.labels == truth)[known].sum() / truth.size)


def test_without_fiftyone_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fiftyone", None)
    with pytest.raises(UsageError, match="pip install fiftyone"):
        segmentation_of(drawn_result())
