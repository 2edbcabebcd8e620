"""The trunk of tiny computes what timm's computes: to the last bit in training, folded batch norms in evaluation."""

import pytest
import torch
from timm.models.efficientnet import EfficientNet, tf_efficientnet_lite2
from torch import Tensor, nn

from segvoc.encoders.efficientnet import EfficientNetTrunk, SameConv2d


@pytest.fixture(scope="module")
def trunks() -> tuple[EfficientNetTrunk, EfficientNet]:
    """Ours and timm's, with the same batch norms that aren't trivial."""
    torch.manual_seed(0)
    ours, theirs = EfficientNetTrunk(), tf_efficientnet_lite2(output_stride=16)
    for name, value in ours.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif name.endswith(("running_mean", "bias")):
            value.normal_(std=0.1)
    theirs.load_state_dict(ours.state_dict())
    return ours.eval(), theirs.eval()


def outputs_of_ours(trunk: EfficientNetTrunk, pixels: Tensor) -> list[Tensor]:
    outputs = [trunk.stem(pixels)]
    for stage in trunk.blocks:
        outputs.append(stage(outputs[-1]))
    return [*outputs, trunk.head(outputs[-1])]


def outputs_of_timms(trunk: EfficientNet, pixels: Tensor) -> list[Tensor]:
    outputs = [trunk.bn1(trunk.conv_stem(pixels))]
    for stage in trunk.blocks:
        outputs.append(stage(outputs[-1]))
    return [*outputs, trunk.bn2(trunk.conv_head(outputs[-1]))]


@pytest.mark.parametrize(("height", "width"), [(64, 96), (61, 79)])
@torch.inference_mode()
def test_every_stage_is_timms(trunks: tuple[EfficientNetTrunk, EfficientNet], height: int, width: int) -> None:
    ours, theirs = trunks
    pixels = torch.rand(2, 3, height, width) * 2 - 1
    found, expected = outputs_of_ours(ours, pixels), outputs_of_timms(theirs, pixels)
    assert len(found) == 9
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


def test_training_moves_the_same_statistics_and_gradients() -> None:
    """In float64, where no rounding flips a ReLU."""
    torch.manual_seed(0)
    ours, theirs = EfficientNetTrunk().double(), tf_efficientnet_lite2(output_stride=16).double()
    theirs.load_state_dict(ours.state_dict())
    pixels = torch.rand(2, 3, 64, 64, dtype=torch.float64) * 2 - 1
    outputs_of_ours(ours, pixels)[-1].square().mean().backward()
    outputs_of_timms(theirs, pixels)[-1].square().mean().backward()
    for (name, one), (_, other) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, msg=name)
    found, expected = (trunk.get_parameter("blocks.2.0.conv_dw.weight").grad for trunk in (ours, theirs))
    assert found is not None and expected is not None
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize(("kernel", "side", "pads"), [(3, 8, (0, 1)), (3, 7, (1, 1)), (5, 8, (1, 2)), (5, 9, (2, 2))])
def test_an_odd_pad_is_at_the_end(kernel: int, side: int, pads: tuple[int, int]) -> None:
    convolution = SameConv2d(1, 1, kernel, stride=2)
    image = torch.randn(1, 1, side, side)
    padded = nn.functional.pad(image, (*pads, *pads))
    expected = nn.functional.conv2d(padded, convolution.weight, stride=2)
    torch.testing.assert_close(convolution(image), expected)
    assert expected.shape[-1] == -(-side // 2)
