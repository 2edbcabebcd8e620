"""The result of labeling one image: what it reports, shows and writes."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import OutputError
from segvoc.imaging import overlay as legend
from segvoc.imaging.label_maps import UNLABELED, read_label_map
from segvoc.imaging.overlay import class_regions, with_object_borders
from segvoc.imaging.palette import class_colors
from segvoc.imaging.reading import read_image
from segvoc.inference.segmentation import Segmentation


def _segmentation(
    labels: np.ndarray, words: tuple[str, ...], source: str | None = None, level: int = 128
) -> Segmentation:
    height, width = labels.shape
    return Segmentation(
        labels=labels.astype(np.uint16),
        words=words,
        confidence=np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width),
        selected=np.ones(len(words), bool),
        image=np.full((height, width, 3), level, np.uint8),
        model="tiny",
        seconds=0.12345,
        source=source,
    )


def _halves(height: int = 200, width: int = 300) -> np.ndarray:
    """Class 0 on the left, 2 on the right, a corner of unlabeled pixels."""
    labels = np.zeros((height, width), np.uint16)
    labels[:, width // 2 :] = 2
    labels[: height // 10, : width // 10] = UNLABELED
    return labels


def _refuse_constant(name: str) -> float:
    raise AssertionError(f"{name} is no strict JSON")


WORDS = ("cat", "sofa", "wall")


# ---- report


def test_report_is_what_the_contract_says() -> None:
    labels = np.array([[0, 0, 2], [UNLABELED, 2, 2]])
    report = _segmentation(labels, WORDS, "in/photo.jpg").report()
    colors = class_colors(3).tolist()
    assert report == {
        "image": "in/photo.jpg",
        "width": 3,
        "height": 2,
        "model": "tiny",
        "dtype": "float32",
        "classes": [
            {"id": 0, "name": "cat", "color": colors[0], "pixels": 2, "fraction": 0.333333, "mean_confidence": 0.1},
            {"id": 1, "name": "sofa", "color": colors[1], "pixels": 0, "fraction": 0.0, "mean_confidence": None},
            {"id": 2, "name": "wall", "color": colors[2], "pixels": 3, "fraction": 0.5, "mean_confidence": 0.733333},
        ],
        "unlabeled": 1,
        "mean_confidence": 0.48,
        "not_found": ["sofa"],
        "unsure": False,
        "seconds": 0.123,
    }


def test_confidence_that_is_no_number_is_null() -> None:
    result = _segmentation(np.array([[0, 1]]), ("a", "b"))
    result.confidence[0] = np.nan, np.inf
    assert [entry["mean_confidence"] for entry in result.report()["classes"]] == [None, None]


# ---- saved files


def test_three_files_are_written(tmp_path: Path) -> None:
    result = _segmentation(_halves(), WORDS, "in/photo.tar.jpg")
    paths = result.save(tmp_path / "new" / "out")
    assert sorted(os.listdir(tmp_path / "new" / "out")) == ["photo.tar.json", "photo.tar.overlay.png", "photo.tar.png"]
    assert np.array_equal(read_label_map(paths.label_map), result.labels)
    assert read_image(paths.overlay).shape[0] == 200
    assert json.loads(paths.report.read_text("utf-8"), parse_constant=_refuse_constant) == result.report()


@pytest.mark.parametrize("side", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_ten_thousand_words_give_a_16_bit_map(tmp_path: Path, side: int) -> None:
    labels = np.arange(0, 10_000, 10_000 // side**2).reshape(side, side)
    labels[0, 0] = UNLABELED
    result = _segmentation(labels, tuple(f"word {index}" for index in range(10_000)))
    paths = result.save(tmp_path)
    with Image.open(paths.label_map) as image:
        assert np.array_equal(np.array(image), labels)
    assert len(json.loads(paths.report.read_text("utf-8"))["classes"]) == 10_000


def test_full_disk_keeps_earlier_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = _segmentation(_halves(), WORDS, "photo.jpg").save(tmp_path)
    before = [path.read_bytes() for path in paths]

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="free some space"):
        _segmentation(np.ones((5, 4)), WORDS, "photo.jpg").save(tmp_path)
    assert [path.read_bytes() for path in paths] == before
    assert len(os.listdir(tmp_path)) == 3


# ---- overlay


def test_overlay_blends_the_colors_of_the_classes() -> None:
    overlay = np.array(_segmentation(_halves(), WORDS).overlay(legend=False)).astype(int)
    colors = class_colors(3).astype(int)
    assert np.abs(overlay[100, 50] - (colors[0] + 128) / 2).max() <= 1
    assert np.abs(overlay[100, 250] - (colors[2] + 128) / 2).max() <= 1
    # Unlabeled pixels are as they were, and where two regions meet there is a light line.
    assert overlay[5, 5].tolist() == [128] * 3
    assert (overlay[100, 148:152] > 200).all(axis=-1).any()


def test_legend_of_many_classes_stands_beside_the_image_or_below_a_panorama() -> None:
    words = tuple(f"{index} a very long word indeed" for index in range(1000))
    for (height, width), beside in (((500, 600), True), ((200, 600), False)):
        labels = np.arange(height * width).reshape(height, width) * 1000 // (height * width)
        for number, outside in ((6, False), (7, True), (1000, True)):
            listed = _segmentation(labels % number, words[:number]).overlay()
            grown = listed.width > width if beside else listed.height > height
            assert grown == outside or (height, number) == (200, 6)
            assert max(listed.size) < 2 * max(height, width)


def test_objects_have_borders_and_numbers() -> None:
    labels, objects = np.zeros((200, 400)), np.zeros((200, 400), np.uint16)
    objects[:, :200], objects[:, 200:] = 1, 2
    result = replace(_segmentation(labels, ("cat",)), objects=objects)
    drawn, plain = (np.array(one.overlay(legend=False)) for one in (result, replace(result, objects=None)))
    assert (drawn[100, 196:204] > 200).all(axis=-1).any() and not (plain[50, 196:204] > 200).all(axis=-1).any()
    changed = (drawn != plain).any(axis=-1)
    assert changed[:, 50:150].any() and changed[:, 250:350].any()  # "cat 1", "cat 2"
    regions = with_object_borders(class_regions(result.labels, ("cat",), result.colors), ("cat",), objects)
    assert [names for _, *names in regions.objects] == [["cat 1", "1"], ["cat 2", "2"]]


def test_legend_lies_where_no_border_is() -> None:
    labels = np.zeros((400, 400))
    labels[:, ::4] = 1
    labels[:200, 200:] = 0
    result = _segmentation(labels, WORDS)
    plain, listed = (np.array(result.overlay(names=False, legend=legend)) for legend in (False, True))
    changed = (plain != listed).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert rows.max() < 200 <= columns.min()


def _entry(name: str) -> legend.LegendEntry:
    return legend.LegendEntry(region=7, name=name, color=(1, 2, 3), fraction=0.5)


def test_legend_counts_what_does_not_fit() -> None:
    tall = legend.draw_legend([_entry("cat")] * 50, 300, 2000, 20)
    short = legend.draw_legend([_entry("cat")] * 50, 300, 200, 20)
    assert short.height <= 200 < tall.height
    assert legend.draw_legend([_entry("cat")], 300, 20, 20) is None
    assert legend.draw_legend([_entry("catalog")], 60, 300, 20) is None
    assert legend.draw_legend([_entry("cat")] * 50, 300, 200, 20, shorten=False) is None
    wide = legend.draw_legend([_entry("cat")] * 50, 2000, 200, 20, columns=12, shorten=False)
    assert wide.width > 1000


def test_repr_is_one_short_line() -> None:
    result = _segmentation(_halves(), WORDS, source="photo.jpg")
    assert repr(result) == "<Segmentation 'photo.jpg', 300 x 200: wall 50 %, cat 49 %>"
    many = _segmentation(np.arange(12).reshape(3, 4), tuple(f"word {i}" for i in range(12)))
    assert repr(many).endswith("word 4 8 %, 7 more>")
    assert "no label" in repr(_segmentation(np.full((2, 2), UNLABELED), WORDS))
