"""The image tower of tiny: its maps at any size, ConSE, and a trunk that computes what timm's computes."""

import pytest
import torch
from timm.models.efficientnet import EfficientNet, tf_efficientnet_lite2
from torch import Tensor, nn

from segvoc.encoders.efficientnet import EfficientNetLite, EfficientNetTrunk, SameConv2d


@pytest.fixture(scope="module")
def tower() -> EfficientNetLite:
    torch.manual_seed(0)
    tower = EfficientNetLite().eval()
    tower.class_embeddings.normal_()
    return tower


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 96), (160, 48)])
@torch.inference_mode()
def test_maps_lie_on_the_stride_16_grid(tower: EfficientNetLite, height: int, width: int) -> None:
    features = tower(torch.rand(2, 3, height, width) * 255)
    assert [tuple(m.shape) for m in features.maps] == [(2, tower.channels, height // 16, width // 16)] * 3
    strides = (8, 4)
    assert [tuple(t.shape) for t in features.taps] == [
        (2, channels, height // stride, width // stride)
        for channels, stride in zip(tower.tap_channels, strides, strict=True)
    ]


@torch.inference_mode()
def test_the_last_map_is_a_convex_combination_of_class_embeddings(tower: EfficientNetLite) -> None:
    head = torch.rand(1, 1280, 2, 3) * 6
    conse = tower.conse(tower.class_logits(head))
    probabilities = tower.trunk.classifier(head[0, :, 1, 2]).softmax(dim=0)
    torch.testing.assert_close(conse[0, :, 1, 2], probabilities @ tower.class_embeddings)


@torch.inference_mode()
def test_the_dilated_head_equals_the_published_stride_32_trunk_where_their_grids_meet(tower: EfficientNetLite) -> None:
    strided = tf_efficientnet_lite2()
    strided.load_state_dict(tower.trunk.state_dict())
    image = torch.rand(1, 3, 512, 512) * 255
    expected = strided.eval().forward_features(image / 127.5 - 1.0)[..., 7:9, 7:9]
    dense = tower.trunk.head(tower.stages(image)[-1])
    # "same" padding of the strided convolution puts its cell i on the dense cell 2 i + 1
    torch.testing.assert_close(dense[..., 15:18:2, 15:18:2], expected, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_class_logits_come_on_request(tower: EfficientNetLite) -> None:
    image = torch.rand(1, 3, 64, 96) * 255
    own = EfficientNetLite(known_classes=True).eval()
    own.load_state_dict(tower.state_dict())
    features, plain = own(image), tower(image)
    assert plain.class_logits is None
    for one, other in zip(features.maps, plain.maps, strict=True):
        torch.testing.assert_close(one, other)
    cells = tower.trunk.classifier(tower.trunk.head(tower.stages(image)[3]).movedim(1, -1)).movedim(-1, 1)
    expected = torch.nn.functional.avg_pool2d(cells, 3, stride=1, padding=1, count_include_pad=False)
    torch.testing.assert_close(features.class_logits, expected)


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


def outputs_of(trunk: EfficientNetTrunk | EfficientNet, pixels: Tensor) -> list[Tensor]:
    ours = isinstance(trunk, EfficientNetTrunk)
    outputs = [trunk.stem(pixels) if ours else trunk.bn1(trunk.conv_stem(pixels))]
    for stage in trunk.blocks:
        outputs.append(stage(outputs[-1]))
    return [*outputs, trunk.head(outputs[-1]) if ours else trunk.bn2(trunk.conv_head(outputs[-1]))]


@pytest.mark.parametrize(("height", "width"), [(64, 96), (61, 79)])
@torch.inference_mode()
def test_every_stage_is_timms(trunks: tuple[EfficientNetTrunk, EfficientNet], height: int, width: int) -> None:
    ours, theirs = trunks
    pixels = torch.rand(2, 3, height, width) * 2 - 1
    found, expected = outputs_of(ours, pixels), outputs_of(theirs, pixels)
    assert len(found) == 9
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


def test_training_moves_the_same_statistics_and_gradients() -> None:
    """In float64, where no rounding flips a ReLU."""
    torch.manual_seed(0)
    ours, theirs = EfficientNetTrunk().double(), tf_efficientnet_lite2(output_stride=16).double()
    theirs.load_state_dict(ours.state_dict())
    pixels = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    for trunk in (ours, theirs):
        outputs_of(trunk, pixels)[-1].square().mean().backward()
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
