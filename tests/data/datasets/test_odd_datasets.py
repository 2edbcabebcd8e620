"""Datasets as other programs really write them: each is read as its program means it."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import segvoc
from segvoc.data.datasets.annotated_images import Polygons, Shape, Shapes
from segvoc.data.datasets.opening import dataset_format
from segvoc.errors import InputError, SkippedShapesWarning, UsageError
from segvoc.imaging.label_maps import UNLABELED

HEIGHT, WIDTH = 10, 12
SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]
"""The polygon around the pixels 2 to 5."""


def make_image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (10, 200, 30)).save(path)
    return path


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def square(label: int = 0, outside: int = UNLABELED, last: int = 6) -> np.ndarray:
    labels = np.full((HEIGHT, WIDTH), outside, np.uint16)
    labels[2:last, 2:last] = label
    return labels


def labels_of(path: Path, **options: Any) -> np.ndarray:
    dataset = segvoc.read_dataset(path, **options)
    assert len(dataset) == 1
    return dataset.read(0).labels


def coco(*annotations: dict[str, Any], file_name: str = "photo.png") -> dict[str, Any]:
    return {
        "images": [{"id": 77, "file_name": file_name, "width": WIDTH, "height": HEIGHT}],
        "annotations": [{"id": index, "image_id": 77, **entry} for index, entry in enumerate(annotations)],
        "categories": [{"id": 90, "name": "cat"}, {"id": 3, "name": "dog"}],
    }


def test_polygons_are_those_of_pycocotools() -> None:
    height, width = 48, 64
    rng = np.random.default_rng(0)
    polygons = [[8.1, 4, 12, 4, 8.1, 24]]
    polygons += [rng.uniform(-5, 70, 2 * corners).round(corners % 4).tolist() for corners in rng.integers(3, 20, 300)]
    for flat in polygons:
        shapes = Shapes(shapes=(Shape(label=1, patch=Polygons([flat])),))
        expected: Any = coco_mask.decode(coco_mask.frPyObjects([flat], height, width))  # type: ignore[call-overload]
        np.testing.assert_array_equal(shapes.draw((height, width), 0), expected[..., 0])


def test_coco_with_several_sets_and_a_byte_order_mark(tmp_path: Path) -> None:
    for split, category in (("train2017", 90), ("val2017", 3)):
        make_image(tmp_path / split / "photo.png")
        content = json.dumps(coco({"category_id": category, "segmentation": [SQUARE]}))
        write(tmp_path / f"annotations/instances_{split}.json", f"\ufeff{content}")
    with pytest.raises(UsageError, match=r"several files: train2017, val2017; choose one with --split"):
        segvoc.read_dataset(tmp_path)
    with pytest.raises(UsageError, match="no set 'test'; its files are train2017, val2017"):
        segvoc.read_dataset(tmp_path, split="test")
    dataset = segvoc.read_dataset(tmp_path, split="val2017")
    assert dataset.images[0].image == tmp_path / "val2017/photo.png"
    np.testing.assert_array_equal(dataset.read(0).labels, square(1))


def labelme(*shapes: dict[str, Any], image: str = "photo.png") -> dict[str, Any]:
    return {"shapes": list(shapes), "imagePath": image, "imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None}


def test_old_labelme_without_shape_types_and_labels(tmp_path: Path) -> None:
    make_image(tmp_path / "photo.png")
    ignored = {"label": "__ignore__", "points": [[0, 0], [9, 0], [9, 9]]}
    cat = {"label": "cat", "points": [[2, 2], [6, 2], [6, 6], [2, 6]]}
    write(tmp_path / "photo.json", labelme(ignored, cat))
    write(tmp_path / "notes.json", {"about": "this folder"})
    np.testing.assert_array_equal(labels_of(tmp_path), square())


def test_labelme_with_other_shapes_beside_an_image_folder(tmp_path: Path) -> None:
    make_image(tmp_path / "images/photo.png")
    box = {"label": "dog", "shape_type": "rectangle", "points": [[6, 6], [2, 2]]}
    circle = {"label": "cat", "shape_type": "circle", "points": [[9, 7], [9, 8]]}
    write(tmp_path / "json/photo.json", labelme(circle, box, image="..\\images\\photo.png"))
    write(tmp_path / "labels.txt", "__ignore__\n_background_\ndog\ncat\n")
    dataset = segvoc.read_dataset(tmp_path)
    assert dataset.vocabulary.words == ("_background_", "dog", "cat")
    assert dataset.background == "_background_"
    expected = square(1, outside=0)
    expected[6:9, 9] = expected[7, 8:11] = 2
    labels = dataset.read(0).labels
    assert ((labels == 1) == (expected == 1)).all()
    assert labels[7, 9] == 2 and labels[0, 0] == 0


def test_yolo_of_roboflow(tmp_path: Path) -> None:
    make_image(tmp_path / "train/images/photo.PNG")
    corners = " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in np.reshape(SQUARE, (4, 2)))
    write(tmp_path / "train/labels/photo.txt", f"1 {corners}\r\n\r\n")
    make_image(tmp_path / "valid/images/other.png")  # nothing in it, so no text file
    (tmp_path / "valid/labels").mkdir()
    names = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n"
    write(tmp_path / "data.yaml", names)
    np.testing.assert_array_equal(labels_of(tmp_path, split="train"), square(1))
    assert (labels_of(tmp_path, split="val") == UNLABELED).all()


def test_official_voc(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit/VOC2012"
    for name in ("a", "b"):
        make_image(root / f"JPEGImages/{name}.jpg")
    (root / "SegmentationClass").mkdir()
    labels = square(8, outside=255).astype(np.uint8)
    for name in ("a", "b"):
        Image.fromarray(labels).save(root / f"SegmentationClass/{name}.png")
    for name, stems in (("train", "a\n"), ("val", "b\n")):
        write(root / f"ImageSets/Segmentation/{name}.txt", stems)
    with pytest.raises(UsageError, match="several lists in ImageSets/Segmentation: train, val"):
        segvoc.read_dataset(tmp_path)
    dataset = segvoc.read_dataset(tmp_path, split="val")
    assert dataset.vocabulary.words[8] == "cat" and dataset.background == "background"
    np.testing.assert_array_equal(dataset.read(0).labels, square(8))
    assert [image.stem for image in segvoc.read_dataset(root / "ImageSets/Segmentation/train.txt").images] == ["a"]


def test_voc_of_labelme2voc(tmp_path: Path) -> None:
    make_image(tmp_path / "JPEGImages/photo.jpg")
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(square(1, outside=0).astype(np.uint8)).save(tmp_path / "SegmentationClass/photo.png")
    file = write(tmp_path / "class_names.txt", "_background_\nyellow duck\n")
    dataset = segvoc.read_dataset(tmp_path)
    assert dataset.vocabulary.words == ("background", "yellow duck") and dataset.background == "background"
    np.testing.assert_array_equal(dataset.read(0).labels, square(1, outside=0))
    write(file, "\n")
    with pytest.raises(UsageError, match=r"class_names\.txt' is damaged: it has no class"):
        segvoc.read_dataset(tmp_path)


def cvat(shapes: str, *, name: str = "photo.png") -> str:
    labels = "".join(f"<label><name>{word}</name><attributes/></label>" for word in ("cat", "dog"))
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    meta = f"<meta><job><labels>{labels}</labels></job></meta>"
    image = f'<image id="0" name="{name}" subset="default" {size}>{shapes}</image>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}{image}</annotations>'


def test_cvat_with_polygons_boxes_and_layers(tmp_path: Path) -> None:
    make_image(tmp_path / "images/default/photo.png")
    front = '<polygon label="cat" points="2,2;6,2;6,6;2,6" z_order="3"><attribute name="id">7</attribute></polygon>'
    back = '<box label="dog" xtl="0" ytl="0" xbr="8.0" ybr="8.0" z_order="-1"/>'
    write(tmp_path / "annotations.xml", cvat(front + back))
    expected = np.full((HEIGHT, WIDTH), UNLABELED)
    expected[:8, :8] = 1
    expected[2:6, 2:6] = 0
    np.testing.assert_array_equal(labels_of(tmp_path), expected)


# ---- shapes without an area


def test_labelme_with_ignored_pixels_lines_and_an_embedded_image(tmp_path: Path) -> None:
    image = make_image(tmp_path / "photo.png")
    content = base64.b64encode(image.read_bytes()).decode()
    image.unlink()
    corners = np.reshape(SQUARE, (4, 2)).tolist()
    shapes = [
        {"label": "cat", "points": [[0, 0], [1, 1]], "shape_type": "line"},
        {"label": "cat", "points": [[0, 0]], "shape_type": "point"},
        {"label": "cat", "points": corners, "shape_type": "polygon"},
        {"label": "__ignore__", "points": [[0, 8], [WIDTH - 1, 9]], "shape_type": "rectangle"},
    ]
    about = {"imagePath": "photo.png", "imageData": content, "imageHeight": HEIGHT, "imageWidth": WIDTH}
    write(tmp_path / "photo.json", {**about, "shapes": shapes})
    with pytest.warns(SkippedShapesWarning, match=r"\(1 line, 1 point\): 2; draw"):
        dataset = segvoc.read_dataset(tmp_path, background="rest")
    pixels, labels = dataset.read(0)
    assert (pixels == (10, 200, 30)).all()
    assert labels[8, 0] == UNLABELED and labels[0, 0] == 1 and labels[4, 4] == 0
    write(tmp_path / "photo.json", {**about, "imageData": "no base64!", "shapes": shapes[2:]})
    with pytest.raises(InputError, match="its image is not in base64"):
        segvoc.read_dataset(tmp_path).read(0)


def test_coco_of_roboflow_and_labelme2coco(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        make_image(tmp_path / f"rf/{split}/photo.png")
        write(tmp_path / f"rf/{split}/_annotations.coco.json", coco({"category_id": 90, "segmentation": [SQUARE]}))
    with pytest.raises(UsageError, match="several sets: train, valid; choose one with --split"):
        segvoc.read_dataset(tmp_path / "rf")
    np.testing.assert_array_equal(labels_of(tmp_path / "rf", split="valid"), square())
    make_image(tmp_path / "l2c/photo.png")
    write(tmp_path / "l2c/annotations.json", coco({"category_id": 90, "segmentation": [SQUARE]}))
    np.testing.assert_array_equal(labels_of(tmp_path / "l2c"), square())


def test_yolo_with_text_files_beside_the_images_or_nowhere(tmp_path: Path) -> None:
    make_image(tmp_path / "images/photo.png")
    write(tmp_path / "data.yaml", "names: [cat]\ntrain: images\n")
    with pytest.raises(UsageError, match="labels' of its text files is missing"):
        segvoc.read_dataset(tmp_path)
    corners = np.reshape(SQUARE, (4, 2)) / [WIDTH, HEIGHT]
    write(tmp_path / "images/photo.txt", "0 " + " ".join(map(str, corners.ravel().tolist())))
    np.testing.assert_array_equal(labels_of(tmp_path), square())


# ---- what is outside, what format it is, what is missing


@pytest.mark.parametrize(("background", "words"), [("cat", ("cat", "dog")), ("rest", ("cat", "dog", "rest"))])
def test_background_is_what_lies_outside(tmp_path: Path, background: str, words: tuple[str, ...]) -> None:
    make_image(tmp_path / "images/photo.png")
    write(tmp_path / "annotations/instances.json", coco({"category_id": 3, "segmentation": [SQUARE]}))
    dataset = segvoc.read_dataset(tmp_path, background=background)
    assert dataset.vocabulary.words == words and dataset.background == background
    np.testing.assert_array_equal(dataset.read(0).labels, square(1, outside=words.index(background)))


def test_format_that_is_not_plain(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not in any known dataset format; name its format"):
        dataset_format(tmp_path)
    write(tmp_path / "annotations.xml", "<annotations/>")
    write(tmp_path / "tasks.json", [])
    with pytest.raises(UsageError, match="could be cvat or label-studio; name its format"):
        segvoc.read_dataset(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        segvoc.read_dataset(tmp_path / "missing")
    with pytest.raises(UsageError, match="format 'tfrecord' is unknown"):
        segvoc.read_dataset(tmp_path, "tfrecord")


def test_missing_images(tmp_path: Path) -> None:
    content = coco({"category_id": 3, "segmentation": [SQUARE]})
    write(tmp_path / "annotations/instances.json", content)
    with pytest.raises(
        UsageError, match=r"has none of its images: .*photo\.png' is missing; give their folder with --im"
    ):
        segvoc.read_dataset(tmp_path)
    content["images"].append({"id": 78, "file_name": "other.png"})
    write(tmp_path / "annotations/instances.json", content)
    make_image(tmp_path / "images/other.png")
    dataset = segvoc.read_dataset(tmp_path)
    assert (dataset.read(0).labels == UNLABELED).all()
    with pytest.raises(InputError, match=r"photo\.png' does not exist"):
        dataset.read(1)
