"""`segvoc.pipeline` has the keys and types of transformers' image segmentation."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.errors import UsageError
from tests.images import made_photograph, one_line_error
from tests.inference.small_network import small_segmenter

WORDS = ["grass", "cat", "wall"]


def test_an_image_a_list_and_an_iterator(tmp_path: Path):
    model = small_segmenter()
    segmenter = segvoc.pipeline("image-segmentation", model=model, batch_size=2)
    photo = made_photograph()
    Image.fromarray(photo).save(tmp_path / "a photo.png")
    segments = segmenter(photo, candidate_labels=WORDS)
    result = model.segment(photo, WORDS)
    assert model.batch == 2 and segmenter.task == "image-segmentation"
    assert [one["label"] for one in segments] == [word for i, word in enumerate(WORDS) if (result.labels == i).any()]
    for one in segments:
        assert set(one) == {"score", "label", "mask"} and type(one["score"]) is float and type(one["label"]) is str
        inside = result.labels == WORDS.index(one["label"])
        assert one["mask"].mode == "L" and np.array_equal(np.asarray(one["mask"]), inside * np.uint8(255))
        assert one["score"] == pytest.approx(float(result.confidence[inside].mean()))
    address = (tmp_path / "a photo.png").as_uri()
    given = [str(tmp_path / "a photo.png"), address, Image.fromarray(photo)]
    several, streamed = segmenter(given, "grass, cat,wall"), segmenter(iter(given), WORDS)
    assert not isinstance(streamed, list)
    for found in (*several, *streamed):
        assert [one["label"] for one in found] == [one["label"] for one in segments]
        # products round otherwise where two images go through the network together
        assert [one["score"] for one in found] == pytest.approx([one["score"] for one in segments])


def test_thresholds_background_and_subtasks(monkeypatch):
    model = small_segmenter()
    labels = np.zeros((6, 8), np.uint16)
    labels[:, 5:], labels[1:3, 1:3], labels[4:, 1:3] = 2, 1, 1
    confidence = np.where(labels == 1, 0.9, 0.4).astype(np.float32)

    def segment_many(images, words, *, options):
        assert options.background in (None, "wall") and options.threshold in (None, 0.3)
        for _ in images:
            yield segvoc.Segmentation(
                labels=labels,
                words=tuple(words),
                confidence=confidence,
                selected=np.ones(3, bool),
                image=np.zeros((6, 8, 3), np.uint8),
                model="drawn",
                seconds=0.0,
            )

    monkeypatch.setattr(model, "segment_many", segment_many)
    monkeypatch.setattr("segvoc.formats.objects.LEAST_PIXELS", 2)
    segmenter = segvoc.pipeline(model=model)

    def found(**options):
        return [(one["label"], int((np.asarray(one["mask"]) > 0).sum())) for one in segmenter("x", WORDS, **options)]

    assert found() == [("grass", 22), ("cat", 8), ("wall", 18)]
    assert found(threshold=0.5) == [("cat", 8)]
    assert found(background="wall", mask_threshold=0.3) == [("grass", 22), ("cat", 8)]
    assert found(subtask="instance") == [("cat", 4), ("cat", 4)]
    assert found(subtask="panoptic") == [("grass", 22), ("cat", 4), ("cat", 4), ("wall", 18)]
    model.known_words, model.known_background = ("grass", "cat", "wall"), "wall"
    assert [one["label"] for one in segmenter("x")] == ["grass", "cat"]


def test_wrong_calls_are_told():
    segmenter = segvoc.pipeline(model=small_segmenter())
    with one_line_error(UsageError, "task 'depth-estimation' is unknown", "image-segmentation"):
        segvoc.pipeline("depth-estimation")
    with one_line_error(UsageError, "no words are given", "candidate_labels="):
        segmenter(made_photograph())
    with one_line_error(UsageError, "subtask 'things' is unknown"):
        segmenter(made_photograph(), WORDS, subtask="things")  # type: ignore[call-overload]
    with one_line_error(UsageError, "option 'overlap_mask_area_threshold' is unknown", "mask_threshold"):
        segmenter(made_photograph(), WORDS, overlap_mask_area_threshold=0.5)  # type: ignore[call-overload]
    with one_line_error(UsageError, "batch_size=0"):
        segvoc.pipeline(model=small_segmenter(), batch_size=0)
