"""The strongest class of every pixel, out of coarse maps of any number of classes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

TILE = 16
"""Cells of the coarse maps along a tile's side, on a CPU: small enough for its caches."""

GPU_VALUES = 1 << 27
"""Interpolated values of a tile at most, on a GPU: few large tiles keep it busy, and half a gigabyte holds one."""


class StrongestClass:
    """The strongest class of every pixel among all that were seen; of equal ones that with the lowest index.

    Maps are interpolated to the picture (bilinear, as `F.interpolate` with `align_corners=False`) tile by tile. An
    interpolated value lies between the least and the greatest of its cells, so a class whose greatest cell in a tile is
    below the least of another class there can't win in it: only the others are interpolated. The result is exact, and
    time and memory hardly grow with the number of classes.
    """

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        self.value: Float[Tensor, "H W"] = torch.full((height, width), -torch.inf, device=device)
        self.index: Int[Tensor, "H W"] = torch.zeros((height, width), dtype=torch.int64, device=device)

    def update(self, maps: Float[Tensor, "K h w"], indices: Int[Tensor, " K"]) -> None:
        """See more classes: their maps and their indices, ascending and above those seen before."""
        rows = _Axis(maps.shape[1], self.value.shape[0], maps.device)
        columns = _Axis(maps.shape[2], self.value.shape[1], maps.device)
        side = TILE if maps.device.type == "cpu" else self._side_on_gpu(maps)
        for y, y_cells in rows.tiles(side):
            for x, x_cells in columns.tiles(side):
                tile = maps[:, y_cells, x_cells]
                contenders = (tile.amax((1, 2)) >= tile.amin((1, 2)).max()).nonzero()[:, 0]
                pixels = columns.interpolate(rows.interpolate(tile[contenders], y, y_cells, 1), x, x_cells, 2)
                # argmax names the first of equal values, amax agrees with it
                winner = pixels.argmax(0)
                value = pixels.gather(0, winner[None])[0]
                better = value > self.value[y, x]
                self.value[y, x] = torch.where(better, value, self.value[y, x])
                self.index[y, x] = torch.where(better, indices[contenders[winner]], self.index[y, x])

    def _side_on_gpu(self, maps: Float[Tensor, "K h w"]) -> int:
        """Cells along the side of the largest tile that fits `GPU_VALUES`."""
        values_of_a_cell = len(maps) * self.value.numel() / maps[0].numel()
        return max(TILE, int((GPU_VALUES / values_of_a_cell) ** 0.5))


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
