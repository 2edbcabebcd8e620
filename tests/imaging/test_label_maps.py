"""Label maps as files, and the colors of classes."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import InputError
from segvoc.imaging.label_maps import UNLABELED, read_label_map, write_label_map
from segvoc.imaging.palette import class_colors
from tests.images import one_line_error


def _labels(classes: int, height: int = 20, width: int = 30) -> np.ndarray:
    """Random labels, among them the first, the last and unlabeled."""
    labels = np.random.default_rng(classes).integers(0, classes, (height, width)).astype(np.uint16)
    labels[0, :3] = 0, classes - 1, UNLABELED
    return labels


@pytest.mark.parametrize("classes", [1, 2, 254, 255, 256, 65_535])
def test_label_map_is_an_8_bit_palette_or_from_256_classes_on_16_bit_gray_and_comes_back(tmp_path, classes):
    colors, labels = class_colors(classes), _labels(classes)
    write_label_map(tmp_path / "map.png", labels, colors)
    assert np.array_equal(read_label_map(tmp_path / "map.png"), labels)
    # Bit depth and color type stand at fixed places of a PNG.
    assert (tmp_path / "map.png").read_bytes()[24:26] == (b"\x08\x03" if classes < 256 else b"\x10\x00")
    with Image.open(tmp_path / "map.png") as image:
        if classes > 255:
            assert np.array_equal(np.array(image), labels)
            return
        assert np.array_equal(np.array(image), np.where(labels == UNLABELED, 255, labels))
        shown = np.array(image.convert("RGB"))
    assert shown[0, 1].tolist() == colors[classes - 1].tolist()
    assert shown[0, 2].tolist() == [0, 0, 0]


def test_label_without_color_is_refused(tmp_path: Path) -> None:
    labels = np.array([[0, 5, UNLABELED]], np.uint16)
    with pytest.raises(ValueError, match="label 5 has no color"):
        write_label_map(tmp_path / "map.png", labels, class_colors(5))
    assert not (tmp_path / "map.png").exists()


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_damaged_label_map_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "map.png"
    write_label_map(path, _labels(9), class_colors(9))
    path.write_bytes(path.read_bytes()[:-120] if content is None else content)
    with one_line_error(InputError, match=r"map\.png"):
        read_label_map(path)


def test_colors_are_the_same_in_every_version_and_for_every_number_of_classes() -> None:
    # Users know classes by their colors: a change belongs into the changelog.
    colors = class_colors(70_000)
    assert colors[:3].tolist() == [[238, 52, 18], [49, 65, 205], [255, 184, 46]]
    assert sha256(colors[:23_664].tobytes()).hexdigest()[:16] == "4fd0d65fc2f3c5d1"
    for number in (0, 1, 3, 255, 1000, 23_663, 23_664, 23_665, 69_999):
        assert np.array_equal(class_colors(number), colors[:number])
