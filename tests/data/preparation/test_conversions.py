"""Masks of COCO, and images resized as the preparation of the full ADE20K does."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segvoc.data.preparation.conversions import coco_mask, resized_linear, resized_nearest, shrunk_size
from segvoc.errors import UsageError
from tests.data.original_files import compressed_runs, runs_of


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_both_forms_give_the_mask_back(mask):
    runs = runs_of(mask)
    size = list(mask.shape)
    assert (coco_mask({"size": size, "counts": runs}, *mask.shape) == mask).all()
    assert (coco_mask({"size": size, "counts": compressed_runs(runs)}, *mask.shape) == mask).all()


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


@given(st.tuples(*[st.integers(0, 9)] * 4), st.booleans())
def test_rectangles_on_the_borders_of_pixels_hold_these_pixels(corners, clockwise):
    left, right = sorted(corners[:2])
    top, bottom = sorted(corners[2:])
    points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    polygon = np.array(points if clockwise else points[::-1], np.float64).flatten()
    expected = np.zeros((9, 9), bool)
    expected[top:bottom, left:right] = True
    assert (coco_mask([polygon.tolist()], 9, 9) == expected).all()


def test_polygons_hold_the_pixels_whose_centers_are_in_them_and_are_united_and_lines_passed_over():
    # the hypotenuse x + y = 6.5 meets no center
    mask = coco_mask([[0, 0, 6.5, 0, 0, 6.5]], 8, 8)
    rows, columns = np.mgrid[:8, :8] + 0.5
    assert (mask == (rows + columns < 6.5)).all()
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
