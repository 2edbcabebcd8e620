"""What other programs export, in small: each is read as its maker means it, and what isn't drawn is counted."""

import base64
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import segvoc
from segvoc.errors import InputError, UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.labeling.formats.opening import dataset_format
from segvoc.labeling.formats.shapes import Polygons, Shape, Shapes
from tests.images import one_line_error
from tests.labeling.formats.exports import (
    HEIGHT,
    INSTANCES,
    ONLY_CAT,
    SQUARE_10,
    WIDTH,
    coco,
    corners,
    cvat,
    flat,
    image,
    labelme,
    pixels,
    refused,
    write_coco,
    yolo,
    yolo_line,
)
from tests.labeling.formats.published_layouts import png, save, turn
from tests.labeling.formats.published_layouts import text as write

# ---- COCO


def test_nested_polygons_are_polygons(tmp_path: Path) -> None:
    """Corners as pairs, of which four are no line of two, and lists in lists."""
    pairs = [list(corner) for corner in corners(5, 5, 15, 15)]
    for segmentation in ([pairs], [[flat(5, 5, 15, 15)]], [[pairs]], pairs, flat(5, 5, 15, 15)):
        write_coco(tmp_path, {"segmentation": segmentation})
        assert pixels(tmp_path) == (ONLY_CAT, "")


def test_annotations_without_masks_are_named_or_counted(tmp_path: Path) -> None:
    line, pairs = {"segmentation": [[5, 5, 15, 15]]}, {"segmentation": [[[5, 5], [15, 15]]]}
    for entries, said in (
        ([line], "annotations are polygons of one or two corners; masks are required"),
        ([pairs, {}], "are boxes or points and polygons of one or two corners; masks"),
        ([{}], "its annotations are boxes or points; masks are required"),
    ):
        write_coco(tmp_path / "coco", *entries)
        refused(tmp_path / "coco", said)
    write_coco(tmp_path / "coco", SQUARE_10, {"segmentation": []}, line)
    yolo(tmp_path / "yolo", "0 0.5 0.5 0.2 0.2")
    refused(tmp_path / "yolo", "boxes or points; polygons are required")
    yolo(tmp_path / "yolo", yolo_line(0, 5, 5, 15, 15), "0 0.5 0.5 0.1 0.1", "0 0.5 0.5")
    for name, told in (("coco", "(1 box, 1 line): 2;"), ("yolo", "(1 box, 1 point): 2;")):
        counts, said = pixels(tmp_path / name)
        assert counts["cat"] == 100 and told in said


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))
FAR = (
    "/home/me/photo.png",
    "C:\\data\\photo.png",
    "..\\..\\photo.png",
    "https://a.org/b/photo.png?x=1",
    "s3://b/photo.png",
)
ALIKE = [("A.jpg", "a.jpg"), ("b/c.jpg", "b/c.JPG"), ("Sub/a.jpg", "sub/a.jpg"), ("images\\1\\a.jpg", "a.jpg")]
ENCODED = [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)]


@pytest.mark.parametrize(("name", "there"), [*((name, "photo.png") for name in FAR), *ALIKE, *ENCODED])
def test_names_of_other_machines_are_found(tmp_path: Path, name: str, there: str) -> None:
    """By their ends, in any case and with accents in another form."""
    image(tmp_path / "set/images" / there)
    write(tmp_path / "set" / INSTANCES, coco(SQUARE_10, names=(name,)))
    assert pixels(tmp_path / "set") == (ONLY_CAT, "")
    (tmp_path / "set/images").rename(tmp_path / "elsewhere")
    assert pixels(tmp_path / "set", images=tmp_path / "elsewhere") == (ONLY_CAT, "")


@pytest.mark.parametrize(("name", "other"), [(COMPOSED, DECOMPOSED), ("a.jpg", "A.jpg")])
def test_a_file_of_exactly_the_name_comes_first(tmp_path: Path, name: str, other: str) -> None:
    write(tmp_path / INSTANCES, coco(SQUARE_10, names=(name,)))
    for there in (other, name):
        image(tmp_path / "images" / there)
    assert segvoc.read_dataset(tmp_path).images[0].image.name == name


@pytest.mark.parametrize("tool", ["coco", "labelme", "cvat"])
def test_coordinates_may_be_fractions(tmp_path: Path, tool: str) -> None:
    points = [[x / WIDTH, y / HEIGHT] for x, y in corners(5, 5, 15, 15)]
    image(tmp_path / "photo.png")
    if tool == "coco":
        write_coco(tmp_path, {"segmentation": [points]})
    elif tool == "labelme":
        labelme(tmp_path, {"label": "cat", "points": points})
    else:
        listed = ";".join(f"{x},{y}" for x, y in points)
        write(tmp_path / "annotations.xml", cvat(("photo.png", "", f'<polygon label="cat" points="{listed}"/>')))
    assert pixels(tmp_path)[0]["cat"] == 100


def test_corners_near_0_or_beyond_the_edge_leave_the_unit_what_it_is(tmp_path: Path) -> None:
    write_coco(tmp_path, SQUARE_10, {"segmentation": [flat(0, 0, 1, 1)]})
    assert pixels(tmp_path)[0]["cat"] == 101
    fractions = {"segmentation": [flat(5 / WIDTH, 5 / HEIGHT, 15 / WIDTH, 15 / HEIGHT)]}
    write_coco(tmp_path, fractions, {"segmentation": [flat(0.75, 0.8, 1.03, 1)]})
    assert pixels(tmp_path)[0]["cat"] == 100 + 10 * 6
    write_coco(tmp_path, fractions, {"segmentation": [[0.1, 0.1, 40, 0.1, 0.1, 0.9]]})
    with one_line_error(UsageError, "instances.json", "most corners of its polygons are fractions", "one is 40"):
        segvoc.read_dataset(tmp_path)


def test_annotations_of_deleted_images_are_counted(tmp_path: Path) -> None:
    other = SQUARE_10 | {"image_id": 9}
    write_coco(tmp_path, SQUARE_10, other, other)
    counts, told = pixels(tmp_path)
    assert counts == ONLY_CAT and told.endswith("annotations of images that it doesn't list (1 images): 2")
    write_coco(tmp_path, other)
    refused(tmp_path, "all of its annotations .* such as 9")


def test_flags_may_be_texts_and_a_crowd_is_behind_the_objects_before_it(tmp_path: Path) -> None:
    runs = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}
    crowd, object_ = (1, True, "1", "true", 1.0), (0, "0", "false", None, "")
    for flag, expected in (*((flag, [1100, 100]) for flag in crowd), *((flag, [0, 0, 1200]) for flag in object_)):
        write_coco(tmp_path, SQUARE_10 | {"iscrowd": 0}, {"segmentation": runs, "iscrowd": flag})
        objects = segvoc.read_dataset(tmp_path).read_objects(0, (HEIGHT, WIDTH))
        assert objects is not None and np.bincount(objects.ravel()).tolist() == expected


def test_coco_categories(tmp_path: Path) -> None:
    """Roboflow's root is no class, and two of one name are one, however written; "thing" may be a class."""
    named = [("animals", "none"), ("cat", "animals"), ("cat", "animals"), ("person", "thing"), ("thing", "thing")]
    categories: list[Any] = [{"id": n, "name": name, "supercategory": above} for n, (name, above) in enumerate(named)]
    categories += [{"id": 5, "name": "caf\u00e9 = bar"}, {"id": 6, "name": "cafe\u0301=bar"}]
    other = {"segmentation": [flat(20, 5, 25, 10)], "category_id": 2}
    write_coco(tmp_path, SQUARE_10, other, place="_annotations.coco.json", categories=categories)
    assert pixels(tmp_path) == ({"cat": 125, "person": 0, "thing": 0, "caf\u00e9, bar": 0}, "")


def test_polygons_are_those_of_pycocotools() -> None:
    height, width = 48, 64
    rng = np.random.default_rng(0)
    polygons = [[8.1, 4, 12, 4, 8.1, 24]]
    polygons += [rng.uniform(-5, 70, 2 * corners).round(corners % 4).tolist() for corners in rng.integers(3, 20, 100)]
    for one in polygons:
        shapes = Shapes(shapes=(Shape(label=1, patch=Polygons([one])),))
        expected: Any = coco_mask.decode(coco_mask.frPyObjects([one], height, width))  # type: ignore[call-overload]
        np.testing.assert_array_equal(shapes.draw((height, width), 0), expected[..., 0])


def test_crowds_of_panoptic_coco_are_labeled_but_no_objects(tmp_path: Path) -> None:
    """Segments by id, which is the first byte of a color: an object, a crowd, another object and stuff."""
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[..., 0] = np.repeat([1, 2, 3, 4], WIDTH // 4)
    segment_map = tmp_path / "annotations/panoptic/photo.png"
    save(segment_map, colors)
    turn(segment_map)
    segments = [{"id": 1, "category_id": 1, "iscrowd": 0}, {"id": 2, "category_id": 1, "iscrowd": 1}]
    segments += [{"id": 3, "category_id": 1}, {"id": 4, "category_id": 2, "iscrowd": 0}]
    categories = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "lawn", "isthing": 0}]
    entry = {"file_name": "photo.png", "segments_info": segments}
    write_coco(tmp_path, entry, place="annotations/panoptic.json", categories=categories)
    dataset = segvoc.read_dataset(tmp_path)
    labels, objects = dataset.read(0).labels, dataset.read_objects(0, (HEIGHT, WIDTH))
    assert objects is not None and labels[5, :: WIDTH // 4].tolist() == [0, 0, 0, 1]
    assert objects[5, :: WIDTH // 4].tolist() == [1, 0, 2, 0]
    before = dataset.images[0].stamp()
    os.utime(segment_map, ns=(1, 1))
    assert dataset.images[0].stamp() != before  # so that it is evaluated again


def test_coco_with_several_sets_and_a_byte_order_mark(tmp_path: Path) -> None:
    for split, category in (("train2017", 1), ("val2017", 2)):
        image(tmp_path / split / "photo.png")
        content = json.dumps(coco(SQUARE_10 | {"category_id": category}))
        write(tmp_path / f"annotations/instances_{split}.json", f"\ufeff{content}")
    refused(tmp_path, "no set 'test'; its files are train2017, val2017", split="test")
    assert segvoc.read_dataset(tmp_path, split="val2017").images[0].image == tmp_path / "val2017/photo.png"
    assert pixels(tmp_path, split="val2017")[0] == {"cat": 0, "dog": 100}


def test_coco_of_roboflow_labelme2coco_and_label_studio(tmp_path: Path) -> None:
    for folder in ("rf/train", "rf/valid"):
        write_coco(tmp_path / folder, SQUARE_10, place="_annotations.coco.json")
    write_coco(tmp_path / "labelme2coco", SQUARE_10, place="annotations.json")
    image(tmp_path / "ls/images/a.png")
    write(tmp_path / "ls/result.json", coco(SQUARE_10, names=("images\\a.png",)))
    refused(tmp_path / "rf", "several sets: train, valid; choose one with --split")
    assert pixels(tmp_path / "rf", split="valid") == (ONLY_CAT, "")
    for folder in ("labelme2coco", "ls"):
        assert pixels(tmp_path / folder) == (ONLY_CAT, "")


@pytest.mark.parametrize(("background", "words"), [("cat", ("cat", "dog")), ("rest", ("cat", "dog", "rest"))])
def test_background_is_what_lies_outside(tmp_path: Path, background: str, words: tuple[str, ...]) -> None:
    write_coco(tmp_path, SQUARE_10 | {"category_id": 2})
    assert segvoc.read_dataset(tmp_path, background=background).background == background
    assert pixels(tmp_path, background=background)[0] == dict.fromkeys(words, 0) | {"dog": 100, background: 1100}


def test_missing_images(tmp_path: Path) -> None:
    write(tmp_path / INSTANCES, coco(SQUARE_10, names=("photo.png", "other.png")))
    refused(tmp_path, r"has none of its images: .*other\.png' is missing; give their folder with --im")
    image(tmp_path / "images/other.png")
    dataset = segvoc.read_dataset(tmp_path)
    assert (dataset.read(0).labels == UNLABELED).all()
    with pytest.raises(InputError, match=r"photo\.png' does not exist"):
        dataset.read(1)


# ---- CVAT


BOX = '<box label="cat" xtl="5" ytl="5" xbr="15" ybr="15"/>'
SMALL = '<box label="dog" xtl="5" ytl="5" xbr="10" ybr="10"/>'


@pytest.mark.parametrize("place", [None, "images", "images/train"])
def test_cvat_subsets_have_folders(tmp_path: Path, place: str | None) -> None:
    write(tmp_path / "annotations.xml", cvat(("a.png", "train", BOX), ("a.png", "val", SMALL)))
    for subset in ("train", "val"):
        image(tmp_path / f"images/{subset}/a.png")
    options: dict[str, Any] = {} if place is None else {"images": tmp_path / place}
    dataset = segvoc.read_dataset(tmp_path, **options)
    found = {one.image.parent.name: int((one.read(2).labels < 2).sum()) for one in dataset.images}
    assert found == {"train": 100, "val": 25}
    assert pixels(tmp_path, split="val", **options) == ({"cat": 0, "dog": 25}, "")


def test_cvat_skeletons_and_leftovers(tmp_path: Path) -> None:
    image(tmp_path / "images/a.png")
    labels = "<label><name>cat</name><type>polygon</type></label>" + "".join(
        f"<label><name>{name}</name><type>skeleton</type></label>"
        f"<label><name>1</name><type>points</type><parent>{name}</parent></label>"
        for name in ("person", "horse")
    )
    skeleton = '<skeleton label="person" z_order="0"><points label="1" points="1,1"/></skeleton>'
    turned = '<box label="cat" xtl="10" ytl="6" xbr="30" ybr="18" rotation="90"/>'
    others = f'{skeleton}<polyline label="cat" points="1,2;3,4"/><points label="cat" points="1,2"/><tag label="cat"/>'
    write(tmp_path / "annotations.xml", cvat(("a.png", "default", turned + others), labels=labels))
    counts, told = pixels(tmp_path)
    assert counts == {"cat": 12 * 20, "person": 0, "horse": 0} and "(1 skeleton, 1 polyline, 1 points): 3" in told


def test_cvat_layers(tmp_path: Path) -> None:
    image(tmp_path / "images/default/a.png")
    front = '<polygon label="cat" points="2,2;6,2;6,6;2,6" z_order="3"><attribute name="id">7</attribute></polygon>'
    back = '<box label="dog" xtl="0" ytl="0" xbr="8.0" ybr="8.0" z_order="-1"/>'
    write(tmp_path / "annotations.xml", cvat(("a.png", "default", front + back)))
    assert pixels(tmp_path)[0] == {"cat": 16, "dog": 48}


# ---- YOLO


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("{0: person, 1: off}", ("person", "off")),
        ("[no, person, off]", ("no", "person", "off")),
        ("[010, 12:30, 1e3, null, ~]", ("010", "12:30", "1e3", "null", "~")),
        ('\n  0: "\\U0001F431 x"\n  1: 🐶', ("🐱 x", "🐶")),
        ("[cat, dog, cat]", ("cat", "dog")),
    ],
)
def test_yolo_names_are_the_text_as_written(tmp_path: Path, names: str, words: tuple[str, ...]) -> None:
    yolo(tmp_path, yolo_line(0, 5, 5, 15, 15), names=names)
    assert pixels(tmp_path)[0] == dict.fromkeys(words, 0) | {words[0]: 100}


@pytest.mark.parametrize(
    ("value", "counted"), [("-0.01", 225), ("1.0000001", 375), ("1.01", 375), ("-0.0101", None), ("1.0101", None)]
)
def test_yolo_corners_may_lie_just_outside_the_image(tmp_path: Path, value: str, counted: int | None) -> None:
    """Rounded fractions exceed 1 now and then; pixels are something else."""
    left, right = sorted(("0.375", value), key=float)
    yolo(tmp_path, f"0 {left} 0 {right} 0 {right} 0.5 {left} 0.5")
    if counted is None:
        with pytest.raises(InputError, match=r"line 1 has a coordinate that isn't a fraction of the image's size"):
            segvoc.read_dataset(tmp_path).read(0)
    else:
        assert pixels(tmp_path) == ({"cat": counted}, "")


@pytest.mark.parametrize("place", ["/content/data/train.txt", "train.txt", "../train.txt"])
def test_yolo_lists_with_absolute_paths(tmp_path: Path, place: str) -> None:
    for name in ("a", "b"):
        image(tmp_path / f"images/train/{name}.png")
        write(tmp_path / f"labels/train/{name}.txt", yolo_line(0, 5, 5, 15, 15))
    write(tmp_path / "train.txt", "/content/data/images/train/a.png\ndata/images/train/b.png\n")
    write(tmp_path / "data.yaml", f"path: /content/data\ntrain: {place}\nnames: [cat]\n")
    assert pixels(tmp_path) == ({"cat": 200}, "")


def test_yolo_of_roboflow(tmp_path: Path) -> None:
    image(tmp_path / "train/images/photo.PNG")
    write(tmp_path / "train/labels/photo.txt", f"{yolo_line(1, 5, 5, 15, 15)}\r\n\r\n")
    image(tmp_path / "valid/images/other.png")  # nothing in it, so no text file
    (tmp_path / "valid/labels").mkdir()
    write(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n")
    assert pixels(tmp_path, split="train")[0] == {"cat": 0, "dog": 100}
    assert pixels(tmp_path, split="val")[0] == {"cat": 0, "dog": 0}


def test_yolo_with_text_files_beside_the_images_or_nowhere(tmp_path: Path) -> None:
    image(tmp_path / "images/photo.png")
    write(tmp_path / "data.yaml", "names: [cat]\ntrain: images\n")
    refused(tmp_path, "labels' of its text files is missing")
    write(tmp_path / "images/photo.txt", yolo_line(0, 5, 5, 15, 15))
    assert pixels(tmp_path)[0] == {"cat": 100}


# ---- LabelMe and AnyLabeling


def test_labelme_beside_an_image_folder(tmp_path: Path) -> None:
    image(tmp_path / "images/photo.png")
    box = {"label": "dog", "shape_type": "rectangle", "points": [[6, 6], [2, 2]]}
    circle = {"label": "cat", "shape_type": "circle", "points": [[9, 7], [9, 8]]}
    labelme(tmp_path / "json", circle, box, path="..\\images\\photo.png")
    write(tmp_path / "labels.txt", "__ignore__\n_background_\ndog\ncat\n")
    assert segvoc.read_dataset(tmp_path).background == "_background_"
    assert pixels(tmp_path)[0] == {"_background_": 1180, "dog": 16, "cat": 4}


def test_labelme_with_ignored_pixels_and_an_embedded_image(tmp_path: Path) -> None:
    shapes = [
        {"label": "cat", "points": corners(5, 5, 15, 15)},  # older files have no types
        {"label": "__ignore__", "points": [[0, 28], [40, 30]], "shape_type": "rectangle"},
    ]
    image(tmp_path / "elsewhere/photo.png")
    write(tmp_path / "set/notes.json", {"about": "this folder"})
    labelme(tmp_path / "set", *shapes, data=base64.b64encode((tmp_path / "elsewhere/photo.png").read_bytes()).decode())
    assert (segvoc.read_dataset(tmp_path / "set").read(0).image == (10, 200, 30)).all()
    assert pixels(tmp_path / "set")[0] == {"cat": 100}
    assert pixels(tmp_path / "set", background="rest")[0] == {"cat": 100, "rest": 1020}
    labelme(tmp_path / "set", *shapes, data="no base64!")
    with pytest.raises(InputError, match="its image is not in base64"):
        segvoc.read_dataset(tmp_path / "set").read(0)


def test_labelme_shapes(tmp_path: Path) -> None:
    image(tmp_path / "photo.png")
    shapes = [
        {"label": "a", "shape_type": "oriented_rectangle", "points": corners(0, 0, 4, 5)},
        {"label": "b", "shape_type": "rectangle", "points": corners(20, 0, 24, 5)},
        {"label": "b", "shape_type": "linestrip", "points": [[1, 1], [2, 2]]},
        {"label": "b", "shape_type": "rotation", "points": corners(10, 10, 14, 15)},
        {"label": "a", "shape_type": "mask", "points": [[30, 20], [0, 0]], "mask": png(np.ones((5, 4), bool))},
    ]
    labelme(tmp_path, *shapes, path="C:\\images\\photo.png")
    counts, told = pixels(tmp_path)
    assert counts == {"a": 40, "b": 40} and "(1 linestrip): 1" in told


def test_a_mask_of_labelme_stands_at_its_corner(tmp_path: Path) -> None:
    image(tmp_path / "photo.png")
    mask = {"shape_type": "mask", "points": [[5, 2], [8, 4]], "mask": png(np.full((3, 4), 255, np.uint8))}
    labelme(tmp_path, {"label": "cat", **mask})
    rows, columns = np.nonzero(segvoc.read_dataset(tmp_path).read(0).labels == 0)
    assert (rows.min(), rows.max(), columns.min(), columns.max(), len(rows)) == (2, 4, 5, 8, 12)


@pytest.mark.parametrize(("group", "count"), [(1, 1), (1.0, 1), ("a", 1), (None, 2)])
def test_labelme_has_numbers_as_labels_and_groups_of_shapes(tmp_path: Path, group: object, count: int) -> None:
    image(tmp_path / "photo.png")
    labelme(tmp_path, *({"label": 1, "points": corners(x, 1, x + 9, 9), "group_id": group} for x in (1, 20)))
    dataset = segvoc.read_dataset(tmp_path)
    objects = dataset.read_objects(0, (HEIGHT, WIDTH))
    assert dataset.vocabulary.words == ("1",) and objects is not None and objects.max() == count


# ---- Label Studio


def percent(*box: float) -> list[list[float]]:
    return [[x * 100 / WIDTH, y * 100 / HEIGHT] for x, y in corners(*box)]


def task(*regions: dict[str, Any], address: str = "/data/upload/1/0a1b2c3d-photo.png", **others: Any) -> dict[str, Any]:
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"data": {"image": address}, "annotations": [{"result": [size | region for region in regions]}], **others}


OPAQUE = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
OPAQUE[5:15, 5:25, 3] = 255
BITMAP = "data:image/png;base64," + png(OPAQUE)
SQUARE = {"points": percent(5, 5, 25, 20), "closed": True}
CAT = {"type": "polygonlabels", "value": SQUARE | {"polygonlabels": ["cat"]}}
VERTICES = [{"id": str(number), "x": x, "y": y} for number, (x, y) in enumerate(percent(5, 5, 25, 20))]
ROUND = [
    {"x": 25.0, "y": 50.0, "isBezier": True, "controlPoint1": {"x": 25, "y": 80}, "controlPoint2": {"x": 25, "y": 20}},
    {"x": 75.0, "y": 50.0, "isBezier": True, "controlPoint1": {"x": 75, "y": 20}, "controlPoint2": {"x": 75, "y": 80}},
]
TURNED = {"x": 25, "y": 20, "width": 50, "height": 40, "rotation": 90}


@pytest.mark.parametrize(
    ("regions", "cat", "told"),
    [
        ([("bitmasklabels", {"imageDataURL": BITMAP, "bitmasklabels": ["cat"]})], 200, ""),
        ([("polygon", SQUARE), ("labels", {"labels": ["cat"]}), ("textarea", {"text": ["torn"]})], 300, ""),
        ([("vectorlabels", {"vertices": VERTICES, "vectorlabels": ["cat"], "closed": True})], 300, ""),
        ([("polygonlabels", SQUARE | {"polygonlabels": ["cat", "dog"]})], 300, "(1 further label of a region): 1"),
        ([("polygonlabels", SQUARE | {"polygonlabels": [" ", 3, "cat"]})], 300, ""),
        ([("polygon", SQUARE)], 0, "(1 polygon without a label): 1"),
        ([("rectanglelabels", TURNED | {"rectanglelabels": ["cat"]})], 200, ""),
        ([("choices", {"choices": ["blurred"]})], 0, ""),
    ],
)
def test_label_studio_regions(tmp_path: Path, regions: list[tuple[str, dict[str, Any]]], cat: int, told: str) -> None:
    """Several entries of one id are one region, and each repeats its shape."""
    image(tmp_path / "images/photo.png")
    write(tmp_path / "label_config.xml", '<View><Label value="cat"/><Label value="dog"/></View>')
    entries = [{"id": "a", "type": kind, "value": regions[0][1] | value} for kind, value in regions]
    write(tmp_path / "tasks.json", [task(*entries)])
    counts, line = pixels(tmp_path)
    assert counts == {"cat": cat, "dog": 0}
    assert told in line and bool(told) == bool(line)


def test_label_studio_turns_ellipses_and_draws_curves(tmp_path: Path) -> None:
    image(tmp_path / "images/photo.png")
    areas = []
    for kind, value in (
        ("ellipselabels", {"x": 50, "y": 50, "radiusX": 25, "radiusY": 10}),
        ("ellipselabels", {"x": 50, "y": 50, "radiusX": 25, "radiusY": 10, "rotation": 90}),
        ("vectorlabels", {"vertices": ROUND, "closed": True}),
    ):
        write(tmp_path / "tasks.json", [task({"type": kind, "value": value | {kind: ["cat"]}})])
        labels = segvoc.read_dataset(tmp_path).read(0).labels == 0
        rows, columns = np.nonzero(labels)
        areas.append((int(labels.sum()), np.ptp(rows) + 1, np.ptp(columns) + 1))
    flat_, upright, curved = areas
    assert flat_[1:] == (6, 20) and upright[1:] == (20, 6)
    assert abs(flat_[0] - np.pi * 10 * 3) < 6 and abs(upright[0] - flat_[0]) < 6
    # two cubic curves, each 3/4 as high as its control points, over 20 px
    assert curved[2] == 20 and curved[1] == pytest.approx(2 * 0.75 * 9, abs=2)


def test_label_studio_answers_and_names(tmp_path: Path) -> None:
    image(tmp_path / "media/upload/photo.png")
    brushes = '<BrushLabels name="b"><Label value="Cat (felis)" alias="cat"/><Label value="dog"/></BrushLabels>'
    points = '<KeyPointLabels name="k"><Label value="dog"/></KeyPointLabels>'
    write(tmp_path / "label_config.xml", f"<View>{brushes}{points}</View>")
    address, cancelled = "..\\..\\media\\upload\\photo.png", {"was_cancelled": True, "result": []}
    first = task(CAT, address=address, predictions=[8])
    first["annotations"].append(cancelled)
    write(tmp_path / "tasks.json", [first])
    assert pixels(tmp_path) == ({"cat": 300, "dog": 0}, "")
    skipped = task(address=address, predictions=[{"result": [CAT]}]) | {"annotations": [cancelled]}
    write(tmp_path / "tasks.json", [skipped])
    for background in (None, "dog"):  # nobody has said what is there
        assert pixels(tmp_path, background=background) == ({"cat": 0, "dog": 0}, "")
    data = {"photo": address, "note": "torn", "count": 3}
    write(tmp_path / "tasks.json", [{"data": data, "predictions": [{"result": [CAT]}]}])
    assert pixels(tmp_path)[0]["cat"] == 300


def test_an_export_of_label_studio_is_known_by_its_content(tmp_path: Path) -> None:
    image(tmp_path / "photo.png")
    content = [task(CAT, address="photo.png")]
    write(tmp_path / "project-1-at-2026-11-27-19-44-abc.json", content)
    write(tmp_path / "classes.json", ["cat", "dog"])
    write(tmp_path / "notes.json", [{"text": "no task"}])
    assert pixels(tmp_path) == ({"cat": 300}, "")
    write(tmp_path / "project-2.json", content)
    refused(tmp_path, r"has several exports of Label Studio .*project-2\.json.*; give one of")
    write(tmp_path / "tasks.json", content)
    assert pixels(tmp_path) == ({"cat": 300}, "")


def test_yolo_of_label_studio(tmp_path: Path) -> None:
    image(tmp_path / "images/0a1b2c3d-a.png")
    write(tmp_path / "labels/0a1b2c3d-a.txt", yolo_line(1, 5, 5, 15, 15))
    write(tmp_path / "classes.txt", "cat\ndog\n")
    write(tmp_path / "notes.json", {"categories": [{"id": 0, "name": "cat"}]})
    assert pixels(tmp_path) == ({"cat": 0, "dog": 100}, "")


def test_format_that_is_not_plain(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not in any known dataset format; name its format"):
        dataset_format(tmp_path)
    write(tmp_path / "annotations.xml", "<annotations/>")
    write(tmp_path / "tasks.json", [])
    refused(tmp_path, "could be cvat or label-studio; name its format")
    refused(tmp_path / "missing", "does not exist")


REGION = {"points": [[1, 1]], "polygonlabels": ["cat"], "original_width": WIDTH}
OTHERS: dict[str, tuple[str, Any, str]] = {
    "JSON-MIN": ("project-1.json", [{"image": "a.jpg", "id": 1, "label": [REGION]}], "export it as JSON"),
    "Supervisely": ("meta.json", {"classes": [], "tags": [], "projectType": "images"}, "export it as COCO"),
    "VIA": ("via.json", {"a.jpg10": {"filename": "a.jpg", "size": 10, "regions": []}}, "export it as COCO"),
    "VGG Image Annotator": ("v.json", {"_via_img_metadata": {"a": {"filename": "a", "regions": []}}}, "COCO"),
    "Datumaro": ("annotations/train.json", {"info": {}, "categories": {}, "items": []}, "datum convert"),
}


@pytest.mark.parametrize("tool", OTHERS)
def test_formats_that_are_not_read_are_named_with_the_way_out(tmp_path: Path, tool: str) -> None:
    name, content, way_out = OTHERS[tool]
    image(tmp_path / "images/a.jpg")
    write(tmp_path / name, content)
    for path in (tmp_path, tmp_path / name):
        with one_line_error(UsageError, tool, way_out):
            segvoc.read_dataset(path)


# ---- several sets


def test_sets_are_joined_by_names(tmp_path: Path) -> None:
    for folder, box, names in (("one", (5, 5, 15, 15), "[sofa, cat]"), ("two", (5, 5, 10, 10), "[couch, wall]")):
        yolo(tmp_path / folder, yolo_line(0, *box), yolo_line(1, 20, 5, 21, 6), names=names)
    sets = [segvoc.read_dataset(tmp_path / folder) for folder in ("one", "two")]
    joined = segvoc.LabeledImages.joined(sets, rename={"sofa": "couch"}, drop=["wall"])
    stems = [one.stem for one in joined.images]
    assert (joined.vocabulary.words, stems) == (("couch", "cat"), ["one/photo", "two/photo"])
    found = [[int((joined.read(index).labels == label).sum()) for label in (0, 1)] for index in range(2)]
    assert found == [[100, 1], [25, 0]]
    objects = joined.read_objects(1, (HEIGHT, WIDTH))
    assert objects is not None and objects.max() == 2
