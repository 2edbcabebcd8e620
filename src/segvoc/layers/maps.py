"""Operations on feature maps: pooling, resizing, windows of cells, and adding maps shared by all classes."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from segvoc.layers.shapes import ClassTokens

try:
    from torch.compiler import is_exporting
except ImportError:  # PyTorch 2.6, from which nothing is exported (`segvoc.exporting.export.OLDEST_PYTORCH`)

    def is_exporting() -> bool:
        """False: this PyTorch can't export the networks."""
        return False


def resized(maps: Float[Tensor, "N C h w"], size: tuple[int, int]) -> Float[Tensor, "N C H W"]:
    """Bilinear interpolation to `size` (rows, columns), corners not aligned; maps of that size are returned as is."""
    return maps if tuple(maps.shape[2:]) == size else F.interpolate(maps, size=size, mode="bilinear")


def pool(x: ClassTokens, pooling: tuple[int, int]) -> Float[Tensor, "B T h w C"]:
    """Average over `pooling` cells (rows, columns); a smaller grid becomes one cell."""
    if pooling == (1, 1):
        return x
    kernel = (min(pooling[0], x.shape[2]), min(pooling[1], x.shape[3]))
    return on_maps(lambda maps: F.avg_pool2d(maps, kernel), x)


def unpool(x: ClassTokens, size: tuple[int, int]) -> Float[Tensor, "B T h w C"]:
    """Bilinear interpolation to `size` cells (rows, columns) with aligned corners."""
    if tuple(x.shape[2:4]) == size:
        return x
    return on_maps(lambda maps: F.interpolate(maps, size=size, mode="bilinear", align_corners=True), x)


def on_maps(operation: Callable[[Tensor], Tensor], x: ClassTokens) -> Float[Tensor, "B T h w D"]:
    """Apply an operation on maps (N C H W) to the features of every class."""
    # merging the first axes before moving the channels keeps maps channels-last where x is a chunk of the classes of
    # several images; a GPU interpolates other maps many times slower
    maps = operation(rearrange(x.flatten(0, 1), "n h w c -> n c h w"))
    return rearrange(maps, "(b t) c h w -> b t h w c", b=x.shape[0])


def plus_shared(maps: Float[Tensor, "BT D H W"], shared: Float[Tensor, "B D H W"]) -> Float[Tensor, "BT D H W"]:
    """Add a map of each image to the maps of its T classes."""
    return (maps.unflatten(0, (shared.shape[0], -1)) + shared[:, None]).flatten(0, 1)


class Windows(NamedTuple):
    """Division of a grid into N windows of S cells, row by row.

    If the grid isn't a multiple of the window, border windows are padded with other cells.
    """

    order: Int[Tensor, "N S"]
    """Grid index of each cell of each window."""
    place: Int[Tensor, " cells"]
    """Index in `order` of each cell of the grid."""
    mask: Float[Tensor, "N S S"] | None
    """Attention mask: the dtype's minimum between cells that aren't neighbors in the image, else 0; None: no mask.

    The official code adds -100. Its weights, exp(-100), are too small to matter, but such subnormal numbers are slow to
    multiply on a CPU.
    """

    def split(self, x: ClassTokens) -> Float[Tensor, "B T N S C"]:
        """The cells of each window."""
        return _cells(x.flatten(2, 3), self.order.flatten()).unflatten(2, self.order.shape)

    def join(self, x: Float[Tensor, "B T N S C"], rows: int, columns: int) -> ClassTokens:
        """The inverse of `split`, for a grid of this size."""
        return _cells(x.flatten(2, 3), self.place).unflatten(2, (rows, columns))


def windows_of(grid: tuple[int, int], window: int, shift: int, dtype: torch.dtype, device: torch.device) -> Windows:
    """The windows of `window` x `window` cells, shifted to the right and down along axes with several of them.

    The mask has the dtype.
    """
    rows, columns = (_axis(size, window, shift, device) for size in grid)
    across, area = columns.cells.shape[0] // window, window * window
    by_windows = partial(rearrange, pattern="(y wy) (x wx) -> (y x) (wy wx)", wy=window, wx=window)
    order = rows.cells.clamp(max=grid[0] - 1)[:, None] * grid[1] + columns.cells.clamp(max=grid[1] - 1)
    y, x = rows.places[:, None], columns.places
    place = (y // window * across + x // window) * area + y % window * window + x % window
    mask = None
    # an exported program takes any grid
    if is_exporting() or any(size % window or (shift and size > window) for size in grid):
        region = by_windows(3 * rows.regions[:, None] + columns.regions)
        mask = (region[:, :, None] != region[:, None]).to(dtype) * torch.finfo(dtype).min
    return Windows(by_windows(order), place.flatten(), mask)


class _Axis(NamedTuple):
    """One axis of the padded and shifted grid."""

    cells: Int[Tensor, " padded"]
    """The cell at each place; padding cells follow the last cell."""
    regions: Int[Tensor, " padded"]
    """At each place: 1 for cells that the shift wrapped around, 2 for padding, else 0."""
    places: Int[Tensor, " cells"]
    """The place of each cell."""


def _axis(size: int, window: int, shift: int, device: torch.device) -> _Axis:
    shift = 0 if size <= window else shift
    padded = (size + window - 1) // window * window
    numbers = torch.arange(padded, device=device)
    cells = numbers.roll(-shift)
    return _Axis(cells, (cells < shift).int() + 2 * (cells >= size).int(), numbers.roll(shift)[:size])


def _cells(x: Float[Tensor, "B T L C"], order: Int[Tensor, " M"]) -> Float[Tensor, "B T M C"]:
    """Reorder the cells of every class; three axes are twice as fast as four."""
    return x.flatten(0, 1).index_select(1, order).unflatten(0, x.shape[:2])
