"""The image tower of tiny: its maps at any size, and ConSE."""

import pytest
import torch

from segvoc.encoders.efficientnet import EfficientNetLite


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
    tower_of_ones = tower.class_embeddings.clone()
    try:
        tower.class_embeddings.fill_(1.0)
        torch.testing.assert_close(tower.conse(tower.class_logits(head)), torch.ones(1, tower.channels, 2, 3))
    finally:
        tower.class_embeddings.copy_(tower_of_ones)


@torch.inference_mode()
def test_the_dilated_head_equals_the_published_stride_32_trunk_where_their_grids_meet(tower: EfficientNetLite) -> None:
    from timm.models.efficientnet import tf_efficientnet_lite2

    strided = tf_efficientnet_lite2()
    strided.load_state_dict(tower.trunk.state_dict())
    image = torch.rand(1, 3, 512, 512) * 255
    expected = strided.eval().forward_features(image / 127.5 - 1.0)[..., 7:9, 7:9]
    dense = tower.head(tower.stages(image)[-1])
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
    cells = tower.trunk.classifier(tower.head(tower.stages(image)[3]).movedim(1, -1)).movedim(-1, 1)
    expected = torch.nn.functional.avg_pool2d(cells, 3, stride=1, padding=1, count_include_pad=False)
    torch.testing.assert_close(features.class_logits, expected)
