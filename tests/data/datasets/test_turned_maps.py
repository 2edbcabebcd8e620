"""Label maps with an EXIF orientation are read upright, as their images are: all eight, by every reader."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.imaging.label_maps import read_label_map
from segvoc.models.opening import load_tiny
from tests.data.datasets.published_layouts import LAYOUTS
from tests.images import made_photograph

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


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layouts(tmp_path: Path, name: str) -> None:
    layout = LAYOUTS[name]
    layout.write(tmp_path / "plain")
    expected = None
    for orientation in _TURNS:
        folder = tmp_path / str(orientation)
        layout.write(folder)
        turn_files(folder, orientation)
        dataset = segvoc.read_dataset(folder / layout.start, split=layout.split)
        image, labels = dataset.read(0)
        found = labels, dataset.read_objects(0, image.shape[:2])
        expected = found if expected is None else expected
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def drawn_result(path: Path) -> segvoc.Segmentation:
    result = load_tiny().segment(path, ["cat", "sky", "wall"])
    labels = np.full(result.labels.shape, 2, np.uint16)
    labels[3:12, 4:30] = 0
    return replace(result, labels=labels)


def _folders(root: Path) -> Callable[[], segvoc.LabeledImages]:
    for place in ("images", "labels"):
        (root / place).mkdir(parents=True)
    Image.fromarray(made_photograph()).save(root / "images/a.jpg")
    result = drawn_result(root / "images/a.jpg")
    Image.fromarray(result.labels.astype(np.uint8)).save(root / "labels/a.png")
    (root / "classes.json").write_text(json.dumps(result.words))
    return lambda: segvoc.LabeledImages.from_folders(root / "images", root / "labels", root / "classes.json")


def _written(format: str) -> Callable[[Path], Callable[[], segvoc.LabeledImages]]:
    def write(root: Path) -> Callable[[], segvoc.LabeledImages]:
        root.mkdir()
        Image.fromarray(made_photograph()).save(root / "a.jpg")
        with segvoc.DatasetWriter(root / "set", format) as dataset:
            dataset.add(drawn_result(root / "a.jpg"))
        return lambda: segvoc.read_dataset(root / "set")

    return write


@pytest.mark.parametrize("make", [_folders, _written("voc"), _written("coco-panoptic")])
def test_folders_and_written_datasets(tmp_path: Path, make: Any) -> None:
    expected = None
    for orientation in _TURNS:
        read = make(tmp_path / str(orientation))
        turn_files(tmp_path / str(orientation), orientation)
        images = read()
        image, labels = images.read(0)
        objects = images.read_objects(0, image.shape[:2])
        expected = (labels, objects) if expected is None else expected
        assert len(np.unique(labels)) > 1
        np.testing.assert_array_equal(labels, expected[0])
        np.testing.assert_array_equal(objects, expected[1])


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
