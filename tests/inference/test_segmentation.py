"""Results of one image or a list: what they report, show, list and write, and other programs' types."""

import base64
import io
import json
import os
import sys
import warnings
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageShow
from pycocotools import mask as coco
from pycocotools.coco import COCO

import segvoc
from segvoc.errors import UsageError
from segvoc.imaging import legend
from segvoc.imaging.label_maps import UNLABELED, read_label_map
from segvoc.imaging.overlay import SAVED_OVERLAY, class_regions, with_object_borders, with_parts
from segvoc.imaging.palette import class_colors
from segvoc.imaging.reading import read_image
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.objects import with_objects
from segvoc.inference.segmentation import Segmentation, Segmentations
from segvoc.models.shipped import open_tiny
from segvoc.runtime import progress
from segvoc.vocabulary import PartVocabulary
from tests.cli.command import SAMPLES
from tests.inference.numpy_engine import NumpySegmenter
from tests.labeling.formats.drawn_results import WORDS as DRAWN_WORDS
from tests.labeling.formats.drawn_results import drawn_result, hard_labels, outline_differences

PART_WORDS = ("wall", "cat", "dog")
PARTS = PartVocabulary("cat: head, tail; dog: head; *: edge")


def _segmentation(labels: np.ndarray, words: tuple[str, ...], source=None, part_labels=None) -> Segmentation:
    changes: dict[str, Any] = {
        "confidence": np.linspace(0, 1, labels.size, dtype=np.float32).reshape(labels.shape),
        "image": np.full((*labels.shape, 3), 128, np.uint8),
        "seconds": 0.12345,
        "source": source,
    }
    if part_labels is not None:
        changes |= {"parts": PARTS.parts, "part_labels": part_labels.astype(np.uint16)}
        changes["part_confidence"] = np.full(labels.shape, 0.25, np.float32)
    return replace(drawn_result(labels.astype(np.uint16), words), **changes)


def _halves(height: int = 200, width: int = 300) -> np.ndarray:
    """Class 0 on the left, 2 on the right, a corner of unlabeled pixels."""
    labels = np.zeros((height, width), np.uint16)
    labels[:, width // 2 :] = 2
    labels[: height // 10, : width // 10] = UNLABELED
    return labels


WORDS = ("cat", "sofa", "wall")


def test_report_is_what_the_contract_says_and_confidence_that_is_no_number_is_null() -> None:
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
            {"id": 0, "name": "cat", "color": colors[0], "pixels": 2, "fraction": 0.333333, "confidence": 0.1},
            {"id": 1, "name": "sofa", "color": colors[1], "pixels": 0, "fraction": 0.0, "confidence": None},
            {"id": 2, "name": "wall", "color": colors[2], "pixels": 3, "fraction": 0.5, "confidence": 0.733333},
        ],
        "unlabeled": 1,
        "quality": None,
        "not_found": ["sofa"],
        "unsure": False,
        "seconds": 0.123,
        "hints": [],
    }
    result = _segmentation(np.array([[0, 1]]), ("a", "b"))
    result.confidence[0] = np.nan, np.inf
    assert [entry["confidence"] for entry in result.report()["classes"]] == [None, None]


def test_it_is_unsure_where_its_report_is() -> None:
    plain = _segmentation(np.array([[0, 0, 2], [UNLABELED, 2, 2]]), WORDS)
    for background, below in product((None, "Wall", "other"), (None, 0.09, 0.11, 0.47, 0.49)):
        result = replace(plain, background=background, unsure_below=below)
        assert result.unsure == result.report()["unsure"], (background, below)


def test_boxes_polygons_and_crops_are_of_each_component() -> None:
    labels = np.full((6, 9), UNLABELED)
    labels[1:3, 2:5], labels[4, 7], labels[5, 0], labels[5, 8] = 0, 0, 2, 2  # two cats, and a wall in two pieces
    result = _segmentation(labels, WORDS)
    places = [box[:5] for box in result.boxes()]
    assert places == [("cat", 2, 1, 5, 3), ("cat", 7, 4, 8, 5), ("wall", 0, 5, 9, 6)]
    assert result.boxes(" Cat ") == result.boxes("Cat") == result.boxes()[:2] and result.boxes("sofa") == []
    assert len(result.polygons(" cat ")) == 2 and result.crop(" cat ", 2).size == (1, 1)
    assert result.boxes()[1].confidence == result.confidence[4, 7]
    assert [one.word for one in result.polygons()] == ["cat", "cat", "wall", "wall"]
    assert (result.polygons("cat")[0].points.min(axis=0) == [2, 1]).all()
    crop = np.asarray(result.crop("cat"))
    assert crop.shape == (4, 6, 4)
    np.testing.assert_array_equal(crop[..., 3] == 255, labels[1:5, 2:8] == 0)
    np.testing.assert_array_equal(crop[..., :3], result.image[1:5, 2:8])
    np.testing.assert_array_equal(result["wall"], result.mask("wall"))
    with pytest.raises(UsageError, match="'sofa' has no pixels"):
        result.crop("sofa")
    for ask in (result.boxes, result.polygons, result.crop):
        with pytest.raises(UsageError, match="'dog' isn't among"):
            ask("dog")
    parts = _segmentation(np.ones((2, 2)), PART_WORDS, part_labels=np.zeros((2, 2)))
    with pytest.raises(UsageError, match='"cat\'s head" is a part'):
        parts.boxes("cat's head")


def test_the_table_is_the_report_and_a_result_has_no_places() -> None:
    """tests/test_natural_names.py has the names of other libraries."""
    result = _segmentation(np.array([[0, 0, 2]]), WORDS)
    with pytest.raises(TypeError, match="a result isn't a list"):
        result[0]
    pandas = pytest.importorskip("pandas")
    table = result.to_dataframe()
    assert isinstance(table, pandas.DataFrame) and table["name"].tolist() == list(WORDS)
    assert table["pixels"].tolist() == [2, 0, 1]


def test_a_name_that_ends_with_png_is_the_label_maps(tmp_path: Path) -> None:
    result = _segmentation(_halves(20, 30), WORDS, "photo.jpg")
    paths = result.save(tmp_path / "x.png")
    assert paths.label_map == tmp_path / "x.png" and (tmp_path / "x.json").is_file()
    np.testing.assert_array_equal(read_label_map(paths.label_map), result.labels)
    (tmp_path / "folder.png").mkdir()
    assert result.save(tmp_path / "folder.png").label_map == tmp_path / "folder.png" / "photo.png"
    with pytest.raises(UsageError, match="label maps are PNGs"):
        result.save(tmp_path / "x.jpg")


def test_overlay_blends_the_colors_of_the_classes() -> None:
    overlay = np.array(_segmentation(_halves(), WORDS).overlay(legend=False)).astype(int)
    colors = class_colors(3).astype(int)
    assert np.abs(overlay[100, 50] - (colors[0] + 128) / 2).max() <= 1
    assert np.abs(overlay[100, 250] - (colors[2] + 128) / 2).max() <= 1
    # Unlabeled pixels are as they were, and where two regions meet there is a light line.
    assert overlay[5, 5].tolist() == [128] * 3
    assert (overlay[100, 148:152] > 200).all(axis=-1).any()


def test_legend_of_many_classes_stands_beside_the_image_or_below_a_panorama() -> None:
    words = tuple(f"{index} long word" for index in range(200))
    for (height, width), beside in (((500, 600), True), ((200, 600), False)):
        labels = np.arange(height * width).reshape(height, width) * 200 // (height * width)
        for number, outside in ((6, False), (7, True), (200, True)):
            listed = _segmentation(labels % number, words[:number]).overlay()
            grown = listed.width > width if beside else listed.height > height
            assert grown == outside or (height, number) == (200, 6)
            assert max(listed.size) < 2 * max(height, width)


def test_objects_have_borders_and_numbers() -> None:
    labels, objects = np.zeros((200, 400)), np.zeros((200, 400), np.uint16)
    objects[:, :200], objects[:, 200:] = 1, 2
    result = replace(_segmentation(labels, ("cat",)), object_map=objects)
    drawn, plain = (np.array(one.overlay(legend=False)) for one in (result, replace(result, object_map=None)))
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


def test_legend_counts_what_does_not_fit() -> None:
    draw, cat = legend.draw_legend, legend.LegendEntry(region=7, name="cat", color=(1, 2, 3), fraction=0.5)
    tall, short = draw([cat] * 50, 300, 2000, 20), draw([cat] * 50, 300, 200, 20)
    assert short.height <= 200 < tall.height
    assert draw([cat], 300, 20, 20) is None
    assert draw([replace(cat, name="catalog")], 60, 300, 20) is None
    assert draw([cat] * 50, 300, 200, 20, shorten=False) is None
    assert draw([cat] * 50, 2000, 200, 20, columns=12, shorten=False).width > 1000
    assert [legend.share_text(share) for share in (0, 0.004, 0.996)] == ["0%", "<1%", "100%"]
    plain, noted = (draw([cat], 264, 300, 11, notes=["not found" + more]) for more in ("", ": " + "cat, " * 20))
    assert noted.height > plain.height and noted.width <= 264


def test_repr_is_one_short_line() -> None:
    result = _segmentation(_halves(), WORDS, source="photo.jpg")
    shares = "wall 50%, cat 49%, 1% unlabeled"
    assert repr(result) == f"<Segmentation 'photo.jpg', 300 x 200: {shares}; mean confidence 0.50; not found: sofa>"
    many = _segmentation(np.arange(12).reshape(3, 4), tuple(f"word {i}" for i in range(12)))
    assert repr(many).endswith("word 4 8%, 7 more; mean confidence 0.50>")
    assert "100% unlabeled" in repr(_segmentation(np.full((2, 2), UNLABELED), WORDS))


def _small(parts: bool = True) -> Segmentation:
    labels = np.array([[0, 1, 1], [1, 2, UNLABELED]])
    part_labels = np.array([[3, 0, 0], [UNLABELED, 3, UNLABELED]])
    return _segmentation(labels, PART_WORDS, "photo.jpg", part_labels if parts else None)


def test_report_lists_every_part_that_was_asked_for() -> None:
    report = _small().report()
    none = {"pixels": 0, "fraction": 0.0, "confidence": None}
    two = {"pixels": 2, "fraction": 0.333333, "confidence": 0.25}
    assert report["parts"] == [
        {"id": 0, "object": "cat", "part": "head", "name": "cat's head", **two},
        {"id": 1, "object": "cat", "part": "tail", "name": "cat's tail", **none},
        {"id": 2, "object": "dog", "part": "head", "name": "dog's head", **none},
        {"id": 3, "object": None, "part": "edge", "name": "edge", **two},
    ]
    assert (report["unlabeled"], [entry["pixels"] for entry in report["classes"]]) == (1, [1, 3, 1])
    assert "parts" not in _small(parts=False).report()


def test_map_of_parts_stands_beside_the_others_until_no_parts_are_asked_for(tmp_path: Path) -> None:
    result, out = _small(), tmp_path / "new" / "out"
    paths = result.save(out)
    assert sorted(os.listdir(out)) == ["photo.json", "photo.overlay.png", "photo.parts.png", "photo.png"]
    assert np.array_equal(read_label_map(paths.part_map), result.part_labels)
    assert np.array_equal(read_label_map(paths.label_map), result.labels)
    assert read_image(paths.overlay).ndim == 3
    with Image.open(paths.part_map) as image:
        assert image.mode == "P" and np.array(image)[1, 2] == 255
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    assert np.array_equal(palette[:4], result.part_colors) and palette[255].tolist() == [0, 0, 0]
    text = paths.report.read_text("utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == result.report()
    assert sum('"object"' in line for line in text.splitlines()) == 4  # a part a line
    assert _small(parts=False).save(out).part_map is None
    assert sorted(os.listdir(out)) == ["photo.json", "photo.overlay.png", "photo.png"]
    assert replace(result, source="in/photo.tar.jpg").save(out).label_map == out / "photo.tar.png"


@pytest.mark.parametrize("report", ["", "[]", '{"classes": []}', "\udcff", "[" * 100_000])
def test_file_of_others_is_left_alone(tmp_path: Path, report: str) -> None:
    (tmp_path / "photo.parts.png").write_bytes(b"an image of mine")
    (tmp_path / "photo.json").write_bytes(report.encode("utf-8", "surrogateescape"))
    _small(parts=False).save(tmp_path)
    assert (tmp_path / "photo.parts.png").read_bytes() == b"an image of mine"


def _quarters() -> Segmentation:
    """A wall above, a cat below whose left half is its head; a fifth of the wall is an edge."""
    labels, part_labels = np.zeros((300, 400)), np.full((300, 400), UNLABELED)
    labels[150:] = 1
    part_labels[150:, :200] = 0
    part_labels[:30] = 3
    return _segmentation(labels, PART_WORDS, part_labels=part_labels)


def test_overlay_draws_both() -> None:
    overlay = np.array(_quarters().overlay(legend=False, alpha=1.0)).astype(int)
    cat, head, wall, edge = overlay[200, 300], overlay[200, 100], overlay[100, 100], overlay[10, 100]
    assert wall.tolist() == class_colors(3)[0].tolist()
    assert cat.tolist() == class_colors(3)[1].tolist()
    assert head.tolist() == _quarters().part_colors[0].tolist()
    for shade, of in ((head, cat), (edge, wall)):
        assert np.abs(shade - of).max() > 25  # distinguishable from its object
        assert shade.argmax() == of.argmax()  # and still of its color
    assert (overlay[200, 198:203] > 200).all(axis=-1).any()  # a border between a part and the rest of its object


def test_legend_lists_parts_below_their_object() -> None:
    result = _quarters()
    result.part_labels[150:, :50] = 1
    result.labels[:5] = UNLABELED
    result.part_labels[:5] = UNLABELED
    regions = with_parts(
        class_regions(result.labels, PART_WORDS, result.colors), PART_WORDS, result.part_labels, result.parts
    )
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


def test_supervision_gets_words_or_their_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings(action="ignore"):  # it says that OpenCV isn't there, where that is so
        import supervision
    ramp = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    result = replace(drawn_result(), confidence=ramp)
    found = result.to_supervision()
    assert isinstance(found, supervision.Detections) and found.class_id is not None and found.mask is not None
    assert found.data["class_name"].tolist() == [DRAWN_WORDS[index] for index in found.class_id]
    assert sorted(found.class_id) == list(range(len(DRAWN_WORDS)))
    for index, (box, mask, confidence, label, _, _) in enumerate(found):
        assert confidence == pytest.approx(ramp[hard_labels() == label].mean())
        np.testing.assert_array_equal(found.mask[index], hard_labels() == label)
        np.testing.assert_array_equal(box, supervision.mask_to_xyxy(mask[None])[0] + [0, 0, 1, 1])
    counted = with_objects(result, ["cat"], least=30)
    assert counted.object_map is not None
    several = counted.to_supervision()
    cats = several[several.class_id == 0]
    assert len(cats) == counted.object_map.max() and len(several) == len(cats) + len(DRAWN_WORDS) - 1
    np.testing.assert_array_equal(np.any(np.asarray(cats.mask), axis=0), counted.object_map > 0)
    tracked = replace(counted, is_tracked=True).to_supervision()
    assert tracked.tracker_id is not None and tracked.tracker_id.tolist() == list(range(1, len(cats) + 1))
    shown = supervision.MaskAnnotator().annotate(result.image.copy(), several)
    assert (shown != result.image).any()
    nothing = drawn_result(np.full((4, 5), UNLABELED, np.uint16)).to_supervision()
    assert nothing.is_empty() and nothing["class_name"].shape == (0,)
    monkeypatch.setitem(sys.modules, "supervision", None)  # as where it isn't installed
    with pytest.raises(UsageError, match="pip install supervision"):
        result.to_supervision()


@pytest.mark.parametrize(("masks", "of_call", "background"), [("rle", "road", None), ("polygons", None, "road")])
def test_pycocotools_takes_a_result_as_data_set_and_as_predictions(masks, of_call, background, tmp_path):
    result = replace(with_objects(drawn_result(), ["cat"], least=30), background=of_call)
    content = result.to_coco(masks=masks, background=background, image_id=7)
    (tmp_path / "coco.json").write_text(json.dumps(content), encoding="utf-8")
    coco = COCO(tmp_path / "coco.json")
    labels = np.full((48, 64), UNLABELED, np.uint16)
    for entry in sorted(coco.loadAnns(coco.getAnnIds(imgIds=[7])), key=lambda entry: -entry["area"]):
        assert entry["score"] == 0.5
        labels[coco.annToMask(entry).astype(bool)] = entry["category_id"] - 1
    assert outline_differences(hard_labels(), labels)[1] == 0
    if masks == "rle":
        np.testing.assert_array_equal(labels, hard_labels())
    assert {one["name"] for one in coco.cats.values() if not one["isthing"]} == {"stone wall", "road"}
    crowds = [one for one in content["annotations"] if one["iscrowd"]]
    assert [one["category_id"] for one in crowds] == [1] and isinstance(crowds[0]["segmentation"], dict)
    assert len(coco.loadRes([one for one in content["annotations"] if not one["iscrowd"]]).anns) > 5


def test_labelme_gets_a_file_beside_the_image_or_the_image_in_it(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    photo = tmp_path / "photos" / "ü.png"
    result = replace(drawn_result(), source=str(photo))
    Image.fromarray(result.image).save(photo)
    assert result.to_labelme()["imagePath"] == "ü.png"
    result.to_labelme(tmp_path / "ü.json")
    content = json.loads((tmp_path / "ü.json").read_text(encoding="utf-8"))
    assert content["imagePath"] == "photos/ü.png" and content["imageData"] is None
    assert {shape["label"] for shape in content["shapes"]} == set(DRAWN_WORDS)
    embedded = drawn_result().to_labelme()["imageData"]
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(base64.b64decode(embedded)))), drawn_result().image)
    before = photo.read_bytes()
    with pytest.raises(UsageError, match="image itself"):
        result.to_labelme(photo)
    assert photo.read_bytes() == before


THINGS = ("dog", "cat", "stone wall")


def test_objects_are_listed_with_masks_and_cut_out_by_number() -> None:
    labels = np.full((20, 30), UNLABELED, np.uint16)
    labels[2:8, 3:9], labels[10:18, 12:20], labels[0], labels[19] = 0, 0, 2, 2
    result = drawn_result(labels, THINGS)
    dogs, wall = [("dog", (3, 2, 9, 8), 36), ("dog", (12, 10, 20, 18), 64)], ("stone wall", (0, 0, 30, 20), 60)
    # by default, the components
    for shown, expected, inside in (
        (result, [*dogs, wall], labels != UNLABELED),
        (with_objects(result), dogs, labels == 0),
    ):
        assert [(one.word, one.box, one.area) for one in shown.objects] == expected
        assert {one.score for one in shown.objects} == {0.5}
        np.testing.assert_array_equal(sum(coco.decode(one.mask) for one in shown.objects), inside)
        table = shown.to_dataframe(objects=True)
        assert table.columns.tolist() == ["word", "x0", "y0", "x1", "y1", "score", "area"]
        assert table.iloc[1].tolist() == ["dog", 12, 10, 20, 18, 0.5, 64]
    cut = result.crop("dog", 2)
    assert cut.size == (8, 8) and result.crop("dog").size == (17, 16)
    for wrong in (0, 3):
        with pytest.raises(UsageError, match="'dog' has 2 objects"):
            result.crop("dog", wrong)


def test_what_is_listed_is_what_is_counted() -> None:
    """Surfaces and specks that are far from all objects are neither."""
    labels = np.full((200, 300), 2, np.uint16)
    labels[2:28, 3:29], labels[100, 200], labels[150, 150] = 0, 0, 1
    result = with_objects(drawn_result(labels, THINGS), least=30)
    assert result.object_counts == (1, 0, 0) and [one.word for one in result.objects] == ["dog"]
    assert len(result.to_dataframe(objects=True)) == 1
    assert [box.word for box in result.boxes("stone wall")] == ["stone wall"]
    numbered = with_objects(result, ["stone wall"])
    assert numbered.object_counts == (0, 0, 1) and [one.word for one in numbered.objects] == ["stone wall"]


def test_they_are_an_option_of_every_call() -> None:
    model, image = NumpySegmenter(), drawn_result().image
    plain = model.segment(image, THINGS)
    for options in ({}, {"tile": 32}):
        whole = model.segment(image, THINGS, **options)
        counted = model.segment(image, THINGS, objects=True, **options)
        np.testing.assert_array_equal(counted.labels, whole.labels)
        np.testing.assert_array_equal(counted.object_map, with_objects(whole).object_map)
    assert plain.object_map is None
    small = model.segment(image, THINGS, objects=True, least_object=5)
    np.testing.assert_array_equal(small.object_map, with_objects(plain, least=5).object_map)
    options = {"objects": "split"}, {"least_object": 5}, {"objects": True, "least_object": 0}
    for wrong, said in zip(options, ("true or false, not 'split'", "add objects", "1 or more"), strict=True):
        with pytest.raises(UsageError, match=said):
            LabelOptions(**wrong)


@pytest.fixture(scope="module")
def coffee() -> segvoc.Segmentation:
    return open_tiny().segment(SAMPLES / "coffee.jpg", ["cup", "floor, ground"])


def test_result_shows_itself_and_gives_masks(coffee: segvoc.Segmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert np.array_equal(coffee.mask("CUP"), coffee.labels == 0) and coffee.mask("cup").any()
    with pytest.raises(UsageError, match=r"'cupp' isn't among this result's words \(did you mean cup\?\)"):
        coffee.mask("cupp")
    with pytest.raises(UsageError, match="'Ground' is a synonym in the word 'floor, ground'; give the whole word"):
        coffee.mask("Ground")
    assert np.array_equal(coffee.mask("floor, ground"), coffee.labels == 1)
    shown: list[Image.Image] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("PIL.ImageShow.show", lambda image, title: not shown.append(image))
    coffee.show()
    assert shown[0].width >= coffee.width


def test_results_stay_in_their_folder(coffee: segvoc.Segmentation, tmp_path: Path) -> None:
    for stem in ("../y", "/tmp/y", "a/../../y", "", ".."):
        with pytest.raises(UsageError, match=r"leads out of .*; give a name like 'sub/photo'"):
            coffee.save(tmp_path / "out", stem)
    assert not list(tmp_path.iterdir())
    assert coffee.save(tmp_path / "out", "sub/y").label_map == tmp_path / "out/sub/y.png"


def test_an_overlay_without_a_display_is_saved_and_no_viewer_starts(coffee, tmp_path, monkeypatch, capfd):
    started, viewer = tmp_path / "started", tmp_path / "bin/xdg-open"  # as any desktop has it
    viewer.parent.mkdir()
    viewer.write_text(f"#!/bin/sh\ntouch {started}\n")
    viewer.chmod(0o755)
    monkeypatch.setenv("PATH", str(viewer.parent), prepend=os.pathsep)
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("PIL.ImageShow.show", lambda image, title: ImageShow.XDGViewer().show(image, title=title))
    coffee.show()
    (saved,) = tmp_path.glob("segvoc-*.overlay.png")
    assert capfd.readouterr() == ("", f"segvoc: there is no display; the overlay was saved as {str(saved)!r}\n")
    assert not started.exists()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("PIL.ImageShow.show", lambda image, title: False)
    coffee.show()
    assert "segvoc: there is no viewer for images; the overlay was saved as" in capfd.readouterr().err
    for path in tmp_path.glob("segvoc-*.overlay.png"):
        assert np.array_equal(read_image(path), np.asarray(coffee.overlay(**asdict(SAVED_OVERLAY))))


IMAGES = [np.full((32, 48, 3), level, np.uint8) for level in (0, 100, 200)]


def test_a_terminal_shows_progress_where_it_is_asked_for_and_a_pipe_never(monkeypatch, capsys) -> None:
    model = NumpySegmenter()
    for is_terminal, shown in ((True, True), (True, False), (False, True)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        for label in (model.segment, model.segment_many):
            assert len(list(label(IMAGES, "cat, wall", progress=shown))) == 3
            assert ("labeling" in capsys.readouterr().err) == (is_terminal and shown)


def test_a_notebook_shows_the_overlays_of_a_list() -> None:
    results = NumpySegmenter().segment(IMAGES, "cat, <wall>")
    assert isinstance(results, Segmentations) and isinstance(results, list)
    shown = results._repr_html_()
    assert shown.count('<img src="data:image/jpeg;base64,') == 3
    assert "&lt;wall&gt;" in shown and "<wall>" not in shown
    many = Segmentations(results * 20)
    assert many._repr_html_().count("<img") == 24 and "and 36 more" in many._repr_html_()


def test_a_notebook_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.Progress("labeling", total=2) as bar:
        bar.update(2)
    assert "labeling" in stream.getvalue()
