"""The strongest class of every pixel, and means over regions, from coarse maps of any number of classes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from array_api_compat import device
from jaxtyping import Bool, Float, Int

from segvoc.arrays import Array, array_namespace, lerp, neighbors, on_cpu, strongest
from segvoc.inference.tile_grid import Share

TILE = 16
"""Side of a tile on CPUs [cells of the coarse maps]: fits into the caches."""

TILE_PIXELS = 80
"""Minimum side of a tile [px], for maps nearly as fine as the image: smaller tiles cost more overhead than they
save."""

CPU_VALUES = 1 << 23
"""Maximum number of interpolated values per chunk on CPUs: contending classes beyond it go into later chunks."""

GPU_VALUES = 1 << 27
"""The same on GPUs, per tile: a few large tiles keep the GPU busy; each takes half a gigabyte."""


class StrongestClass:
    """The strongest class of every pixel among all classes seen so far; the lowest index wins a tie.

    Maps are interpolated to the image tile by tile (bilinear, as `F.interpolate` with `align_corners=False`). An
    interpolated value lies between the minimum and maximum of its cells, so a class whose maximum in a tile is below
    the minimum of another class can't win there, and only the other classes are interpolated. The result is exact, and
    time and memory hardly grow with the number of classes.

    Args:
        height: height of the image [px].
        width: width of the image [px].
        like: an array with the library and device of the maps.
    """

    def __init__(self, height: int, width: int, like: Array) -> None:
        xp, where = array_namespace(like), device(like)
        self.value: Float[Array, "H W"] = xp.full((height, width), -xp.inf, dtype=xp.float32, device=where)
        self.index: Int[Array, "H W"] = xp.zeros((height, width), dtype=xp.int64, device=where)

    def update(self, maps: Float[Array, "K h w"], indices: Int[Array, " K"]) -> None:
        """Update the result with more classes.

        Args:
            maps: maps of the classes.
            indices: indices of the classes, ascending and above those of all earlier updates.
        """
        for tile in self._tiles(maps):
            value, index = tile.strongest(maps, indices)
            self.take(tile.y, tile.x, value, index, value > self.value[tile.y, tile.x])

    def _tiles(self, maps: Float[Array, "K h w"]) -> "Iterator[_Tile]":
        rows = PixelAxis(maps.shape[1], self.value.shape[0], maps)
        columns = PixelAxis(maps.shape[2], self.value.shape[1], maps)
        side = self._side_on_cpu(rows) if on_cpu(maps) else self._side_on_gpu(maps)
        for y, y_cells in rows.tiles(side):
            for x, x_cells in columns.tiles(side):
                yield _Tile(rows, columns, y, x, y_cells, x_cells)

    def take(
        self, y: slice, x: slice, value: Float[Array, "y x"], index: Int[Array, "y x"], better: Bool[Array, "y x"]
    ) -> None:
        """Replace values and indices of a window's pixels where the new values are greater."""
        xp = array_namespace(value)
        self.value[y, x] = xp.where(better, value, self.value[y, x])
        self.index[y, x] = xp.where(better, index, self.index[y, x])

    def _side_on_cpu(self, rows: "PixelAxis") -> int:
        return max(TILE, TILE_PIXELS * rows.cells // self.value.shape[0])

    def _side_on_gpu(self, maps: Float[Array, "K h w"]) -> int:
        """Cells along the side of the largest tile that fits into `GPU_VALUES`."""
        values_of_a_cell = len(maps) * math.prod(self.value.shape) / math.prod(maps.shape[1:])
        return max(TILE, int((GPU_VALUES / values_of_a_cell) ** 0.5))


class StrongestOfOwner(StrongestClass):
    """The strongest class of every pixel among those of the pixel's owner, for example the parts of its object.

    The result is exact, and a tile only considers classes whose owner has pixels in it.

    Args:
        owner: owner of each pixel, from -1. Where the owner has no classes, the value is -inf.
    """

    def __init__(self, owner: Int[Array, "H W"]) -> None:
        super().__init__(owner.shape[0], owner.shape[1], owner)
        self.owner = owner

    def update_of(self, maps: Float[Array, "K h w"], indices: Int[Array, " K"], owners: Int[Array, " K"]) -> None:
        """Update the result with more classes.

        Args:
            maps: maps of the classes; a map may occur several times, for several owners.
            indices: indices of the classes, as for `update`.
            owners: owner of each class.
        """
        xp = array_namespace(maps)
        for tile in self._tiles(maps):
            owner = self.owner[tile.y, tile.x]
            # `bincount` takes a tenth of the time of `unique`, which sorts
            for present in xp.nonzero(xp.bincount(xp.reshape(owner, (-1,)) + 1))[0] - 1:
                of_owner = xp.nonzero(owners == present)[0]
                if len(of_owner):
                    value, index = tile.strongest(maps, indices, of_owner)
                    better = (owner == present) & (value > self.value[tile.y, tile.x])
                    self.take(tile.y, tile.x, value, index, better)


def mean_weights(region: Bool[Array, "H W"], rows: int, columns: int) -> Float[Array, "h w"]:
    """Cell weights with which the sum of a coarse map is the mean of the interpolated map over a region.

    Args:
        region: pixels of the image, at least one.
        rows: rows of the coarse map.
        columns: columns of the coarse map.
    """
    xp = array_namespace(region)
    along_y, along_x = (
        PixelAxis(cells, pixels, region).matrix() for cells, pixels in zip((rows, columns), region.shape, strict=True)
    )
    return along_y.T @ (xp.astype(region, xp.float32) @ along_x) / xp.astype(xp.sum(region), xp.float32)


@dataclass(frozen=True)
class _Tile:
    """A tile: a block of pixels and the cells around it."""

    rows: "PixelAxis"
    columns: "PixelAxis"
    y: slice
    x: slice
    y_cells: slice
    x_cells: slice

    def strongest(
        self, maps: Float[Array, "K h w"], indices: Int[Array, " K"], classes: Int[Array, " N"] | None = None
    ) -> tuple[Float[Array, "y x"], Int[Array, "y x"]]:
        """The maximum over the K classes, or N of them, at each pixel, and the index of the first that attains it."""
        xp, chosen = array_namespace(maps), slice(None) if classes is None else classes
        tile = maps[chosen, self.y_cells, self.x_cells]
        contenders = xp.nonzero(xp.max(tile, axis=(1, 2)) >= xp.max(xp.min(tile, axis=(1, 2))))[0]
        pixels = (self.y.stop - self.y.start) * (self.x.stop - self.x.start)
        at_once = max(1, (CPU_VALUES if on_cpu(maps) else GPU_VALUES) // pixels)
        value, index = self._strongest_of(tile, contenders[:at_once])
        for start in range(at_once, len(contenders), at_once):
            more, winner = self._strongest_of(tile, contenders[start : start + at_once])
            index = xp.where(more > value, winner, index)
            value = xp.maximum(more, value)
        return value, indices[chosen][index]

    def _strongest_of(
        self, tile: Float[Array, "K h w"], classes: Int[Array, " N"]
    ) -> tuple[Float[Array, "y x"], Int[Array, "y x"]]:
        """The maximum over some classes at each pixel, and the first class that attains it."""
        # interpolate along rows of cells first: selecting within rows is slow, and there are fewer than rows of pixels
        pixels = self.columns.interpolate(array_namespace(tile).take(tile, classes, axis=0), self.x, self.x_cells, 2)
        value, winner = strongest(self.rows.interpolate(pixels, self.y, self.y_cells, 1))
        return value, classes[winner]


class PixelAxis:
    """Positions of an axis's pixels among the cells of the coarse maps.

    Args:
        cells: cells along the axis.
        pixels: pixels along the axis.
        like: an array whose library and device to use.
    """

    def __init__(self, cells: int, pixels: int, like: Array) -> None:
        self.cells = cells
        self.lower, self.upper, self.fraction = neighbors(cells, pixels, like)

    def tiles(self, side: int) -> list[tuple[slice, slice]]:
        """For each tile of `side` cells, the ranges of its pixels and of the cells around them."""
        lower, upper = self.lower.tolist(), self.upper.tolist()
        starts = [i for i, cell in enumerate(lower) if i == 0 or cell // side != lower[i - 1] // side]
        return [
            (slice(start, end), slice(lower[start], upper[end - 1] + 1))
            for start, end in zip(starts, [*starts[1:], len(lower)], strict=True)
        ]

    def cells_around(self, pixels: slice) -> slice:
        """The cells that a range of pixels is interpolated from."""
        return slice(int(self.lower[pixels.start]), int(self.upper[pixels.stop - 1]) + 1)

    def interpolate(self, maps: Float[Array, "K h w"], pixels: slice, cells: slice, dim: int) -> Float[Array, "K H W"]:
        """Interpolate maps, cropped to `cells`, to `pixels` along the axis `dim`."""
        lower, upper = self.lower[pixels] - cells.start, self.upper[pixels] - cells.start
        return lerp(maps, lower, upper, self.fraction[pixels], dim)

    def matrix(self) -> Float[Array, "N L"]:
        """The matrix that interpolates L cells to N pixels."""
        xp = array_namespace(self.fraction)
        identity = xp.eye(self.cells, dtype=xp.float32, device=device(self.fraction))
        return self.interpolate(identity[None, ...], slice(None), slice(0, self.cells), 1)[0, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """A tile's contribution to a piece of the image."""

    maps: Float[Array, "K h w"]
    """The maps of K classes in the whole tile."""
    rows: PixelAxis
    """Pixels of the tile among the cells of its maps, from top to bottom."""
    columns: PixelAxis
    """The same from left to right."""
    down: Share
    """The tile's share in the rows of the piece."""
    across: Share
    """Its share in the columns."""

    def cells(self, y: slice, x: slice) -> tuple[slice, slice]:
        """The cells around a block of the piece, whose pixels count from the piece's corner."""
        return self.rows.cells_around(_moved(y, self.down)), self.columns.cells_around(_moved(x, self.across))

    def interpolate(
        self, maps: Float[Array, "N h w"], y: slice, x: slice, cells: tuple[slice, slice], *, weighted: bool
    ) -> Float[Array, "N y x"]:
        """Interpolate maps of some classes, cropped to `cells`, to the pixels of a block.

        Args:
            maps: the maps.
            y: rows of the block.
            x: columns of the block.
            cells: the cells around it.
            weighted: multiply by the tile's weights.
        """
        pixels = self.columns.interpolate(maps, _moved(x, self.across), cells[1], 2)
        pixels = self.rows.interpolate(pixels, _moved(y, self.down), cells[0], 1)
        if not weighted:
            return pixels
        xp, where = array_namespace(pixels), device(pixels)
        down, across = (xp.asarray(one, device=where) for one in (self.down.weights[y], self.across.weights[x]))
        return pixels * (down[:, None] * across)


class StrongestBlend(StrongestClass):
    """The strongest class of every pixel among all classes seen so far, by weighted means of overlapping tiles' maps.

    Weights of a pixel add up to 1, so a blended value lies between the minimum and maximum of its cells. As in
    `StrongestClass`, classes that can't win in a block aren't interpolated there.
    """

    def update_piece(self, rows: slice, columns: slice, layers: Sequence[Layer], indices: Int[Array, " K"]) -> None:
        """Update a piece of the image, covered by the same tiles throughout, with more classes.

        Args:
            rows: rows of the piece.
            columns: columns of the piece.
            layers: one per tile, with maps of the same classes.
            indices: indices of the classes, ascending and above those of all earlier updates.
        """
        for y, x in _blocks(rows.stop - rows.start, columns.stop - columns.start, layers[0]):
            value, index = _strongest(layers, y, x, indices)
            at = (
                slice(rows.start + y.start, rows.start + y.stop),
                slice(columns.start + x.start, columns.start + x.stop),
            )
            self.take(at[0], at[1], value, index, value > self.value[at])


def _blocks(height: int, width: int, layer: Layer) -> Iterator[tuple[slice, slice]]:
    """Blocks of a piece to interpolate at a time: on CPUs about as large as the tiles of `StrongestClass`."""
    maps = layer.maps
    if on_cpu(maps):
        sides = [max(TILE_PIXELS, TILE * len(axis.lower) // axis.cells) for axis in (layer.rows, layer.columns)]
    else:
        sides = [max(TILE_PIXELS, int((GPU_VALUES / len(maps)) ** 0.5))] * 2
    for top in range(0, height, sides[0]):
        for left in range(0, width, sides[1]):
            yield slice(top, min(top + sides[0], height)), slice(left, min(left + sides[1], width))


def _strongest(
    layers: Sequence[Layer], y: slice, x: slice, indices: Int[Array, " K"]
) -> tuple[Float[Array, "y x"], Int[Array, "y x"]]:
    xp = array_namespace(indices)
    cells = [layer.cells(y, x) for layer in layers]
    crops = [layer.maps[:, down, across] for layer, (down, across) in zip(layers, cells, strict=True)]
    lowest = xp.min(xp.stack([xp.min(crop, axis=(1, 2)) for crop in crops]), axis=0)
    highest = xp.max(xp.stack([xp.max(crop, axis=(1, 2)) for crop in crops]), axis=0)
    contenders = xp.nonzero(highest >= xp.max(lowest))[0]
    total = None
    for layer, crop, around in zip(layers, crops, cells, strict=True):
        part = layer.interpolate(xp.take(crop, contenders, axis=0), y, x, around, weighted=len(layers) > 1)
        total = part if total is None else total + part
    value, winner = strongest(total)
    return value, indices[contenders][winner]


def _moved(pixels: slice, share: Share) -> slice:
    """Pixels of a piece, counted from the tile's first pixel."""
    return slice(share.pixels.start + pixels.start, share.pixels.start + pixels.stop)
