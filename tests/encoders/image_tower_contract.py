"""What every CLIP image tower must keep, whatever its family; the families' tests inherit it."""

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

    def build(self, vit: VitConfig) -> nn.Module:
        raise NotImplementedError

    @pytest.fixture
    def tower(self) -> nn.Module:
        torch.manual_seed(0)
        return self.build(TINY_VIT).eval()

    @pytest.mark.parametrize(("rows", "columns"), [(24, 24), (14, 14), (3, 7), (9, 1)])
    def test_any_grid_gives_maps_of_that_grid(self, tower, rows, columns):
        features = tower(make_image(1, 16 * rows, 16 * columns))
        assert [tuple(x.shape) for x in features.maps] == [(1, tower.channels, rows, columns)]
        assert [tuple(x.shape) for x in features.taps] == [(1, c, rows, columns) for c in tower.tap_channels]

    def test_a_transposed_grid_is_no_reshaped_one(self, tower):
        wide = tower(make_image(1, 64, 128)).maps[0]
        tall = tower(make_image(1, 64, 128).reshape(1, 3, 128, 64)).maps[0]
        assert not torch.allclose(wide.flatten(), tall.flatten(), atol=1e-3)

    def test_a_batch_gives_what_its_images_give_alone(self, tower):
        batch = make_image(3, 96, 64)
        together, alone = tower(batch), [tower(one[None]) for one in batch]
        for stage, parts in (
            (together.maps[0], [x.maps[0] for x in alone]),
            (together.taps[1], [x.taps[1] for x in alone]),
        ):
            torch.testing.assert_close(stage, torch.cat(parts), rtol=1e-4, atol=1e-5)

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
        unused = {name for name, parameter in tower.named_parameters() if parameter.grad is None}
        assert image.grad is not None and image.grad.abs().sum() > 0
        assert unused == self.unused(tower)

    def unused(self, tower: nn.Module) -> set[str]:
        """Parameters that the dense reading never touches."""
        raise NotImplementedError

    def test_bfloat16_stays_near_float32(self):
        torch.manual_seed(0)
        tower = self.build(TINY_VIT).eval()
        image = make_image(1, 96, 64)
        with torch.no_grad():
            exact, rough = tower(image).maps[0], tower.to(torch.bfloat16)(image).maps[0]
        assert rough.dtype == torch.bfloat16
        similarity = torch.cosine_similarity(exact, rough.float(), dim=1)
        assert similarity.min() > 0.99

    def test_it_runs_on_the_meta_device(self):
        with torch.device("meta"):
            tower = self.build(TINY_VIT)
            features = tower(torch.empty(2, 3, 96, 64))
        assert features.maps[0].is_meta and features.maps[0].shape == (2, 64, 6, 4)
