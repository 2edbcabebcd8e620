"""The strongest class of every pixel: exactly that of the interpolated maps; where tiles are, and their weights."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from segvoc.inference import strongest_class
from segvoc.inference.strongest_class import StrongestClass
from segvoc.inference.tile_grid import TileAxis, Tiling


def _strongest(maps: Any, size: tuple[int, int], chunk: int | None = None) -> StrongestClass:
    best, chunk = StrongestClass(*size, maps), chunk or len(maps)
    indices = np.arange(len(maps)) if isinstance(maps, np.ndarray) else torch.arange(len(maps))
    for start in range(0, len(maps), chunk):
        best.update(maps[start : start + chunk], indices[start : start + chunk])
    return best


def _check(maps: Tensor, size: tuple[int, int], chunk: int | None = None) -> None:
    """Values and indices are those of whole maps but for rounding, with tensors and with NumPy arrays."""
    full = F.interpolate(maps.double()[None], size=size, mode="bilinear")[0]
    for some in (maps, maps.numpy()):
        best = _strongest(some, size, chunk)
        assert type(best.value) is type(some) and np.asarray(best.value).dtype == np.float32
        value, index = torch.as_tensor(best.value), torch.as_tensor(best.index)
        assert (value - full.amax(0)).abs().max() <= 1e-6
        assert (full.amax(0) - full.gather(0, index[None])[0]).max() <= 1e-5


@given(
    classes=st.integers(1, 40),
    cells=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 90), st.integers(1, 60)),
    chunk=st.integers(1, 40),
    seed=st.integers(0, 999),
)
@settings(max_examples=20, deadline=None)
def test_is_that_of_the_interpolated_maps(classes, cells, size, chunk, seed):
    _check(torch.rand((classes, *cells), generator=torch.Generator().manual_seed(seed)) * 4 - 2, size, chunk)


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=2, max_size=12), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_equal_classes_go_to_the_lower_index(levels: list[float], chunk: int) -> None:
    maps = torch.tensor(levels)[:, None, None].expand(-1, 3, 4)
    best = _strongest(maps, (7, 9), chunk)
    assert (best.index == levels.index(max(levels))).all()
    assert (best.value == max(levels)).all()


@pytest.mark.parametrize("at_once", [1, 2])
def test_equal_contenders_of_later_chunks_do_not_win(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strongest_class, "CPU_VALUES", at_once * 7 * 9)
    maps = torch.tensor([0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0])[:, None, None].repeat(1, 3, 4)
    maps[4:] -= torch.tensor([0.0, 2.0, 0.0, 2.0])  # strongest in some of the columns, so all but class 0 contend
    for some in (maps, maps.numpy()):
        index = np.asarray(_strongest(some, (3, 4)).index)
        assert index.tolist() == [[4, 1, 4, 1]] * 3


def test_memory_does_not_hold_all_classes_at_image_size():
    # 20,000 classes at 600 x 600 pixels would be 29 GB
    maps = torch.rand(20_000, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[12_345] += 1
    assert (_strongest(maps, (600, 600)).index == 12_345).all()


@st.composite
def axes(draw: st.DrawFn) -> TileAxis:
    tile = draw(st.integers(32, 100))
    side, wrap = draw(st.integers(1, 500)), draw(st.booleans())
    return TileAxis(side=side, tile=tile, overlap=draw(st.integers(0, tile // 2)), wrap=wrap and side > tile)


def _weights(axis: TileAxis, pixels: slice) -> np.ndarray:
    """(tiles, pixels): the weight of each tile at each pixel of a range."""
    found = np.zeros((len(axis), pixels.stop - pixels.start))
    for piece, shares in axis.shares(pixels):
        for share in shares:
            found[share.tile, piece.start - pixels.start : piece.stop - pixels.start] += share.weights
            first = axis.starts[share.tile]
            assert (piece.start - share.pixels.start - first) % axis.side == 0
            assert 0 <= share.pixels.start < share.pixels.stop <= axis.size
    return found


@settings(max_examples=60, deadline=None)
@given(axes())
def test_weights_of_all_tiles_add_up_to_one(axis: TileAxis) -> None:
    weights = _weights(axis, slice(0, axis.side))
    np.testing.assert_allclose(weights.sum(0), 1, atol=1e-5)
    assert (weights >= 0).all()


@settings(max_examples=60, deadline=None)
@given(axes())
def test_cells_divide_the_axis_and_know_their_tiles(axis: TileAxis) -> None:
    cells = [axis.cell(number) for number in range(len(axis))]
    assert [cell.start for cell in cells] + [axis.side] == [0, *(cell.stop for cell in cells)]
    assert all(0 < cell.stop - cell.start <= axis.size for cell in cells)
    whole = _weights(axis, slice(0, axis.side))
    for number, cell in enumerate(cells):
        np.testing.assert_array_equal(_weights(axis, cell), whole[:, cell])
        if not axis.wrap:
            present = np.flatnonzero(whole[:, cell].sum(1))
            assert axis.first_tile(number) <= present.min()
            assert present.max() <= number


def test_tiles_have_one_size_and_the_last_one_ends_at_the_edge() -> None:
    axis = Tiling.checked(100).rows(250)
    assert (axis.starts, axis.size, axis.overlap) == ([0, 88, 150], 100, 12)
    small = Tiling.checked(100).columns(60)
    assert (small.starts, small.size) == ([0], 60)
    assert not Tiling.checked(100, wrap=True).columns(60).wrap
