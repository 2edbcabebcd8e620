"""Masks as run lengths: Label Studio's, against masks of its own library, and COCO's, against pycocotools."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from segvoc.errors import UsageError
from segvoc.imaging.annotations import class_runs, coco_masks, packed_runs
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
    labels = drawn(entry)
    mask = packed_runs(next(class_runs(labels, 1)), labels.size)
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
        bounds = list(class_runs(labels, classes))
        assert len(runs) == len(bounds) == classes
        for label, changes in enumerate(bounds):
            inside = labels == label
            expected = coco.encode(np.asfortranarray(inside).astype(np.uint8, order="F"))
            assert runs[label] == {"size": list(size), "counts": expected["counts"].decode()}
            assert (changes.size > 0) == inside.any()
            if changes.size:
                mask = packed_runs(changes, labels.size).tolist()
                np.testing.assert_array_equal(unpacked(mask, *size), np.where(inside, 255, 0))


def test_larger_images_than_the_format_holds_are_refused():
    with pytest.raises(UsageError, match="make the image smaller"):
        packed_runs(np.array([0, 1 << 30]), 1 << 30)
