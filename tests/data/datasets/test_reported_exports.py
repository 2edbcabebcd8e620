"""What users reported of exports: fractions for pixels, macOS names, deleted images, poses, other tools' formats."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import SkippedShapesWarning, UsageError
from tests.images import one_line_error

HEIGHT, WIDTH = 48, 64
BOX = [(16, 12), (48, 12), (48, 36), (16, 36)]
"""Corners of a quarter of the image, in pixels."""

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (10, 200, 30)).save(path)
    return path


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def labeled(folder: Path) -> int:
    """The number of labeled pixels in the only image, all in the box."""
    labels = segvoc.read_dataset(folder).read(0).labels
    (top, bottom), (left, right) = (12, 36), (16, 48)
    assert (labels[top:bottom, left:right] == 0).all()
    return int((labels == 0).sum())


def coco(folder: Path, *annotations: dict[str, Any], name: str = "a.jpg") -> Path:
    listed = {"id": 1, "file_name": name, "width": WIDTH, "height": HEIGHT}
    content = {"images": [listed], "categories": [{"id": 1, "name": "cat"}]}
    numbered = [{"id": number, "image_id": 1, "category_id": 1, **one} for number, one in enumerate(annotations)]
    write(folder / "annotations/instances_default.json", content | {"annotations": numbered})
    return folder


def flat(scale: tuple[float, float] = (1, 1)) -> list[float]:
    return [value / factor for corner in BOX for value, factor in zip(corner, scale, strict=True)]


def labelme(folder: Path, points: list[tuple[float, float]], **shape: Any) -> Path:
    shape = {"label": "cat", "points": points} | shape
    write(folder / "a.json", {"shapes": [shape], "imagePath": "a.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH})
    image(folder / "a.jpg")
    return folder


def cvat(folder: Path, points: list[tuple[float, float]]) -> Path:
    listed = ";".join(f"{x},{y}" for x, y in points)
    polygon = f'<polygon label="cat" points="{listed}"/>'
    about = f'<image name="a.jpg" width="{WIDTH}" height="{HEIGHT}">{polygon}</image>'
    labels = "<meta><task><labels><label><name>cat</name></label></labels></task></meta>"
    write(folder / "annotations.xml", f"<annotations>{labels}{about}</annotations>")
    image(folder / "images/a.jpg")
    return folder


@pytest.mark.parametrize("scale", [(1, 1), (WIDTH, HEIGHT)], ids=["pixels", "fractions"])
@pytest.mark.parametrize("tool", ["coco", "labelme", "cvat"])
def test_coordinates_may_be_fractions(tmp_path: Path, tool: str, scale: tuple[int, int]) -> None:
    points = [(x / scale[0], y / scale[1]) for x, y in BOX]
    if tool == "coco":
        image(coco(tmp_path, {"segmentation": [flat(scale)]}) / "images/a.jpg")
    else:
        {"labelme": labelme, "cvat": cvat}[tool](tmp_path, points)
    assert labeled(tmp_path) == 32 * 24


def test_a_pixel_beside_larger_polygons_is_a_pixel(tmp_path: Path) -> None:
    pixel = [0, 0, 1, 0, 1, 1, 0, 1]
    image(coco(tmp_path, {"segmentation": [flat()]}, {"segmentation": [pixel]}) / "images/a.jpg")
    assert labeled(tmp_path) == 32 * 24 + 1


@pytest.mark.parametrize("damaged", [None, 5, "no polygon"])
def test_damage_in_place_of_a_polygon_is_that_of_its_image(tmp_path: Path, damaged: object) -> None:
    image(coco(tmp_path, {"segmentation": [damaged, flat()]}) / "images/a.jpg")
    with one_line_error(segvoc.InputError, "instances_default.json", "the annotation of 'a' is damaged"):
        segvoc.read_dataset(tmp_path).read(0)


@pytest.mark.parametrize(
    ("listed", "there"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), ("a.JPG", "a.jpg"), ("b/c.jpg", "b/c.JPG")]
)
def test_names_differ_by_accents_encoding_or_the_case_of_suffixes(tmp_path: Path, listed: str, there: str) -> None:
    image(coco(tmp_path, {"segmentation": [flat()]}, name=listed) / "images" / there)
    assert labeled(tmp_path) == 32 * 24


def test_a_file_of_exactly_the_name_comes_first(tmp_path: Path) -> None:
    coco(tmp_path, {"segmentation": [flat()]}, name=COMPOSED)
    for name in (COMPOSED, DECOMPOSED):
        image(tmp_path / "images" / name)
    assert segvoc.read_dataset(tmp_path).images[0].image.name == COMPOSED


def test_masks_are_paired_with_images_of_the_other_encoding(tmp_path: Path) -> None:
    image(tmp_path / "images" / DECOMPOSED)
    write(tmp_path / "classes.txt", "sky\n")
    (tmp_path / "masks").mkdir()
    Image.new("L", (WIDTH, HEIGHT), 0).save((tmp_path / "masks" / COMPOSED).with_suffix(".png"))
    beside = LabeledImages.from_folders(tmp_path / "images", tmp_path / "masks", ["sky"])
    for images in (segvoc.read_dataset(tmp_path), beside):
        assert len(images) == 1
        assert (images.read(0).labels == 0).all()


def test_a_mask_of_three_equal_channels_is_a_map(tmp_path: Path) -> None:
    image(tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir()
    values = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    values[:10] = 1
    Image.fromarray(values).save(tmp_path / "masks/a.png")
    images = LabeledImages.from_folders(tmp_path / "images", tmp_path / "masks", ["sky", "sea"])
    assert np.bincount(images.read(0).labels.ravel()).tolist() == [38 * WIDTH, 10 * WIDTH]


def test_annotations_of_deleted_images_are_counted(tmp_path: Path) -> None:
    other = {"image_id": 9, "segmentation": [flat()]}
    image(coco(tmp_path, {"segmentation": [flat()]}, other, other) / "images/a.jpg")
    with pytest.warns(SkippedShapesWarning, match=r"annotations of images that it doesn't list \(1 images\): 2$"):
        assert labeled(tmp_path) == 32 * 24
    coco(tmp_path, other)
    with one_line_error(UsageError, "all of its annotations", "9"):
        segvoc.read_dataset(tmp_path)


def test_numbers_are_labels_of_labelme(tmp_path: Path) -> None:
    labelme(tmp_path, BOX, label=1)
    assert segvoc.read_dataset(tmp_path).vocabulary.words == ("1",)
    assert labeled(tmp_path) == 32 * 24


def test_poses_of_yolo_are_no_polygons(tmp_path: Path) -> None:
    image(tmp_path / "images/a.jpg")
    write(tmp_path / "labels/a.txt", "0 0.5 0.5 0.4 0.4 " + " ".join(["0.5"] * 24))
    write(tmp_path / "data.yaml", "train: images\nkpt_shape: [12, 2]\nnames: {0: tiger}\n")
    with one_line_error(UsageError, "keypoints", "polygons are required"):
        segvoc.read_dataset(tmp_path)


def test_commas_between_the_numbers_of_yolo_are_named(tmp_path: Path) -> None:
    image(tmp_path / "images/a.jpg")
    write(tmp_path / "labels/a.txt", "0,0.1,0.1,0.5,0.1,0.5,0.5\n")
    write(tmp_path / "data.yaml", "train: images\nnames: {0: cat}\n")
    with one_line_error(segvoc.SegvocError, "separate numbers by spaces"):
        segvoc.read_dataset(tmp_path).read(0)


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
    file = write(tmp_path / name, content)
    for path in (tmp_path, file):
        with one_line_error(UsageError, tool, way_out):
            segvoc.read_dataset(path)
