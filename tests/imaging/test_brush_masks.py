"""Masks as run lengths: Label Studio's, against masks of its own library, and COCO's, against pycocotools."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from segvoc.errors import UsageError
from segvoc.imaging.annotations import brush_masks, coco_masks
from tests.brush_masks import unpacked

STORED = json.loads((Path(__file__).parent / "label_studio_masks.json").read_text(encoding="utf-8"))["masks"]


def drawn(entry: dict[str, object]) -> np.ndarray:
    """The label map of a stored mask: 0 inside, 65535 outside."""
    labels = np.full(entry["height"] * entry["width"], 65_535, np.uint16)
    for begin, end in entry["inside"]:
        labels[begin:end] = 0
    return labels.reshape(entry["height"], entry["width"])


@pytest.mark.parametrize("entry", STORED, ids=lambda entry: entry["name"])
def test_bytes_are_those_of_label_studios_library(entry):
    (mask,) = brush_masks(drawn(entry), 1)
    expected = bytes.fromhex(entry["bytes"])
    # the library adds a byte of zeros where none is missing
    assert expected.startswith(mask.tobytes())
    assert expected[mask.size :] in (b"", b"\0")


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (40, 61)])
@pytest.mark.parametrize("classes", [1, 3, 300])
def test_masks_are_the_classes(size, classes):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, classes, size).astype(np.uint16)
    noise[generator.random(size) < 0.2] = 65_535
    empty = np.full(size, 65_535, np.uint16)
    for labels in (noise, empty, np.zeros(size, np.uint16), np.repeat(noise[:, :1], size[1], 1)):
        runs = list(coco_masks(labels, classes))
        masks = list(brush_masks(labels, classes))
        assert len(runs) == len(masks) == classes
        for label, mask in enumerate(masks):
            inside = labels == label
            expected = coco.encode(np.asfortranarray(inside).astype(np.uint8, order="F"))
            assert runs[label] == {"size": list(size), "counts": expected["counts"].decode()}
            assert (mask.size > 0) == inside.any()
            if mask.size:
                np.testing.assert_array_equal(unpacked(mask.tolist(), *size), np.where(inside, 255, 0))


def test_larger_images_than_the_format_holds_are_refused():
    labels = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint16), (1 << 15, 1 << 15), (0, 0))
    with pytest.raises(UsageError, match="make the image smaller"):
        next(brush_masks(labels, 1))
