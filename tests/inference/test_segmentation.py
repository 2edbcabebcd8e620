"""The result of labeling one image: what it reports, shows and writes."""

import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segvoc.errors import OutputError, UsageError
from segvoc.imaging import legend
from segvoc.imaging.fonts import default_font
from segvoc.imaging.label_maps import UNLABELED, read_label_map
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
    assert list(report) == ["image", "width", "height", "model", "dtype", "classes", "unlabeled", "seconds"]
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
        "seconds": 0.123,
    }


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 300), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_pixels_and_unlabeled_add_up(height: int, width: int, classes: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, classes + 1, (height, width))
    labels[labels == classes] = UNLABELED
    report = _segmentation(labels, tuple(map(str, range(classes)))).report()
    assert sum(entry["pixels"] for entry in report["classes"]) + report["unlabeled"] == width * height
    assert [entry["id"] for entry in report["classes"]] == list(range(classes))
    assert all((entry["mean_confidence"] is None) == (entry["pixels"] == 0) for entry in report["classes"])


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
    assert read_image(paths.overlay).shape == (200, 300, 3)
    assert json.loads(paths.report.read_text("utf-8"), parse_constant=_refuse_constant) == result.report()


def test_stem_may_name_sub_folders(tmp_path: Path) -> None:
    paths = _segmentation(_halves(), WORDS).save(tmp_path, stem="sub/photo")
    assert paths.label_map == tmp_path / "sub" / "photo.png"
    assert all(path.is_file() for path in paths)


def test_image_from_memory_has_a_name_too(tmp_path: Path) -> None:
    paths = _segmentation(_halves(), WORDS).save(tmp_path)
    assert paths.report.name == "segmentation.json"
    assert json.loads(paths.report.read_text("utf-8"))["image"] is None


def test_earlier_results_are_replaced(tmp_path: Path) -> None:
    _segmentation(_halves(), WORDS, "photo.jpg").save(tmp_path)
    labels = np.ones((5, 4))
    paths = _segmentation(labels, WORDS, "photo.jpg").save(tmp_path)
    assert np.array_equal(read_label_map(paths.label_map), labels)
    with Image.open(paths.overlay) as overlay:
        assert overlay.width >= 4
    assert json.loads(paths.report.read_text("utf-8"))["width"] == 4
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("side", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_ten_thousand_words_give_a_16_bit_map(tmp_path: Path, side: int) -> None:
    labels = np.arange(0, 10_000, 10_000 // side**2).reshape(side, side)
    labels[0, 0] = UNLABELED
    result = _segmentation(labels, tuple(f"word {index}" for index in range(10_000)))
    paths = result.save(tmp_path)
    with Image.open(paths.label_map) as image:
        assert np.array_equal(np.array(image), labels)
    assert len(json.loads(paths.report.read_text("utf-8"))["classes"]) == 10_000


def test_text_of_any_script_is_written_as_it_is(tmp_path: Path) -> None:
    words = ("кошка", "猫", "قط", '"quoted"\\', "two\nlines", "🐱")
    paths = _segmentation(np.arange(6).reshape(1, 6), words, "фото.jpg").save(tmp_path)
    text = paths.report.read_text("utf-8")
    assert all(word in text for word in ("кошка", "猫", "قط", "🐱", "фото.jpg"))
    assert tuple(entry["name"] for entry in json.loads(text)["classes"]) == words


def test_file_name_that_is_no_unicode_is_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    paths = _segmentation(_halves(), WORDS, name).save(tmp_path, stem="photo")
    assert json.loads(paths.report.read_bytes())["image"] == name


def test_image_is_never_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    Image.new("RGB", (300, 200)).save(source)
    content = source.read_bytes()
    with pytest.raises(UsageError, match=r"photo\.png.*would overwrite"):
        _segmentation(_halves(), WORDS, str(source)).save(tmp_path)
    assert os.listdir(tmp_path) == ["photo.png"]
    assert source.read_bytes() == content


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
    # Unlabeled pixels are darkened, and where two regions meet there is a light line.
    assert np.abs(overlay[5, 5] - 64).max() <= 1
    assert (overlay[100, 148:152] > 200).all(axis=-1).any()


def test_weight_of_the_colors_can_be_chosen() -> None:
    result = _segmentation(np.zeros((4, 4)), ("cat",))
    assert np.array(result.overlay(alpha=1.0))[0, 0].tolist() == class_colors(1)[0].tolist()
    assert np.array(result.overlay(alpha=0.0))[0, 0].tolist() == [128] * 3
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="alpha"):
            result.overlay(alpha=alpha)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_outlines_can_be_seen_on_any_image(level: int) -> None:
    overlay = np.array(_segmentation(_halves(400, 600), WORDS, level=level).overlay(names=False, legend=False))
    across = overlay[200, 290:310].astype(int)
    line = np.flatnonzero((across == 255).all(axis=1))
    assert 1 <= len(line) <= 2
    assert (across[[line[0] - 1, line[-1] + 1]] <= 140).all()


def test_names_are_written_into_the_regions() -> None:
    result = _segmentation(_halves(400, 600), WORDS)
    plain, named = (np.array(result.overlay(names=names, legend=False)) for names in (False, True))
    changed = (plain != named).any(axis=-1)
    rows, columns = np.nonzero(changed[:, :300])
    assert abs(columns.mean() - 150) < 40  # a corner on the left is unlabeled
    assert abs(rows.mean() - 200) < 40
    rows, columns = np.nonzero(changed[:, 300:])
    assert abs(columns.mean() - 150) < 5
    assert abs(rows.mean() - 200) < 5


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 2000), (2000, 1), (3, 5), (99, 99), (150, 101), (101, 150), (400, 640)]
)
def test_overlay_has_the_size_of_the_image_plus_a_legend_outside(height: int, width: int) -> None:
    result = _segmentation(np.arange(height * width).reshape(height, width) % 3, WORDS)
    plain, listed = result.overlay(legend=False), result.overlay()
    assert (plain.size, plain.mode, listed.mode) == ((width, height), "RGB", "RGB")
    if listed.size == plain.size:
        assert height == 400
    else:
        assert np.array_equal(np.array(listed)[:height, :width], np.array(plain))


def _legend_area(result: Segmentation) -> float:
    plain, listed = (np.array(result.overlay(names=False, legend=legend)) for legend in (False, True))
    return float((plain != listed).any(axis=-1).mean())


def test_legend_shows_the_classes_that_are_there() -> None:
    result = _segmentation(_halves(400, 600), WORDS)
    listed = np.array(result.overlay())
    colors = class_colors(3).tolist()

    def swatch(color: list[int]) -> bool:
        return bool((listed == color).all(axis=-1).any())

    assert swatch(colors[0])
    assert not swatch(colors[1])
    assert swatch(colors[2])
    assert 0.01 < _legend_area(result) < 0.2


@pytest.mark.parametrize(
    ("height", "width"), [(60, 60), (60, 90), (40, 3000), (3000, 40), (200, 200), (240, 320), (800, 12_000), (1, 1)]
)
def test_legend_shows_every_class_at_any_size(height: int, width: int) -> None:
    labels = np.arange(height * width).reshape(height, width) * 3 // (height * width)
    listed = np.array(_segmentation(labels, WORDS).overlay())
    shown = np.unique(labels)
    swatches = [(listed == color).all(axis=-1).sum() for color in class_colors(3)[shown]]
    assert min(swatches) >= 36  # six pixels square


def test_legend_inside_covers_little_of_any_image() -> None:
    for height, width in ((300, 300), (200, 330), (400, 600), (480, 640), (1500, 2000)):
        labels = np.zeros((height, width))
        labels[:, width // 2 :] = 1
        result = _segmentation(labels, WORDS)
        if result.overlay().size == (width, height):
            assert 0.005 < _legend_area(result) < 0.25


def test_legend_hides_little_even_with_many_long_words() -> None:
    words = tuple(f"{index} " + "a very long word indeed " * 20 for index in range(1000))
    labels = np.repeat(np.arange(1000), 300).reshape(500, 600)
    assert 0.05 < _legend_area(_segmentation(labels, words)) < 0.3


def test_legend_lies_where_no_border_is() -> None:
    labels = np.zeros((400, 400))
    labels[:, ::4] = 1
    labels[:200, 200:] = 0
    result = _segmentation(labels, WORDS)
    plain, listed = (np.array(result.overlay(names=False, legend=legend)) for legend in (False, True))
    changed = (plain != listed).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert rows.max() < 200 <= columns.min()


@pytest.mark.parametrize(
    "word", ["猫", "กข", "e\u0301", "قطة", "🐱", "\u200d", "\x00\n\t", "", " ", "\ud800", "a" * 100_000]
)
def test_any_word_can_be_drawn(word: str) -> None:
    result = _segmentation(np.zeros((400, 400)), (word,))
    assert _legend_area(result) > 0.005


def _entry(name: str) -> legend.LegendEntry:
    return legend.LegendEntry(region=7, name=name, color=(1, 2, 3), fraction=0.5)


def test_long_words_end_in_an_ellipsis() -> None:
    font = default_font(20)
    text = legend._shortened("a photograph of a cat on a sofa", font, 100)
    assert re.fullmatch(r"a phot.*…", text)
    assert font.getlength(text) <= 100
    assert legend._shortened("cat", font, 100) == "cat"


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
