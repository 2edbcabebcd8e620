"""Finds the strongest class of every pixel, and means over regions, from coarse maps of any number of classes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TILE = 16
"""Cells of the coarse maps along a tile's side on a CPU: small enough for its caches."""

TILE_PIXELS = 80
"""Minimum number of pixels along a tile's side, for maps that are nearly as fine as the image: smaller tiles aren't
worth the overhead of a call."""

GPU_VALUES = 1 << 27
"""Maximum number of interpolated values in a tile on a GPU: a few large tiles keep it busy, and each takes half a
gigabyte."""


class StrongestClass:
    """The strongest class of every pixel among all classes seen so far; the lowest index wins a tie.

    Maps are interpolated to the image tile by tile (bilinear, as `F.interpolate` with `align_corners=False`). An
    interpolated value lies between the minimum and maximum of its cells, so a class whose maximum in a tile is below
    the minimum of another class can't win there, and only the other classes are interpolated. The result is exact, and
    time and memory hardly grow with the number of classes.
    """

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        self.value: Float[Tensor, "H W"] = torch.full((height, width), -torch.inf, device=device)
        self.index: Int[Tensor, "H W"] = torch.zeros((height, width), dtype=torch.int64, device=device)

    def update(self, maps: Float[Tensor, "K h w"], indices: Int[Tensor, " K"]) -> None:
        """Update the result with more classes.

        Args:
            maps: maps of the classes.
            indices: indices of the classes, ascending and above those of all earlier updates.
        """
        for tile in self._tiles(maps):
            value, index = tile.strongest(maps, indices)
            self._take(tile, value, index, value > self.value[tile.y, tile.x])

    def _tiles(self, maps: Float[Tensor, "K h w"]) -> "Iterator[_Tile]":
        rows = _Axis(maps.shape[1], self.value.shape[0], maps.device)
        columns = _Axis(maps.shape[2], self.value.shape[1], maps.device)
        side = self._side_on_cpu(rows) if maps.device.type == "cpu" else self._side_on_gpu(maps)
        for y, y_cells in rows.tiles(side):
            for x, x_cells in columns.tiles(side):
                yield _Tile(rows, columns, y, x, y_cells, x_cells)

    def _take(
        self, tile: "_Tile", value: Float[Tensor, "y x"], index: Int[Tensor, "y x"], better: Bool[Tensor, "y x"]
    ) -> None:
        y, x = tile.y, tile.x
        self.value[y, x] = torch.where(better, value, self.value[y, x])
        self.index[y, x] = torch.where(better, index, self.index[y, x])

    def _side_on_cpu(self, rows: "_Axis") -> int:
        return max(TILE, TILE_PIXELS * rows.cells // self.value.shape[0])

    def _side_on_gpu(self, maps: Float[Tensor, "K h w"]) -> int:
        """Cells along the side of the largest tile that fits into `GPU_VALUES`."""
        values_of_a_cell = len(maps) * self.value.numel() / maps[0].numel()
        return max(TILE, int((GPU_VALUES / values_of_a_cell) ** 0.5))


class StrongestOfOwner(StrongestClass):
    """The strongest class of every pixel among those of the pixel's owner, for example the parts of its object.

    The result is exact, and a tile only considers classes whose owner has pixels in it.

    Args:
        owner: owner of each pixel, from -1. Where the owner has no classes, the value is -inf.
    """

    def __init__(self, owner: Int[Tensor, "H W"]) -> None:
        super().__init__(owner.shape[0], owner.shape[1], owner.device)
        self.owner = owner

    def update_of(self, maps: Float[Tensor, "K h w"], indices: Int[Tensor, " K"], owners: Int[Tensor, " K"]) -> None:
        """Update the result with more classes.

        Args:
            maps: maps of the classes; a map may occur several times, for several owners.
            indices: indices of the classes, as for `update`.
            owners: owner of each class.
        """
        for tile in self._tiles(maps):
            owner = self.owner[tile.y, tile.x]
            # `bincount` takes a tenth of the time of `unique`, which sorts
            for present in torch.bincount(owner.flatten() + 1).nonzero()[:, 0] - 1:
                of_owner = (owners == present).nonzero()[:, 0]
                if len(of_owner):
                    value, index = tile.strongest(maps, indices, of_owner)
                    better = (owner == present) & (value > self.value[tile.y, tile.x])
                    self._take(tile, value, index, better)


def mean_weights(region: Bool[Tensor, "H W"], rows: int, columns: int) -> Float[Tensor, "h w"]:
    """Weights of the cells of a coarse map whose weighted sum is the mean of the interpolated map over a region.

    Args:
        region: pixels of the image, at least one.
        rows: rows of the coarse map.
        columns: columns of the coarse map.
    """
    along_y, along_x = (
        _Axis(cells, pixels, region.device).matrix()
        for cells, pixels in zip((rows, columns), region.shape, strict=True)
    )
    return along_y.T @ (region.float() @ along_x) / region.sum()


@dataclass(frozen=True)
class _Tile:
    """A tile: some pixels of an image and the cells around them."""

    rows: "_Axis"
    columns: "_Axis"
    y: slice
    x: slice
    y_cells: slice
    x_cells: slice

    def strongest(
        self, maps: Float[Tensor, "K h w"], indices: Int[Tensor, " K"], classes: Int[Tensor, " N"] | None = None
    ) -> tuple[Float[Tensor, "y x"], Int[Tensor, "y x"]]:
        """The maximum over the K classes, or N of them, at each pixel, and the index of the first that attains it."""
        chosen = slice(None) if classes is None else classes
        tile = maps[chosen, self.y_cells, self.x_cells]
        contenders = (tile.amax((1, 2)) >= tile.amin((1, 2)).max()).nonzero()[:, 0]
        # along the rows of cells first: selecting within rows is slow, and there are fewer of them than rows of pixels
        pixels = self.columns.interpolate(tile[contenders], self.x, self.x_cells, 2)
        pixels = self.rows.interpolate(pixels, self.y, self.y_cells, 1)
        # `max` returns the first of equal values, as does `argmax`, which is several times slower
        value, winner = pixels.max(0)
        return value, indices[chosen][contenders][winner]


class _Axis:
    """Positions of an axis's pixels among the cells of the coarse maps."""

    def __init__(self, cells: int, pixels: int, device: torch.device) -> None:
        self.cells = cells
        number = torch.arange(pixels, dtype=torch.float64, device=device)
        place = ((number + 0.5) * (cells / pixels) - 0.5).clamp(min=0)
        self.lower = place.long().clamp(max=cells - 1)
        self.upper = (self.lower + 1).clamp(max=cells - 1)
        self.fraction = (place - self.lower).float()

    def tiles(self, side: int) -> list[tuple[slice, slice]]:
        """For each tile of `side` cells: the range of its pixels, and of the cells around them."""
        tile_of_pixel = (self.lower // side).tolist()
        bounds = [i for i, tile in enumerate(tile_of_pixel) if i == 0 or tile != tile_of_pixel[i - 1]]
        ends = [*bounds[1:], len(tile_of_pixel)]
        firsts, lasts = self.lower[bounds].tolist(), self.upper[[end - 1 for end in ends]].tolist()
        return [
            (slice(start, end), slice(first, last + 1))
            for start, end, first, last in zip(bounds, ends, firsts, lasts, strict=True)
        ]

    def interpolate(
        self, maps: Float[Tensor, "K h w"], pixels: slice, cells: slice, dim: int
    ) -> Float[Tensor, "K H W"]:
        lower = maps.index_select(dim, self.lower[pixels] - cells.start)
        upper = maps.index_select(dim, self.upper[pixels] - cells.start)
        fraction = self.fraction[pixels].view((-1, 1) if dim == 1 else (-1,))
        return torch.lerp(lower, upper, fraction)

    def matrix(self) -> Float[Tensor, "N L"]:
        """The matrix that interpolates L cells to N pixels."""
        identity = torch.eye(self.cells, device=self.fraction.device)
        return self.interpolate(identity[None], slice(None), slice(0, self.cells), 1)[0]
