"""Masks as run lengths: Label Studio's, against masks of its own library, and COCO's, against pycocotools."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from segvoc.errors import UsageError
from segvoc.imaging.annotations import class_runs, coco_mask, coco_masks, packed_runs
from segvoc.imaging.connected_regions import connected_regions, polygon_of

STORED = json.loads((Path(__file__).parent / "label_studio_masks.json").read_text(encoding="utf-8"))["masks"]


def drawn(entry: dict[str, object]) -> np.ndarray:
    """The label map of a stored mask: 0 inside, 65535 outside."""
    labels = np.full(entry["height"] * entry["width"], 65_535, np.uint16)
    for begin, end in entry["inside"]:
        labels[begin:end] = 0
    return labels.reshape(entry["height"], entry["width"])


@pytest.mark.parametrize("entry", STORED, ids=lambda entry: entry["name"])
def test_bytes_are_those_of_label_studios_library(entry):
    labels = drawn(entry)
    mask = packed_runs(next(class_runs(labels, 1)), labels.size)
    expected = bytes.fromhex(entry["bytes"])
    # the library adds a byte of zeros where none is missing
    assert expected.startswith(mask.tobytes())
    assert expected[mask.size :] in (b"", b"\0")


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (40, 61)])
@pytest.mark.parametrize("classes", [1, 3, 300])
def test_masks_of_coco_are_those_of_pycocotools(size, classes):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, classes, size).astype(np.uint16)
    noise[generator.random(size) < 0.2] = 65_535
    for labels in (noise, np.full(size, 65_535, np.uint16), np.zeros(size, np.uint16)):
        inside = [np.asfortranarray(labels == label).astype(np.uint8, order="F") for label in range(classes)]
        expected = [coco.encode(mask)["counts"].decode() for mask in inside]
        assert list(coco_masks(labels, classes)) == [{"size": list(size), "counts": counts} for counts in expected]


@pytest.mark.parametrize(
    ("segmentation", "match"),
    [
        ({"size": [2, 3], "counts": [7, -1]}, "don't fill the 6 pixels"),
        *(({"size": [2, 3], "counts": counts}, "not valid") for counts in ("", "PPPPPPP0")),
        ([[0, 0, float("nan"), 0, 0, 1]], "far outside"),
    ],
)
def test_damaged_masks_are_refused(segmentation, match):
    with pytest.raises(ValueError, match=match):
        coco_mask(segmentation, 2, 3)


def test_polygons_are_united_and_lines_passed_over():
    square, other, line = [0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 3, 1, 3, 3, 1, 3], [0, 0, 3, 3]
    assert coco_mask([square, other, line], 4, 4).sum() == 7
    assert not coco_mask([line, []], 4, 4).any()


def test_larger_images_than_the_format_holds_are_refused():
    with pytest.raises(UsageError, match="make the image smaller"):
        packed_runs(np.array([0, 1 << 30]), 1 << 30)


@pytest.mark.parametrize("seed", [19, 144, 153, *range(1, 4)])
def test_polygons_have_the_pixels_of_their_regions(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = int(random.integers(1, 60)), int(random.integers(1, 60))
    blocks = np.kron(random.integers(0, 7, (height // 4 + 1, width // 4 + 1)), np.ones((4, 4), int))[:height, :width]
    noise = np.where(random.random((height, width)) < 0.15, random.integers(0, 7, (height, width)), blocks)
    labels = np.where(noise == 6, 65_535, noise).astype(np.uint16)
    for region in connected_regions(labels, 6):
        expected = np.zeros(labels.shape, bool)
        expected[region.place] = region.inside
        drawn_again = coco_mask([polygon_of(region).ravel().tolist()], height, width)
        np.testing.assert_array_equal(drawn_again, expected)
