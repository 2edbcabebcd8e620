"""Label maps with an EXIF orientation are read upright, as their images are.

Every reader turns by `read_label_map`, which is tested with all eight orientations; the readers are with one.
"""

import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.imaging.label_maps import read_label_map
from tests.data.datasets.published_layouts import LAYOUTS
from tests.images import made_photograph
from tests.labeling.formats.drawn_results import drawn_result

_TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How the pixels of an upright image are turned before they get an orientation."""

LABELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def turned(image: Image.Image, orientation: int, file: Any, kind: str) -> None:
    turn, exif = _TURNS[orientation], Image.Exif()
    exif[0x0112] = orientation
    (image if turn is None else image.transpose(turn)).save(file, kind, exif=exif)


def turn_files(folder: Path, orientation: int) -> None:
    """Turn the maps in a folder, which are lossless."""
    for path in [*folder.rglob("*.png"), *folder.rglob("*.tif")]:
        with Image.open(path) as image:
            image.load()
        turned(image, orientation, path, "PNG" if path.suffix == ".png" else "TIFF")


@pytest.mark.parametrize("orientation", _TURNS)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_label_maps(tmp_path: Path, orientation: int, suffix: str, mode: str) -> None:
    image = Image.fromarray(LABELS.astype(np.uint16) if mode == "I;16" else LABELS)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    path = tmp_path / f"map{suffix}"
    turned(image, orientation, path, "PNG" if suffix == ".png" else "TIFF")
    np.testing.assert_array_equal(read_label_map(path), LABELS)


def assert_same_as_plain(plain: segvoc.LabeledImages, turned: segvoc.LabeledImages) -> None:
    size = plain.read(0).image.shape[:2]
    assert len(np.unique(plain.read(0).labels)) > 1
    np.testing.assert_array_equal(turned.read(0).labels, plain.read(0).labels)
    np.testing.assert_array_equal(turned.read_objects(0, size), plain.read_objects(0, size))


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layouts(tmp_path: Path, name: str) -> None:
    layout, read = LAYOUTS[name], []
    for orientation in (1, 7):
        folder = tmp_path / str(orientation)
        layout.write(folder)
        turn_files(folder, orientation)
        read.append(segvoc.read_dataset(folder / layout.start, split=layout.split))
    assert_same_as_plain(*read)


def test_folders(tmp_path: Path) -> None:
    result = drawn_result()
    for place in ("images", "labels", "plain"):
        (tmp_path / place).mkdir()
    Image.fromarray(result.image).save(tmp_path / "images/a.jpg")
    for place in ("labels", "plain"):
        Image.fromarray(np.minimum(result.labels, 255).astype(np.uint8)).save(tmp_path / place / "a.png")
    (tmp_path / "classes.json").write_text(json.dumps(result.words))
    turn_files(tmp_path / "labels", 7)
    images, classes = tmp_path / "images", tmp_path / "classes.json"
    plain, turned = (
        segvoc.LabeledImages.from_folders(images, tmp_path / place, classes) for place in ("plain", "labels")
    )
    assert_same_as_plain(plain, turned)


@pytest.mark.parametrize("format", ["voc", "coco-panoptic"])
def test_written_datasets(tmp_path: Path, format: str) -> None:
    for place in ("plain", "turned"):
        with segvoc.DatasetWriter(tmp_path / place, format) as dataset:
            dataset.add(drawn_result(), "a")
    for folder in ("VOCdevkit/VOC2012/SegmentationClass", "VOCdevkit/VOC2012/SegmentationObject", "annotations"):
        turn_files(tmp_path / "turned" / folder, 7)
    assert_same_as_plain(segvoc.read_dataset(tmp_path / "plain"), segvoc.read_dataset(tmp_path / "turned"))


def test_rows_of_hugging_face() -> None:
    def file(image: Image.Image, orientation: int) -> dict[str, Any]:
        content = io.BytesIO()
        turned(image, orientation, content, "PNG")
        return {"bytes": content.getvalue(), "path": None}

    photo = Image.fromarray(made_photograph(4, 3))
    content = {
        "image": [file(photo, orientation) for orientation in _TURNS],
        "label": [file(Image.fromarray(LABELS), orientation) for orientation in _TURNS],
    }
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    images = segvoc.read_huggingface(
        datasets.Dataset.from_dict(content).cast(kinds), [f"class {number}" for number in range(12)]
    )
    for index in range(len(images)):
        image, labels = images.read(index)
        np.testing.assert_array_equal(image, made_photograph(4, 3))
        np.testing.assert_array_equal(labels, LABELS)
