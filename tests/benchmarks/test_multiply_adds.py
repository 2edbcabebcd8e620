"""Multiply-adds are the published ones."""

from functools import cache

import pytest
import torch

from benchmarks.official.multiply_adds import err_block, multiply_adds_of, published_err_seg
from segvoc.layers.selection import ClassSelection
from tests.built import built


@cache
def build(preset: str = "err-seg-b", **options):
    with torch.device("meta"):
        return built(preset, **options).eval()


@pytest.mark.parametrize(("ssr", "csr", "published"), [(1, 1, 188.1), (1, 2, 148.9), (2, 1, 134.6), (2, 2, 95.3)])
def test_four_blocks_of_table_11(ssr, csr, published):
    assert 4 * err_block(build(ssr=ssr, csr=csr).aggregation, 1600, 32) / 1e9 == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(
    ("classes", "keep", "published"),
    [
        (150, 32, 288),
        pytest.param(847, 48, 348, marks=pytest.mark.slow),
        pytest.param(150, 150, 710.1, marks=pytest.mark.slow),
    ],
)
def test_the_whole_network(classes, keep, published):
    assert published_err_seg(build(), 640, classes, keep) / 1e9 == pytest.approx(published, rel=0.01)


def test_our_graph_does_less_than_the_published_one():
    network, published = build(), published_err_seg(build(), 640, 150, 32)
    with torch.device("meta"):
        image, text = torch.empty(1, 3, 640, 640), torch.empty(150, 1, network.image_encoder.channels)
        counted = multiply_adds_of(lambda: network.selected_logits(image, text, selection=ClassSelection(keep=32)))
    assert 0.8 * published < counted < published


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("kind", [torch.nn.Conv2d, torch.nn.ConvTranspose2d])
def test_a_backward_pass_takes_twice_the_forward_pass(kind, groups):
    layer, x = kind(8, 16, 3, stride=2, groups=groups), torch.randn(2, 8, 9, 9, requires_grad=True)
    forward = multiply_adds_of(lambda: layer(x))
    y = layer(x).sum()
    assert multiply_adds_of(y.backward) == 2 * forward
