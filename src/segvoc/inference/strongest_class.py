"""The strongest class of every pixel, out of coarse maps of any number of classes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TILE = 16
"""Cells of the coarse maps along a tile's side, on a CPU: small enough for its caches."""

TILE_PIXELS = 80
"""Pixels along a tile's side at least, where maps are nearly as fine as the image: fewer are not worth a call."""

GPU_VALUES = 1 << 27
"""Interpolated values of a tile at most, on a GPU: few large tiles keep it busy, and half a gigabyte holds one."""


class StrongestClass:
    """The strongest class of every pixel among all that were seen; of equal ones that with the lowest index.

    Maps are interpolated to the image (bilinear, as `F.interpolate` with `align_corners=False`) tile by tile. An
    interpolated value lies between the least and the greatest of its cells, so a class whose greatest cell in a tile is
    below the least of another class there can't win in it: only the others are interpolated. The result is exact, and
    time and memory hardly grow with the number of classes.
    """

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        self.value: Float[Tensor, "H W"] = torch.full((height, width), -torch.inf, device=device)
        self.index: Int[Tensor, "H W"] = torch.zeros((height, width), dtype=torch.int64, device=device)

    def update(self, maps: Float[Tensor, "K h w"], indices: Int[Tensor, " K"]) -> None:
        """See more classes: their maps and their indices, ascending and above those seen before."""
        for tile in self._tiles(maps):
            value, winner = tile.strongest(slice(None))
            self._take(tile, value, indices[winner], value > self.value[tile.y, tile.x])

    def _tiles(self, maps: Float[Tensor, "K h w"]) -> "Iterator[_Tile]":
        rows = _Axis(maps.shape[1], self.value.shape[0], maps.device)
        columns = _Axis(maps.shape[2], self.value.shape[1], maps.device)
        side = self._side_on_cpu(rows) if maps.device.type == "cpu" else self._side_on_gpu(maps)
        for y, y_cells in rows.tiles(side):
            for x, x_cells in columns.tiles(side):
                yield _Tile(maps, rows, columns, y, x, y_cells, x_cells)

    def _take(
        self, tile: "_Tile", value: Float[Tensor, "y x"], index: Int[Tensor, "y x"], better: Bool[Tensor, "y x"]
    ) -> None:
        y, x = tile.y, tile.x
        self.value[y, x] = torch.where(better, value, self.value[y, x])
        self.index[y, x] = torch.where(better, index, self.index[y, x])

    def _side_on_cpu(self, rows: "_Axis") -> int:
        return max(TILE, TILE_PIXELS * rows.cells // self.value.shape[0])

    def _side_on_gpu(self, maps: Float[Tensor, "K h w"]) -> int:
        """Cells along the side of the largest tile that fits `GPU_VALUES`."""
        values_of_a_cell = len(maps) * self.value.numel() / maps[0].numel()
        return max(TILE, int((GPU_VALUES / values_of_a_cell) ** 0.5))


class StrongestOfOwner(StrongestClass):
    """The strongest class of every pixel among those of its own owner: the part of its object.

    owner: of each pixel, from -1 on; one that owns no class gives none, with a value of -inf. Just as exact, and only
    classes whose owner has pixels in a tile are looked at there.
    """

    def __init__(self, owner: Int[Tensor, "H W"]) -> None:
        super().__init__(owner.shape[0], owner.shape[1], owner.device)
        self.owner = owner

    def update_of(self, maps: Float[Tensor, "K h w"], indices: Int[Tensor, " K"], owners: Int[Tensor, " K"]) -> None:
        """See more classes: as in `update`, and whose they are; one map may serve several owners, repeated."""
        for tile in self._tiles(maps):
            owner = self.owner[tile.y, tile.x]
            # counting takes a tenth of the time of `unique`, which sorts
            for present in torch.bincount(owner.flatten() + 1).nonzero()[:, 0] - 1:
                of_owner = (owners == present).nonzero()[:, 0]
                if len(of_owner):
                    value, winner = tile.strongest(of_owner)
                    better = (owner == present) & (value > self.value[tile.y, tile.x])
                    self._take(tile, value, indices[winner], better)


@dataclass(frozen=True)
class _Tile:
    """Some pixels of an image and the cells that they lie among."""

    maps: Float[Tensor, "K h w"]
    rows: "_Axis"
    columns: "_Axis"
    y: slice
    x: slice
    y_cells: slice
    x_cells: slice

    def strongest(self, classes: slice | Int[Tensor, " N"]) -> tuple[Float[Tensor, "y x"], Int[Tensor, "y x"]]:
        """The greatest value of some of the K classes at each pixel, and the first of them that has it."""
        tile = self.maps[classes, self.y_cells, self.x_cells]
        contenders = (tile.amax((1, 2)) >= tile.amin((1, 2)).max()).nonzero()[:, 0]
        pixels = self.rows.interpolate(tile[contenders], self.y, self.y_cells, 1)
        pixels = self.columns.interpolate(pixels, self.x, self.x_cells, 2)
        # of equal values `max` names the first, as `argmax` does, which takes several times as long
        value, winner = pixels.max(0)
        place = contenders[winner]
        return value, place if isinstance(classes, slice) else classes[place]


class _Axis:
    """Where the pixels of one axis lie among the cells of the coarse maps."""

    def __init__(self, cells: int, pixels: int, device: torch.device) -> None:
        self.cells = cells
        number = torch.arange(pixels, dtype=torch.float64, device=device)
        place = ((number + 0.5) * (cells / pixels) - 0.5).clamp(min=0)
        self.lower = place.long().clamp(max=cells - 1)
        self.upper = (self.lower + 1).clamp(max=cells - 1)
        self.fraction = (place - self.lower).float()

    def tiles(self, side: int) -> list[tuple[slice, slice]]:
        """For each tile of so many cells: its pixels, and the cells that they lie among."""
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
