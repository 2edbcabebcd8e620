"""Layers that take fewer passes where nothing is learned: they give what PyTorch's own give."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.layers import onednn, pointwise
from segvoc.layers.onednn import add_depthwise, is_fused
from segvoc.layers.pointwise import PointwiseMLP, pointwise_linear
from segvoc.layers.single_map import SingleMapConv

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02}


@pytest.fixture(params=["as it is", "without oneDNN's operators"])
def engine(request, monkeypatch) -> None:
    if request.param != "as it is":
        for module in (onednn, pointwise):
            monkeypatch.setattr(module, "is_fused", lambda x: False)


def assert_near(found: Tensor, expected: Tensor) -> None:
    error = (found.double() - expected).abs().max() / expected.abs().max()
    assert error <= TOLERANCE[found.dtype]
    assert found.shape == expected.shape


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("learning", [False, True])
def test_linear_maps_with_what_follows_them(dtype: torch.dtype, learning: bool):
    torch.manual_seed(0)
    x, added = torch.randn(2, 3, 5, 16, dtype=dtype), torch.randn(2, 3, 5, 24, dtype=dtype)
    weight, bias = torch.randn(24, 16, dtype=dtype), torch.randn(24, dtype=dtype)
    before, plain = added.clone(), F.linear(x.double(), weight.double(), bias.double())
    with torch.set_grad_enabled(learning):
        assert_near(pointwise_linear(x, weight, bias), plain)
        assert_near(pointwise_linear(x, weight), plain - bias.double())
        assert_near(pointwise_linear(x, weight, bias, gelu=True), F.gelu(plain))
        assert_near(pointwise_linear(x, weight, bias, added_to=added), plain + added.double())
    assert torch.equal(added, before)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_sum_of_two_depthwise_convolutions(dtype: torch.dtype):
    torch.manual_seed(0)
    total, x = (torch.randn(2, 6, 5, 4, dtype=dtype).contiguous(memory_format=torch.channels_last) for _ in range(2))
    weight = torch.randn(6, 2, 3, 3, dtype=dtype)[:, 1:]  # every other kernel of a grouped convolution
    expected = total.double() + F.conv2d(x.double(), weight.double(), padding=1, groups=6)
    with torch.inference_mode():
        assert_near(add_depthwise(total.clone(memory_format=torch.preserve_format), x, weight), expected)


def test_mlps_add_to_what_they_refine():
    mlp, x = PointwiseMLP(8), torch.randn(2, 3, 8)
    assert_near(mlp(x, x), x.double() + mlp.double()(x.double()))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (9, 6)])
@pytest.mark.parametrize("learning", [False, True])
def test_a_single_map(size: tuple[int, int], learning: bool):
    torch.manual_seed(0)
    layer, x = SingleMapConv(12), torch.randn(3, 12, *size)
    with torch.set_grad_enabled(learning):
        found = layer(x)
    assert_near(found, F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1))
    assert found.requires_grad is learning
    assert isinstance(layer, nn.Conv2d)


def test_operators_that_are_missing_are_not_used(monkeypatch):
    """What a newer PyTorch may bring, or an older processor."""

    def missing(*arguments: object) -> object:
        raise RuntimeError("could not create a primitive")

    onednn._works.cache_clear()
    monkeypatch.setattr(onednn, "bfloat16_instructions", lambda: "AMX")
    monkeypatch.setattr(onednn, "_add_depthwise", missing)
    with torch.no_grad():
        assert not is_fused(torch.ones(1))
    onednn._works.cache_clear()
