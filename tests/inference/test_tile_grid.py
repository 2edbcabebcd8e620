"""Where tiles are, and their weights."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segvoc.inference.tile_grid import TileAxis, Tiling


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
