"""What every CLIP image tower must keep, whatever its family; the families' tests inherit it."""

import re

import pytest
import torch
from torch import Tensor, nn

from segvoc.encoders.vit import VitConfig

TINY_VIT = VitConfig(
    channels=64, width=128, layers=9, heads=2, patch_size=16, pretrained_size=224, input_size=384, taps=(3, 7)
)


def make_image(batch: int, height: int, width: int) -> Tensor:
    """Random pixels in [0, 255]."""
    return 255 * torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height))


class ImageTowerContract:
    """Subclasses say how to build a tower of given sizes."""

    build: type[nn.Module]
    unused: str
    """What names of parameters that the dense reading never touches begin with, as a regular expression."""

    @pytest.fixture
    def tower(self) -> nn.Module:
        torch.manual_seed(0)
        return self.build(TINY_VIT).eval()

    @pytest.mark.parametrize(("rows", "columns"), [(24, 24), (14, 14), (3, 7), (9, 1)])
    def test_any_grid_gives_maps_of_that_grid(self, tower, rows, columns):
        features = tower(make_image(1, 16 * rows, 16 * columns))
        assert [tuple(x.shape) for x in features.maps] == [(1, tower.channels, rows, columns)]
        assert [tuple(x.shape) for x in features.taps] == [(1, c, rows, columns) for c in tower.tap_channels]

    def test_a_image_between_two_grids_is_refused(self, tower):
        with pytest.raises(ValueError, match="100x64"):
            tower(make_image(1, 100, 64))

    def test_changed_positions_show_at_once(self, tower):
        image, positions = make_image(1, 96, 64), next(p for n, p in tower.named_parameters() if "pos" in n)
        with torch.no_grad():
            before = tower(image).maps[0]
            positions.mul_(-3)
            after = tower(image).maps[0]
        assert not torch.allclose(before, after, atol=1e-3)

    def test_gradients_reach_the_pixels_and_every_parameter_in_use(self, tower):
        image = make_image(1, 64, 48).requires_grad_()
        features = tower(image)
        torch.stack([x.square().sum() + x.sum() for x in (*features.maps, *features.taps)]).sum().backward()
        assert image.grad is not None and image.grad.abs().sum() > 0
        for name, parameter in tower.named_parameters():
            assert (parameter.grad is None) == bool(re.match(self.unused, name)), name
