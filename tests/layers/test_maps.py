"""Windows of cells, on grids that they do and don't divide."""

import pytest
import torch
from torch.nn import functional as F

from segvoc.layers.aggregation import WindowBlock
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.maps import pool, unpool, windows_of

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
