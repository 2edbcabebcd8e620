"""Label maps with an EXIF orientation are read upright, as their images are.

Every reader turns by `read_label_map`, which is tested with all eight orientations; the readers are with one.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.imaging.label_maps import read_label_map
from tests.data.datasets.published_layouts import LAYOUTS
from tests.labeling.formats.drawn_results import drawn_result

_TURNS = (
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_270,
)
"""How the pixels of an upright image are turned before they get the orientations 1 to 8."""

LABELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def turned(image: Image.Image, orientation: int, file: Any, kind: str = "PNG") -> None:
    turn, exif = _TURNS[orientation - 1], Image.Exif()
    exif[0x0112] = orientation
    (image if turn is None else image.transpose(turn)).save(file, kind, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_label_maps(tmp_path: Path, orientation: int, kind: str, mode: str) -> None:
    image = Image.fromarray(LABELS.astype(np.uint16) if mode == "I;16" else LABELS)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    turned(image, orientation, tmp_path / "map", kind)
    np.testing.assert_array_equal(read_label_map(tmp_path / "map"), LABELS)


def _write_folders(folder: Path) -> None:
    result = drawn_result()
    for name, pixels in (("images/a.jpg", result.image), ("labels/a.png", np.minimum(result.labels, 255))):
        (folder / name).parent.mkdir(parents=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    (folder / "classes.json").write_text(json.dumps(result.words))


def _write_dataset(folder: Path, format: Any) -> None:
    with segvoc.DatasetWriter(folder, format) as dataset:
        dataset.add(drawn_result(), "a")


def _read_folders(folder: Path) -> segvoc.LabeledImages:
    return segvoc.LabeledImages.from_folders(folder / "images", folder / "labels", folder / "classes.json")


DATASETS: dict[str, tuple[Callable[[Path], None], Callable[[Path], segvoc.LabeledImages]]] = {
    "folders": (_write_folders, _read_folders),
    **{name: (partial(_write_dataset, format=name), segvoc.read_dataset) for name in ("voc", "coco-panoptic")},
}
for _name, _layout in LAYOUTS.items():
    DATASETS[_name] = (_layout.write, lambda folder, at=_layout: segvoc.read_dataset(folder / at.start, split=at.split))


@pytest.mark.parametrize("name", DATASETS)
def test_datasets(tmp_path: Path, name: str) -> None:
    write, read = DATASETS[name]
    for place in ("plain", "turned"):
        write(tmp_path / place)
    for path in [*(tmp_path / "turned").rglob("*.png"), *(tmp_path / "turned").rglob("*.tif")]:
        with Image.open(path) as image:
            image.load()
        if "images" not in path.parts:
            turned(image, 7, path, "PNG" if path.suffix == ".png" else "TIFF")
    plain, other = read(tmp_path / "plain"), read(tmp_path / "turned")
    image, labels = plain.read(0)
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(other.read(0).labels, labels)
    np.testing.assert_array_equal(other.read_objects(0, image.shape[:2]), plain.read_objects(0, image.shape[:2]))
