"""The result of labeling parts: what it reports, shows and writes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.imaging.label_maps import UNLABELED, read_label_map
from segvoc.imaging.overlay import class_regions, with_parts
from segvoc.imaging.palette import class_colors
from segvoc.inference.segmentation import Segmentation
from segvoc.vocabulary import PartVocabulary

WORDS = ("wall", "cat", "dog")
PARTS = PartVocabulary.parse("cat: head, tail; dog: head; *: edge")


def _result(
    labels: np.ndarray, part_labels: np.ndarray | None, parts: PartVocabulary = PARTS, source: str | None = "photo.jpg"
) -> Segmentation:
    height, width = labels.shape
    given = part_labels is not None
    return Segmentation(
        labels=labels.astype(np.uint16),
        words=WORDS,
        confidence=np.full((height, width), 0.75, np.float32),
        selected=np.ones(len(WORDS), bool),
        image=np.full((height, width, 3), 128, np.uint8),
        model="tiny",
        seconds=0.5,
        source=source,
        parts=parts.parts if given else (),
        part_labels=part_labels.astype(np.uint16) if part_labels is not None else None,
        part_confidence=np.full((height, width), 0.25, np.float32) if given else None,
    )


def _small(parts: bool = True) -> Segmentation:
    labels = np.array([[0, 1, 1], [1, 2, UNLABELED]])
    part_labels = np.array([[3, 0, 0], [UNLABELED, 3, UNLABELED]])
    return _result(labels, part_labels if parts else None)


# ---- report


def test_report_lists_every_part_that_was_asked_for() -> None:
    report = _small().report()
    none = {"pixels": 0, "fraction": 0.0, "mean_confidence": None}
    two = {"pixels": 2, "fraction": 0.333333, "mean_confidence": 0.25}
    assert report["parts"] == [
        {"id": 0, "object": "cat", "part": "head", "name": "cat's head", **two},
        {"id": 1, "object": "cat", "part": "tail", "name": "cat's tail", **none},
        {"id": 2, "object": "dog", "part": "head", "name": "dog's head", **none},
        {"id": 3, "object": None, "part": "edge", "name": "edge", **two},
    ]
    assert list(report["parts"][0]) == ["id", "object", "part", "name", "pixels", "fraction", "mean_confidence"]
    assert (report["unlabeled"], [entry["pixels"] for entry in report["classes"]]) == (1, [1, 3, 1])
    assert "parts" not in _small(parts=False).report()


# ---- files


def test_map_of_parts_stands_beside_the_others(tmp_path: Path) -> None:
    result = _small()
    paths = result.save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["photo.json", "photo.overlay.png", "photo.parts.png", "photo.png"]
    assert np.array_equal(read_label_map(paths.part_map), result.part_labels)
    assert np.array_equal(read_label_map(paths.label_map), result.labels)
    with Image.open(paths.part_map) as image:
        assert image.mode == "P"
        assert np.array(image)[1, 2] == 255
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    assert np.array_equal(palette[:4], result.part_colors)
    assert palette[255].tolist() == [0, 0, 0]
    text = paths.report.read_text("utf-8")
    assert json.loads(text) == result.report()
    assert sum('"object"' in line for line in text.splitlines()) == 4  # a part a line


def test_map_of_an_earlier_run_goes_where_no_parts_are_asked_for(tmp_path: Path) -> None:
    _small().save(tmp_path)
    paths = _small(parts=False).save(tmp_path)
    assert paths.part_map is None
    assert sorted(os.listdir(tmp_path)) == ["photo.json", "photo.overlay.png", "photo.png"]
    _small().save(tmp_path)
    assert len(os.listdir(tmp_path)) == 4


@pytest.mark.parametrize("report", ["", "[]", '{"classes": []}', "\udcff", "[" * 100_000])
def test_file_of_others_is_left_alone(tmp_path: Path, report: str) -> None:
    (tmp_path / "photo.parts.png").write_bytes(b"an image of mine")
    (tmp_path / "photo.json").write_bytes(report.encode("utf-8", "surrogateescape"))
    _small(parts=False).save(tmp_path)
    assert (tmp_path / "photo.parts.png").read_bytes() == b"an image of mine"


# ---- overlay and colors


def _quarters() -> Segmentation:
    """A wall above, a cat below whose left half is its head; a fifth of the wall is an edge."""
    labels, part_labels = np.zeros((300, 400)), np.full((300, 400), UNLABELED)
    labels[150:] = 1
    part_labels[150:, :200] = 0
    part_labels[:30] = 3
    return _result(labels, part_labels)


def test_overlay_draws_both() -> None:
    overlay = np.array(_quarters().overlay(legend=False, alpha=1.0)).astype(int)
    cat, head, wall, edge = overlay[200, 300], overlay[200, 100], overlay[100, 100], overlay[10, 100]
    assert wall.tolist() == class_colors(3)[0].tolist()
    assert cat.tolist() == class_colors(3)[1].tolist()
    assert head.tolist() == _quarters().part_colors[0].tolist()
    for shade, of in ((head, cat), (edge, wall)):
        assert np.abs(shade - of).max() > 25  # to be told from its object
        assert shade.argmax() == of.argmax()  # and still of its color
    assert (overlay[200, 198:203] > 200).all(axis=-1).any()  # a border between a part and the rest of its object


def test_legend_lists_parts_below_their_object() -> None:
    result = _quarters()
    result.part_labels[150:, :50] = 1
    result.labels[:5] = UNLABELED
    result.part_labels[:5] = UNLABELED
    regions = with_parts(class_regions(result.labels, WORDS, result.colors), WORDS, result.part_labels, result.parts)
    listed = [(entry.name, entry.of_part, round(entry.fraction, 3)) for entry in regions.entries]
    assert listed == [
        ("cat", False, 0.5),
        ("head", True, 0.188),
        ("tail", True, 0.062),
        ("wall", False, 0.483),
        ("edge", True, 0.083),
        ("unlabeled", False, 0.017),
    ]
    overlay, plain = np.array(result.overlay()), np.array(result.overlay(legend=False))
    for entry in regions.entries:
        assert (overlay == entry.color).all(axis=-1).any()
    assert 0.01 < (overlay != plain).any(axis=-1).mean() < 0.3
