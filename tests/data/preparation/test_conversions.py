"""Masks of COCO, and images resized as the preparation of the full ADE20K does."""

import sys

import numpy as np
import pytest
import torch

from segvoc.data.preparation.conversions import coco_mask, resized_linear, resized_nearest, shrunk_size
from segvoc.errors import UsageError


@pytest.mark.parametrize(
    ("segmentation", "match"),
    [
        *(({"size": [2, 3], "counts": counts}, "don't fill the 6 pixels") for counts in ([5], [7, -1], "5", "6O")),
        *(({"size": [2, 3], "counts": counts}, "not valid") for counts in ("", "PPPPPPP0")),
        ({"size": [3, 2], "counts": [6]}, r"a mask is \[3, 2\], its image \[2, 3\]"),
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


def test_without_pycocotools_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UsageError, match=r'pycocotools.*pip install "segvoc\[data\]"'):
        coco_mask([[0, 0, 1, 0, 0, 1]], 4, 4)


@pytest.mark.parametrize(
    ("size", "shrunk"),
    [
        ((512, 900), (512, 900)),
        ((300, 2000), (300, 2000)),
        ((1024, 1100), (512, 550)),
        ((1100, 1024), (550, 512)),
        ((513, 513), (512, 512)),
        ((768, 1023), (512, 682)),
    ],
)
def test_the_short_side_is_at_most_512(size, shrunk):
    assert shrunk_size(*size) == shrunk


@pytest.mark.parametrize("size", [(7, 11), (20, 31), (13, 90)])
def test_images_are_resized_by_four_neighbors_and_labels_take_corners(size):
    """PyTorch's interpolation without antialiasing has the same rules; rounding may differ by one."""
    image = np.random.default_rng(0).integers(0, 256, (23, 37, 3), dtype=np.uint8)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    linear = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
    ours = resized_linear(image, *size).astype(np.float32)
    assert np.abs(ours - linear[0].permute(1, 2, 0).numpy()).max() <= 0.51
    nearest = torch.nn.functional.interpolate(pixels, size=size)
    assert (resized_nearest(image[..., 0].astype(np.uint16), *size) == nearest[0, 0].numpy()).all()
