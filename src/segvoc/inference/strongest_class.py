"""The strongest class of every pixel, and means over regions, from coarse maps of any number of classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from array_api_compat import device
from jaxtyping import Bool, Float, Int

from segvoc.inference.tile_grid import Share
from segvoc.runtime.arrays import Array, array_namespace, lerp, neighbors, on_cpu, on_cuda, strongest

BLOCK_CELLS = 16
"""Side of a block on CPUs [cells of the coarse maps]: fits into the caches."""

BLOCK_PIXELS = 80
"""Minimum side of a block [px], for maps nearly as fine as the image: smaller blocks cost more overhead than they
save."""

FEW_CLASSES, LARGE_BLOCK_PIXELS = 16, 200
"""Up to so many classes, blocks of this side [px] cost least: all of them are interpolated in nearly every block."""

CPU_VALUES = 1 << 23
"""Maximum number of interpolated values per chunk on CPUs: contending classes beyond it go into later chunks."""

GPU_VALUES = 1 << 27
"""The same on GPUs, per block: a few large blocks keep the GPU busy; each takes half a gigabyte."""

GPU_CLASSES = 512
"""Number of classes up to which a GPU interpolates all of them: to find those that can win, it would have to wait."""


class StrongestClass:
    """The strongest class of every pixel among all classes seen so far; the lowest index wins a tie.

    Maps are interpolated to the image block by block (bilinear, as `F.interpolate` with `align_corners=False`). An
    interpolated value lies between the minimum and maximum of its cells, so a class whose maximum in a block is below
    the minimum of another class can't win there, and only the other classes are interpolated. The result is exact, and
    time and memory hardly grow with the number of classes. Where tiles overlap, the value is the weighted mean of their
    maps; weights of a pixel add up to 1, so this holds for them too. `like` has the library and device of the maps.
    """

    def __init__(self, height: int, width: int, like: Array) -> None:
        xp, where = array_namespace(like), device(like)
        self.value: Float[Array, "H W"] = xp.full((height, width), -xp.inf, dtype=xp.float32, device=where)
        self.index: Int[Array, "H W"] = xp.zeros((height, width), dtype=xp.int64, device=where)

    def update(self, maps: Float[Array, "K h w"], indices: Int[Array, " K"]) -> None:
        """Update the result with more classes, whose indices are ascending and above those of all earlier updates."""
        height, width = self.value.shape
        self.update_piece(slice(0, height), slice(0, width), [Layer.whole(maps, height, width)], indices)

    def update_piece(self, rows: slice, columns: slice, layers: "Sequence[Layer]", indices: Int[Array, " K"]) -> None:
        """Update a piece of the image, covered by the same tiles throughout, with more classes, as `update` does.

        There is a layer per tile, all with maps of the same classes.
        """
        for y, x in _blocks(rows.stop - rows.start, columns.stop - columns.start, layers[0]):
            value, index = _strongest(layers, y, x, indices)
            down, across = (slice(a.start + b.start, a.start + b.stop) for a, b in ((rows, y), (columns, x)))
            self._take(down, across, value, index, value > self.value[down, across])

    def _take(
        self, y: slice, x: slice, value: Float[Array, "y x"], index: Int[Array, "y x"], better: Bool[Array, "y x"]
    ) -> None:
        xp = array_namespace(value)
        self.value[y, x] = xp.where(better, value, self.value[y, x])
        self.index[y, x] = xp.where(better, index, self.index[y, x])


class StrongestOfOwner(StrongestClass):
    """The strongest class of every pixel among those of the pixel's owner (from -1), such as the parts of its object.

    The result is exact, and a block only considers classes whose owner has pixels in it. Without any it is -inf.
    """

    def __init__(self, owner: Int[Array, "H W"]) -> None:
        super().__init__(owner.shape[0], owner.shape[1], owner)
        self.owner = owner

    def update_of(self, maps: Float[Array, "K h w"], indices: Int[Array, " K"], owners: Int[Array, " K"]) -> None:
        """Update the result with more classes, and the owner of each; a map may occur several times, for several."""
        xp = array_namespace(maps)
        height, width = self.owner.shape
        layer = Layer.whole(maps, height, width)
        for y, x in _blocks(height, width, layer):
            owner = self.owner[y, x]
            # `bincount` takes a tenth of the time of `unique`, which sorts
            for present in xp.nonzero(xp.bincount(xp.reshape(owner, (-1,)) + 1))[0] - 1:
                of_owner = xp.nonzero(owners == present)[0]
                if len(of_owner):
                    value, index = _strongest([layer], y, x, indices, of_owner)
                    self._take(y, x, value, index, (owner == present) & (value > self.value[y, x]))


def mean_weights(region: Bool[Array, "H W"], rows: int, columns: int) -> Float[Array, "h w"]:
    """Cell weights with which the sum of a coarse map is the mean of the interpolated map over a region's pixels."""
    xp = array_namespace(region)
    along_y, along_x = (
        PixelAxis(cells, pixels, region).matrix() for cells, pixels in zip((rows, columns), region.shape, strict=True)
    )
    return along_y.T @ (xp.astype(region, xp.float32) @ along_x) / xp.astype(xp.sum(region), xp.float32)


class PixelAxis:
    """Positions of an axis's pixels among the cells of the coarse maps; `like` has the library and device."""

    def __init__(self, cells: int, pixels: int, like: Array) -> None:
        self.cells = cells
        self.lower, self.upper, self.fraction = neighbors(cells, pixels, like)
        # the same numbers on the host: reading those of a GPU would wait for it
        self._first, self._last = (
            neighbors(cells, pixels, np.empty(0))[:2] if on_cuda(like) else (self.lower, self.upper)
        )

    def cells_around(self, pixels: slice) -> slice:
        """The cells that a range of pixels is interpolated from."""
        return slice(int(self._first[pixels.start]), int(self._last[pixels.stop - 1]) + 1)

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

    @classmethod
    def whole(cls, maps: Float[Array, "K h w"], height: int, width: int) -> "Layer":
        """The contribution of maps of the whole image."""
        axes = PixelAxis(maps.shape[1], height, maps), PixelAxis(maps.shape[2], width, maps)
        shares = (Share(tile=0, pixels=slice(0, side), weights=np.ones(side, np.float32)) for side in (height, width))
        return cls(maps, *axes, *shares)

    def cells(self, y: slice, x: slice) -> tuple[slice, slice]:
        """The cells around a block of the piece, whose pixels count from the piece's corner."""
        return self.rows.cells_around(_moved(y, self.down)), self.columns.cells_around(_moved(x, self.across))

    def interpolate(
        self, maps: Float[Array, "N h w"], y: slice, x: slice, cells: tuple[slice, slice], *, weighted: bool
    ) -> Float[Array, "N y x"]:
        """Interpolate maps of some classes, cropped to `cells`, to a block, if wanted with the tile's weights."""
        # along rows of cells first: selecting within rows is slow, and there are fewer than rows of pixels
        pixels = self.columns.interpolate(maps, _moved(x, self.across), cells[1], 2)
        pixels = self.rows.interpolate(pixels, _moved(y, self.down), cells[0], 1)
        if not weighted:
            return pixels
        xp, where = array_namespace(pixels), device(pixels)
        down, across = (xp.asarray(one, device=where) for one in (self.down.weights[y], self.across.weights[x]))
        return pixels * (down[:, None] * across)


def _blocks(height: int, width: int, layer: Layer) -> Iterator[tuple[slice, slice]]:
    """Blocks of a piece to interpolate at a time."""
    if on_cpu(layer.maps):
        least = BLOCK_PIXELS if len(layer.maps) > FEW_CLASSES else LARGE_BLOCK_PIXELS
        sides = [max(least, BLOCK_CELLS * len(axis.lower) // axis.cells) for axis in (layer.rows, layer.columns)]
    else:
        sides = [max(BLOCK_PIXELS, int((GPU_VALUES / len(layer.maps)) ** 0.5))] * 2
    for top in range(0, height, sides[0]):
        for left in range(0, width, sides[1]):
            yield slice(top, min(top + sides[0], height)), slice(left, min(left + sides[1], width))


def _strongest(
    layers: Sequence[Layer], y: slice, x: slice, indices: Int[Array, " K"], classes: Int[Array, " N"] | None = None
) -> tuple[Float[Array, "y x"], Int[Array, "y x"]]:
    """The maximum over the K classes, or N of them, at each pixel of a block, and the first class that attains it."""
    xp, chosen = array_namespace(indices), slice(None) if classes is None else classes
    cells = [layer.cells(y, x) for layer in layers]
    crops = [layer.maps[chosen, down, across] for layer, (down, across) in zip(layers, cells, strict=True)]
    if on_cpu(indices) or len(crops[0]) > GPU_CLASSES:
        lowest = xp.min(xp.stack([xp.min(crop, axis=(1, 2)) for crop in crops]), axis=0)
        highest = xp.max(xp.stack([xp.max(crop, axis=(1, 2)) for crop in crops]), axis=0)
        contenders = xp.nonzero(highest >= xp.max(lowest))[0]
    else:
        contenders = xp.arange(len(crops[0]), device=device(indices))
    at_once = max(1, (CPU_VALUES if on_cpu(indices) else GPU_VALUES) // ((y.stop - y.start) * (x.stop - x.start)))

    def strongest_of(some: Any) -> tuple[Any, Any]:  # shapes would be built anew for each block
        parts = [
            layer.interpolate(xp.take(crop, some, axis=0), y, x, around, weighted=len(layers) > 1)
            for layer, crop, around in zip(layers, crops, cells, strict=True)
        ]
        value, winner = strongest(reduce(add, parts))
        return value, some[winner]

    value, index = strongest_of(contenders[:at_once])
    for start in range(at_once, len(contenders), at_once):
        more, winner = strongest_of(contenders[start : start + at_once])
        index = xp.where(more > value, winner, index)
        value = xp.maximum(more, value)
    return value, indices[chosen][index]


def _moved(pixels: slice, share: Share) -> slice:
    """Pixels of a piece, counted from the tile's first pixel."""
    return slice(share.pixels.start + pixels.start, share.pixels.start + pixels.stop)
