"""Finds the strongest class of every pixel in a part of an image where the maps of tiles fade into one another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from array_api_compat import device
from jaxtyping import Float, Int

from segvoc.arrays import Array, array_namespace, on_cpu, strongest
from segvoc.inference.strongest_class import GPU_VALUES, TILE, TILE_PIXELS, PixelAxis, StrongestClass
from segvoc.inference.tile_grid import Share


@dataclass(frozen=True, eq=False)
class Layer:
    """What a tile contributes to a piece of the image."""

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
        """Maps of some classes, cut to `cells`, at the pixels of a block.

        Args:
            maps: the maps.
            y: rows of the block.
            x: its columns.
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
    """The strongest class of every pixel among all classes seen so far, by the weighted means of several tiles' maps.

    Weights of a pixel add up to 1, so a blended value lies between the minimum and maximum of all cells that it is
    made of. As in `StrongestClass`, classes that can't win in a block aren't interpolated there.
    """

    def update_piece(self, rows: slice, columns: slice, layers: Sequence[Layer], indices: Int[Array, " K"]) -> None:
        """Update a piece of the image, all of which is covered by the same tiles, with more classes.

        Args:
            rows: rows of the piece.
            columns: its columns.
            layers: one for each tile, with maps of the same classes.
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
    """Blocks of a piece that are interpolated at a time: on a CPU about as large as the tiles of `StrongestClass`."""
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
    """Pixels of a piece, counted from the tile's first one."""
    return slice(share.pixels.start + pixels.start, share.pixels.start + pixels.stop)
