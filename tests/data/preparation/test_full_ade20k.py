import numpy as np
import pytest
import torch

from segvoc.data.preparation.conversions import resized_linear, resized_nearest, shrunk_size


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
def test_linear_resizing_is_that_of_four_neighbors(size):
    """PyTorch's interpolation without antialiasing has the same rule; rounding may differ by one."""
    image = np.random.default_rng(0).integers(0, 256, (23, 37, 3), dtype=np.uint8)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None].float(), size=size, mode="bilinear", align_corners=False
    )
    ours = resized_linear(image, *size).astype(np.float32)
    assert np.abs(ours - theirs[0].permute(1, 2, 0).numpy()).max() <= 0.51


@pytest.mark.parametrize("size", [(7, 11), (20, 31), (13, 90)])
def test_nearest_resizing_takes_corners(size):
    labels = np.random.default_rng(0).integers(0, 847, (23, 37)).astype(np.uint16)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(labels.astype(np.float32))[None, None], size=size)
    assert (resized_nearest(labels, *size) == theirs[0, 0].numpy()).all()
