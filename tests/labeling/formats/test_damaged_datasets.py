"""Damaged and hostile datasets: each is named in one line, before anything is drawn or where its image is read."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.errors import InputError, UsageError
from segvoc.labeling.formats.dataset import DatasetWriter
from segvoc.labeling.formats.voc import VOC_ROOT, VOC_SETS
from tests.images import one_line_error
from tests.labeling.formats.drawn_results import drawn_result
from tests.labeling.formats.published_layouts import CAMVID, LAYOUTS, colored, photo, save, text, values

WORDS = ("cat", "road")


def written(folder: Path, name: str) -> Path:
    """Write a dataset of a published layout, or one of ours: an image of 16 x 12 pixels."""
    if name in LAYOUTS:
        LAYOUTS[name].write(folder)
        return folder
    labels = np.zeros((12, 16), np.uint16)
    labels[3:9, 4:12] = 1
    with DatasetWriter(folder, name) as dataset:
        dataset.add(drawn_result(labels, WORDS), "photo")
    return folder


def read(folder: Path, name: str) -> segvoc.LabeledImages:
    if name not in LAYOUTS:
        return segvoc.read_dataset(folder, name)
    return segvoc.read_dataset(folder, LAYOUTS[name].format, split=LAYOUTS[name].split)


def _json(file: str, change: Callable[[Any], object]) -> Callable[[Path], object]:
    """Damage done to the content of a JSON file."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        change(content)
        (folder / file).write_text(json.dumps(content), encoding="utf-8")

    return damage


def _text(file: str, pattern: str, new: str) -> Callable[[Path], object]:
    """Damage done to a text file."""

    def damage(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        assert re.search(pattern, text, re.DOTALL)
        changed = re.sub(pattern, lambda found: new, text, count=1, flags=re.DOTALL)
        (folder / file).write_text(changed, encoding="utf-8")

    return damage


def _file(file: str, content: object) -> Callable[[Path], object]:
    """A file with another content."""
    if isinstance(content, bytes):
        return lambda folder: (folder / file).write_bytes(content)
    return lambda folder: text(folder / file, content)


def _png(file: str, mode: str, size: tuple[int, int], color: object = 0) -> Callable[[Path], object]:
    return lambda folder: Image.new(mode, size, color).save(folder / file)  # type: ignore[arg-type]


def _map(file: str, pixels: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: save(folder / file, pixels)


def _gone(file: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).rename(folder.parent / "gone")


def _voc_lists(content: bytes) -> Callable[[Path], object]:
    files = [_file(f"{VOC_ROOT}/ImageSets/Segmentation/{name}.txt", content) for name in VOC_SETS]
    return lambda folder: [damage(folder) for damage in files]


def _without_areas(content: Any) -> None:
    for one in content["annotations"]:
        one["segmentation"] = []


INSTANCES, PANOPTIC = "annotations/instances_default.json", "annotations/panoptic_default.json"
LABELME, CVAT, YOLO, TASKS = "photo.json", "annotations.xml", "labels/photo.txt", "tasks.json"
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
COCO, SEGMENTS, SEGMENT_MAP = "coco-instances", "coco-panoptic", "annotations/panoptic_default/photo.png"
CLASSES, OBJECTS, MASK = "classes.txt", "classes.json", "masks/sub/one.png"
VOC_MAP = f"{VOC_ROOT}/SegmentationClass/photo.png"

OF_ALL = [
    (COCO, _file(INSTANCES, b'{"images": ['), "is damaged: it is not JSON"),
    (COCO, _file(INSTANCES, b"[" * 100_000), "is damaged: it is not JSON (it is nested too deeply"),
    (COCO, _file(INSTANCES, b"\xff\xfe\x00"), "is damaged: it is not JSON"),
    (COCO, _json(INSTANCES, lambda all: all.pop("categories")), "the file has no 'categories'"),
    (COCO, _json(INSTANCES, lambda all: all.update(images={})), "not a list"),
    (COCO, _json(INSTANCES, lambda all: all["images"][0].pop("file_name")), "image 0 has no 'file_name'"),
    (COCO, _json(INSTANCES, lambda all: all["images"].append(all["images"][0])), "two images have the same id"),
    (COCO, _json(INSTANCES, _without_areas), "boxes or points"),
    (COCO, _json(INSTANCES, lambda all: all["categories"][1].update(id=[1])), "is a list, not an id"),
    (SEGMENTS, _json(PANOPTIC, lambda all: all["annotations"].append(7)), "annotation 1 is 7, not an object"),
    ("cvat", _text(CVAT, "<annotations>", f"{BOMB}<annotations>"), "it has a DOCTYPE"),
    ("cvat", _text(CVAT, "</image>.*", ""), "is damaged: no element found"),
    ("cvat", _text(CVAT, "<labels>.*</labels>", ""), "it lists no labels"),
    ("cvat", _text(CVAT, "<image ", "<track/><image "), "the ids of tracks have '' where a whole number is expected"),
    ("cvat", _text(CVAT, "<image ", "<track id='3'/><track id='3'/><image "), "two tracks have the same id"),
    ("cvat", _file(CVAT, b"<html></html>"), "begins with <html>"),
    ("yolo-seg", _file("data.yaml", b"names: [cat, "), "is damaged: it is not YAML"),
    ("yolo-seg", _file("data.yaml", b"names: {0: cat, 2: road}"), "the labels of its 2 names aren't 0 to 1"),
    ("yolo-seg", _file("data.yaml", b"train: images"), "it has no names"),
    ("yolo-seg", _file("data.yaml", b"kpt_shape: [12, 2]\nnames: [cat]"), "(kpt_shape); polygons are required"),
    ("yolo-seg", _file("data.yaml", b"train: /etc\nnames: [cat]"), "'/etc' points outside the folder"),
    ("yolo-seg", _file("data.yaml", b"train: nowhere\nnames: [cat]"), "is not a folder"),
    ("voc", _file(f"{VOC_ROOT}/labelmap.txt", b"cat:0,0\n"), "the line 'cat:0,0' isn't a name and its color"),
    ("voc", _gone(f"{VOC_ROOT}/SegmentationClass"), "has no folder SegmentationClass"),
    ("label-studio", _file(TASKS, b"{}"), "it is not a list of tasks"),
    ("label-studio", _json(TASKS, lambda all: all[0].pop("data")), "task 0 has no 'data'"),
    ("label-studio", _text("label_config.xml", "<View>", f"{BOMB}<View>"), "it has a DOCTYPE"),
    ("labelme", _file(LABELME, b"{"), "has no LabelMe JSON file"),
    ("ade20k", _gone("annotations"), "has no folder annotations/training; unpack ADEChall"),
    ("ade20k", _gone("images"), "has no images: the folder"),
    ("ade20k", _file("objectInfo150.txt", "Idx\tName\nx\twall\n"), "'x' where a whole number"),
    ("colors", _file(CLASSES, "1 2 3 Car\n1 2 Road\n"), "the line '1 2 Road' isn't like the first"),
    ("colors", _file(CLASSES, "1 2 3 Car\n1 2 3 Road\n"), "two classes have the color 1, 2, 3"),
    ("colors", _file(CLASSES, "1 2 300 Car\n"), "the color 1, 2, 300 has a value above 255"),
    ("indices", _file(CLASSES, "4 road\n4 car\n"), "two classes have the index 4"),
    ("indices", _file(CLASSES, "void\n"), "it has no class"),
    ("indices", _file(CLASSES, "4 road\n99999 car\n"), "the index 99999 is not from 0 to 65535"),
    ("indices", _gone(MASK), "no image in"),
    ("indices in CSV", _file("classes.csv", "id;name\n4;\n"), "the line '4, ' has no name"),
    ("objects", _file(OBJECTS, [{"name": "car", "id": 1}, {"name": "road"}]), "'road' has no index, others"),
    ("objects", _file(OBJECTS, [{"name": "car", "color": "blue"}]), "entry 0 has no color of red"),
    ("objects", _file(OBJECTS, {"car": None}), "'car' is not an id"),
    ("objects", _file(OBJECTS, ["car", 7]), "entry 1 (7) is neither a name nor an object"),
    ("objects", _file(OBJECTS, "{"), "isn't valid JSON"),
]


@pytest.mark.parametrize(("name", "damage", "told"), OF_ALL)
def test_damage_to_what_is_about_all_images(tmp_path, name, damage, told):
    folder = written(tmp_path / "set", name)
    damage(folder)
    with one_line_error(UsageError, told):
        read(folder, name)


def _segment(**change: object) -> Callable[[Path], object]:
    return _json(INSTANCES, lambda all: all["annotations"][0].update(change))


def _name(file_name: str) -> Callable[[Path], object]:
    return _json(INSTANCES, lambda all: all["images"][0].update(file_name=file_name))


def _shape(**change: object) -> Callable[[Path], object]:
    return _json(LABELME, lambda all: all["shapes"][0].update(change))


def _brush(**change: object) -> Callable[[Path], object]:
    return _json(TASKS, lambda all: all[0]["predictions"][0]["result"][0]["value"].update(change))


CAMVID_MAP = "val_labels/0001TP_006690_L.png"
UNKNOWN_COLOR = colored((1, 2, 3), (0, 0, 0), (0, 0, 0))
OF_ONE = [
    (COCO, _segment(segmentation={"size": [12, 16], "counts": "0000"}), "run lengths don't fill"),
    (COCO, _segment(segmentation={"size": [10**9, 10**9], "counts": [5]}), "a mask is [1000000000, 10"),
    (COCO, _segment(segmentation={"size": [12, 16], "counts": ["a"]}), "run lengths don't fill"),
    (COCO, _segment(segmentation=[[1, 2, 3, 4, 5, 1e300]]), "lies far outside its image"),
    (COCO, _segment(segmentation=[[1, 2, 3, 4, 5, {}]]), "corner that isn't a number"),
    (COCO, _segment(segmentation=[[1, 2, 3, 4, 5]]), "isn't a list of 3 corners or more"),
    *((COCO, _segment(segmentation=[one, [1, 1, 5, 1, 5, 5]]), "'photo' is damaged") for one in (None, 5, "no")),
    (COCO, _segment(iscrowd="perhaps"), "'iscrowd' of annotation 0 is 'perhaps', not true or false"),
    (COCO, _segment(segmentation="1, 2"), "that is neither polygons nor run lengths"),
    (COCO, _segment(category_id=99), "annotation 0 is of the undefined category 99"),
    (SEGMENTS, _png(SEGMENT_MAP, "RGB", (16, 12), (1, 2, 3)), "has a segment 197121"),
    (SEGMENTS, _png(SEGMENT_MAP, "L", (16, 12)), "is a gray or palette image, not RGB"),
    (SEGMENTS, _png(SEGMENT_MAP, "RGB", (8, 8)), "it is for 8 x 8 pixels, the image"),
    ("labelme", _shape(points=[[1, 2], [3, 4], [5, "x"]]), "is 'x', not a finite number"),
    ("labelme", _shape(points=[[1, 2], [3, 4], [5, 1e9]]), "lies far outside its image"),
    ("labelme", _shape(shape_type="blob"), "isn't a LabelMe shape"),
    ("labelme", _shape(label="dog"), "has the label 'dog', which is not in labels.txt"),
    ("labelme", _shape(shape_type="mask", points=[[0, 0], [4, 4]], mask="no base64!"), "isn't a base64 PNG"),
    ("labelme", _json(LABELME, lambda all: all.update(imageHeight=99)), "for 16 x 99 pixels, the image has 16 x 12"),
    ("cvat", _text(CVAT, 'rle="[^"]*"', 'rle="5"'), "run lengths that don't fill"),
    ("cvat", _text(CVAT, 'rle="[^"]*"', f'rle="{10**25}"'), "the annotation of 'photo' is damaged"),
    ("cvat", _text(CVAT, 'left="[^"]*"', 'left="-3"'), "is not inside its image"),
    ("cvat", _text(CVAT, ' label="cat"', ' label="dog"'), "a mask has the unlisted label 'dog'"),
    ("yolo-seg", _file(YOLO, b"7 0.1 0.1 0.5 0.1 0.5 0.5\n"), "line 1 begins with '7', not a label below 2"),
    ("yolo-seg", _file(YOLO, b"0,0.1,0.1,0.5,0.1,0.5,0.5\n"), "line 1 has commas; separate numbers by spaces"),
    ("yolo-seg", _file(YOLO, b"1 nan 0.1 0.5 0.1 0.5 0.5\n"), "isn't a fraction of the image's size"),
    ("yolo-seg", _file(YOLO, b"1 \xff\xfe"), "it is not UTF-8 text"),
    ("voc", _png(VOC_MAP, "L", (16, 12), 77), "has the undefined index 77"),
    ("voc", _png(VOC_MAP, "RGB", (16, 12), (9, 9, 9)), "has the undefined color 9, 9, 9 (#090909)"),
    ("voc", _file(VOC_MAP, b"\x89PNG"), "photo.png'"),
    ("label-studio", _brush(rle=[0, 0, 1]), "run lengths that end too early"),
    ("label-studio", _brush(rle=[255] * 40), "run lengths of 4294967295 values instead of 768"),
    ("label-studio", _brush(rle=["a"]), "run lengths that aren't bytes"),
    ("label-studio", _brush(brushlabels=["dog"]), "has the label 'dog', which is not in label_config.xml"),
    ("ade20k", _map("annotations/validation/ADE_val_00000001.png", values(151, 3, 0)), "undefined index 151"),
    ("camvid in CSV", _map(CAMVID_MAP, UNKNOWN_COLOR), "_L.png' has the undefined color 1, 2, 3 (#010203)"),
    ("camvid in CSV", _map(CAMVID_MAP, colored(**CAMVID)[:9]), "it is for 12 x 9 pixels, the image"),
    ("cityscapes", _map("gtFine/val/ulm/a_gtFine_labelIds.png", values(99, 7, 0)), "has the undefined index 99"),
    ("indices", _map(MASK, values(5, 4, 255)), "one.png' has the undefined index 5"),
    ("indices", _map(MASK, UNKNOWN_COLOR), "but the class table has no colors"),
    ("indices", _file(MASK, b"\x89PNG"), "one.png'"),
]


@pytest.mark.parametrize(("name", "damage", "told"), OF_ONE)
def test_damage_to_one_image_is_named_when_it_is_read(tmp_path, name, damage, told):
    folder = written(tmp_path / "set", name)
    damage(folder)
    dataset = read(folder, name)
    with one_line_error(InputError, told):
        dataset.read(0)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_file("masks/sub/two.png", b"\x89PNG"), "two.png'"),
        (_gone("masks/sub/two.png"), "two.png' does not exist"),
        (_gone("images/sub/two.jpg"), "two.jpg' does not exist"),
    ],
)
def test_other_images_are_read(tmp_path, damage, told):
    folder = written(tmp_path / "set", "indices")
    photo(folder / "images/sub/two.jpg")
    shutil.copy(folder / MASK, folder / "masks/sub/two.png")
    damage(folder)
    dataset = read(folder, "indices")
    dataset.read(0)
    with one_line_error(InputError, told):
        dataset.read(1)


TRAVERSAL = [
    (COCO, _name("../../secret.png"), "points outside the folder"),
    (COCO, _name("/etc/secret.png"), "points outside the folder"),
    (COCO, _name("C:\\secret.png"), "points outside the folder"),
    (COCO, _name("https://example.com/secret.png"), "is a URL, which isn't fetched"),
    (COCO, _name("a\0b.png"), "is not a file name"),
    (SEGMENTS, _json(PANOPTIC, lambda all: all["annotations"][0].update(file_name="../../x.png")), "points outside"),
    ("labelme", _json(LABELME, lambda all: all.update(imagePath="../secret.png")), "points outside"),
    ("labelme", _json(LABELME, lambda all: all.update(imagePath="a/../../secret.png")), "points outside"),
    ("cvat", _text(CVAT, 'name="photo.png"', 'name="../../secret.png"'), "points outside"),
    ("label-studio", _text(TASKS, "d=images/photo.png", "d=../../secret.png"), "points outside"),
    ("label-studio", _text(TASKS, '/data/local-files/[^"]*', "https://example.com/secret.png"), "is a URL"),
    ("voc", _voc_lists(b"../../photo\n"), "points outside the folder"),
    ("yolo-seg", _file("data.yaml", b"path: ../..\ntrain: images\nnames: [cat, road]"), ""),
]


@pytest.mark.parametrize(("name", "damage", "told"), TRAVERSAL)
def test_no_name_leads_out_of_the_dataset(tmp_path, name, damage, told):
    folder = written(tmp_path / "set", name)
    for outside in (tmp_path, tmp_path.parent):
        Image.new("RGB", (16, 12)).save(outside / "photo.png")
        Image.new("RGB", (16, 12)).save(outside / "secret.png")
    damage(folder)
    dataset = segvoc.read_dataset(folder, name)
    if not told:  # the folder that it names is passed over
        assert dataset.images[0].image == folder / "images/photo.png"
        return
    with one_line_error(InputError, told):
        dataset.read(0)


def test_yaml_that_would_be_endless_as_a_text(tmp_path: Path) -> None:
    folder = written(tmp_path, "yolo-seg")
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40))]
    content = "\n".join([*lines, "path: *a39", "train: images", "names: [cat, road]"])
    (folder / "data.yaml").write_text(content, encoding="utf-8")
    assert len(segvoc.read_dataset(folder)) == 1
    (folder / "data.yaml").write_text(content.replace("[cat, road]", "*a39"), encoding="utf-8")
    with one_line_error(UsageError, "is neither a name nor an object"):
        segvoc.read_dataset(folder)


def test_damaged_file_of_labelme_beside_a_sound_one(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, "labelme") as dataset:
        for stem in ("a", "b"):
            dataset.add(drawn_result(np.zeros((12, 16), np.uint16), ("cat",)), stem)
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    read = segvoc.read_dataset(tmp_path)
    with one_line_error(InputError, "a.json' is damaged: it is not JSON"):
        read.read(0)
    assert (read.read(1).labels == 0).all()
