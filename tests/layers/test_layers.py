"""Maps and windows of cells, and numbers inside layers: batch norm over chunks, and what stays in float32."""

from operator import attrgetter
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segvoc.layers.aggregation import WindowBlock, cost_volume
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.batch_statistics import ClassBatchNorm, batch_moments
from segvoc.layers.maps import pool, unpool, windows_of
from segvoc.layers.precision import Float32Parts, reduce_precision
from segvoc.models.builders import weightless
from segvoc.models.presets import PRESETS
from segvoc.networks.pca_seg import ExpertParser

GRIDS = [(8, 8), (4, 4), (3, 5), (9, 4), (6, 11), (1, 1), (1, 13)]


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_cell_attends_to_the_neighbors_in_its_window(grid: tuple[int, int], shift: int):
    """By a mask over all cells, where a window is told by the coordinates of the shifted grid, without wrapping."""
    torch.manual_seed(0)
    block = WindowBlock(dim=8, guidance_dim=4, heads=2, window=4, shift=shift)
    x, guidance = torch.randn(2, 3, *grid, 8), torch.randn(2, *grid, 4)
    windows = windows_of(grid, 4, shift, x.dtype, x.device)
    assert windows.order.shape[1] == 16 and torch.equal(windows.join(windows.split(x), *grid), x)
    moved = [0 if size <= 4 else shift for size in grid]
    y, xs = ((torch.arange(size) - by).div(4, rounding_mode="floor") for size, by in zip(grid, moved, strict=True))
    window = (100 * y[:, None] + xs).flatten()
    together = window[:, None] == window
    with torch.no_grad():
        cells = block.norm1(x).flatten(2, 3)
        g = guidance.flatten(1, 2)[:, None].expand(-1, 3, -1, -1)
        project = block.project
        q, k = (layer(cells, layer.guidance(g)) for layer in (project.q, project.k))
        v = project.v(cells)
        heads = [part.unflatten(-1, (2, 4)).transpose(2, 3) for part in (q, k, v)]
        attended = F.scaled_dot_product_attention(*heads, attn_mask=together).transpose(2, 3).flatten(3)
        expected = x + block.out(attended).unflatten(2, grid)
        expected = expected + block.mlp(block.norm2(expected))
        torch.testing.assert_close(block(x, block.precompute_guidance(guidance)), expected, rtol=1e-4, atol=1e-5)


def test_chunks_of_several_images_stay_channels_last():
    """A GPU interpolates other maps many times slower."""
    x = torch.randn(3, 6, 5, 4, 8)[:, 1:4]
    for maps in (unpool(x, (10, 8)), pool(x, (2, 2))):
        assert maps.flatten(0, 1).permute(0, 3, 1, 2).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(unpool(x, (10, 8))[2], unpool(x[2:], (10, 8))[0])


def test_pooling_averages_rows_by_columns():
    x = torch.randn(2, 3, 6, 4, 8)
    torch.testing.assert_close(pool(x, (3, 2)), x.unflatten(2, (2, 3)).unflatten(4, (2, 2)).mean((3, 5)))


def test_chunks_of_pooled_maps_have_as_many_cells():
    assert AggregationContext((3, 2), None, 5).on_pooled_cells().chunk == 30


@pytest.mark.parametrize("sizes", [(7,), (3, 4), (1, 1, 5)])
def test_moments_and_running_statistics_are_those_of_all_chunks(sizes):
    torch.manual_seed(0)
    linear, norm, own = nn.Linear(6, 10).double(), ClassBatchNorm(10).double(), nn.BatchNorm2d(10).double()
    x = torch.randn(2, 7, 3, 4, 6).double()
    for _ in range(2):
        chunks = [(part,) for part in x.split(sizes, dim=1)]
        moments = batch_moments(
            [SimpleNamespace(expand=linear, norm=norm)], lambda x: x, chunks, AggregationContext().over
        )[0]
        y = linear(x).flatten(0, 1).permute(0, 3, 1, 2)
        own(y)
    torch.testing.assert_close(moments[0], y.mean((0, 2, 3)))
    torch.testing.assert_close(moments[1], y.var((0, 2, 3), unbiased=False))
    assert norm.state_dict().keys() == own.state_dict().keys()
    for name, value in own.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)


def test_in_training_the_norm_is_pytorchs_and_so_are_its_gradients():
    torch.manual_seed(0)
    parser, both = ExpertParser(8, 3, nn.GELU()).double().train(), torch.randn(2, 3, 4, 5, 16).double()
    gradients = []
    for ours in (True, False):
        parser.zero_grad()
        leaf = both.clone().requires_grad_(True)
        if ours:
            y = parser(leaf)
        else:
            maps = 0
            for half in parser.halves:
                norm = nn.BatchNorm2d(24).double()
                norm.weight, norm.bias = half.norm.weight, half.norm.bias
                hidden = norm(half.expand(leaf).flatten(0, 1).permute(0, 3, 1, 2))
                maps = maps + half.contract(nn.functional.gelu(hidden))
            y = nn.functional.gelu(maps).unflatten(1, (3, 8)).permute(0, 3, 4, 1, 2).unflatten(0, (2, 3))
        y.pow(3).sum().backward()
        gradients.append([y.detach(), leaf.grad, *(p.grad for p in parser.parameters())])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)


class Outer(Float32Parts):
    float32_parts = ("exact", "table")

    def __init__(self) -> None:
        super().__init__()
        self.exact, self.exact_not = nn.Linear(2, 2), nn.Linear(2, 2)
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.register_buffer("table", torch.zeros(3))
        self.register_buffer("index", torch.zeros(3, dtype=torch.int64))


def test_batch_norms_and_listed_parts_stay_in_float32() -> None:
    network = nn.Sequential(Outer())
    weight = network.get_parameter("0.inner.0.weight")
    reduce_precision(network, torch.bfloat16)
    found = {name: value.dtype for name, value in network.state_dict().items()}
    reduced = {name for name, dtype in found.items() if dtype == torch.bfloat16}
    assert reduced == {"0.exact_not.weight", "0.exact_not.bias", "0.inner.0.weight", "0.inner.0.bias"}
    assert found["0.index"] == torch.int64
    assert network.get_parameter("0.inner.0.weight") is weight


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.shipped or "-b" in name])
def test_parts_that_are_listed_exist(name: str) -> None:
    with weightless():
        network = PRESETS[name].build(PRESETS[name].configuration)
    for path, module in network.named_modules():
        for part in module.float32_parts if isinstance(module, Float32Parts) else ():
            assert attrgetter(part)(module) is not module, path  # raises where there is none


def test_words_are_encoded_and_compared_in_float32() -> None:
    with weightless():
        network = PRESETS["tiny"].build(PRESETS["tiny"].configuration)
    reduce_precision(network, torch.bfloat16)
    assert {parameter.dtype for parameter in network.text_encoder.parameters()} == {torch.float32}
    assert network.get_parameter("aggregation.skip.weight").dtype == torch.float32
    assert network.get_parameter("aggregation.decoder.head.weight").dtype == torch.float32
    assert network.get_parameter("aggregation.guidance.weight").dtype == torch.bfloat16


def test_costs_of_rough_features_are_exact() -> None:
    image, text = torch.randn(1, 8, 2, 2).bfloat16(), torch.randn(1, 3, 1, 8)
    assert torch.equal(cost_volume(image, text), cost_volume(image.float(), text))
    assert cost_volume(image.double(), text.double()).dtype == torch.float64
