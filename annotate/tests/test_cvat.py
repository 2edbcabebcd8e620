"""The detection function for CVAT, with CVAT's own library."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import segvoc
from segvoc.inference.segmentation import Segmentation
from tests.lazy_modules import LazyModule, lazily

cvat = lazily("cvat_sdk", 'needs the extra "cvat"', "segvoc_annotate.cvat")
masks, auto_annotation = LazyModule("cvat_sdk.masks"), LazyModule("cvat_sdk.auto_annotation")

CUP = Path(__file__).parents[2] / "samples" / "coffee.jpg"
WORDS = "cup, table, spoon, rest"


def detection_context(**changes: Any) -> Any:
    """What CVAT asks for, as it calls a detection function."""

    @dataclass
    class Asked(auto_annotation.DetectionFunctionContext):
        conf_threshold: float | None = None
        conv_mask_to_poly: bool = False
        frame_name: str = "coffee.jpg"

    return Asked(**changes)


@pytest.fixture(scope="module")
def image() -> Iterator[Image.Image]:
    with Image.open(CUP) as opened:
        yield opened.convert("RGB")


@pytest.fixture(scope="module")
def result(image: Image.Image) -> Segmentation:
    return segvoc.load("tiny").segment(image, segvoc.Vocabulary(WORDS), background="rest")


def test_masks_together_are_the_label_map(image: Image.Image, result: Segmentation):
    shapes = cvat.create(WORDS, background="rest", smallest=1).detect(detection_context(), image)
    labels = np.full(result.labels.shape, 3)
    for shape in shapes:
        mask = masks.decode_mask(shape.points, image_width=image.width, image_height=image.height)
        assert (labels[mask] == 3).all() and mask.any()  # they don't overlap
        labels[mask] = shape.label_id
    assert np.array_equal(labels, result.labels)


def test_polygons_are_close_to_the_masks(image: Image.Image, result: Segmentation):
    shapes = cvat.create(WORDS, background="rest").detect(detection_context(conv_mask_to_poly=True), image)
    assert {shape.type.value for shape in shapes} == {"polygon"}
    cup = Image.new("1", image.size)
    for shape in shapes:
        if shape.label_id == 0:
            # Pillow's coordinates are those of pixel centers
            corners = np.reshape(shape.points, (-1, 2)) - 0.5
            ImageDraw.Draw(cup).polygon([tuple(corner) for corner in corners], fill=1)
    drawn, expected = np.asarray(cup), result.labels == 0
    assert (drawn & expected).sum() / (drawn | expected).sum() > 0.95
