"""Splits an image into views for a network, and merges the network's outputs for them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from array_api_compat import device
from einops import rearrange
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image

from segvoc.inference.protocols import Protocol, Sliding, Strides, Tiles
from segvoc.inference.tile_grid import TileAxis
from segvoc.layers.selection import DROPPED
from segvoc.runtime.arrays import Array, array_namespace, bilinear, interpolated, sigmoid

Rgb = Float32[Array, "_ _ 3"]
"""RGB pixels with values in [0, 255]."""

ToDevice = Callable[[UInt8[np.ndarray, "H W 3"]], UInt8[Array, "H W 3"]]
"""Moves 8-bit pixels to where they are interpolated: a quarter of the bytes of float32 views, and no overlaps."""

MEAN_COLOR = (122.7709383, 116.7460125, 104.09373615)
"""The color that normalization maps to zero (OpenAI CLIP's mean) [0..255]."""


def views(
    image: UInt8[np.ndarray, "h w 3"], protocol: Protocol, to_device: ToDevice = np.asarray
) -> Float32[Array, "V 3 H W"]:
    """Prepare the network's input: one view, or all windows followed by the whole image (but for `Strides`).

    Views have equal sizes and values in [0, 255], in the library and on the device of `to_device`'s result.
    """
    seen = _views(image, protocol, to_device)
    found = _zeros(seen[0], len(seen), 3, *seen[0].shape[:2])
    for number, view in enumerate(seen):
        found[number, ...] = array_namespace(view).permute_dims(view, (2, 0, 1))
    return found


def _views(image: UInt8[np.ndarray, "h w 3"], protocol: Protocol, to_device: ToDevice) -> list[Rgb]:
    height, width = image.shape[:2]

    def loaded(part: UInt8[np.ndarray, "y x 3"], size: tuple[int, int]) -> Rgb:
        pixels = to_device(_loaded(part, size))
        xp = array_namespace(pixels)
        return xp.astype(pixels, xp.float32)

    if isinstance(protocol.sliding, Tiles):
        tiles = [image[rows, columns] for rows, columns in _tiles(height, width, protocol.sliding)]
        return [loaded(tile, protocol.input_size(height, width)) for tile in (*tiles, image)]
    size = (height, width)
    if protocol.loader is not None:
        size = protocol.loader.size(height, width)
    elif protocol.pad_to == 1 and protocol.sliding is None:
        return [loaded(image, protocol.input_size(height, width))]
    pixels = loaded(image, size)
    if isinstance(protocol.sliding, Strides):
        places = _strides(size, protocol.sliding)
        seen = [pixels[rows, columns] for rows, columns in places]
        return [_interpolated(window, protocol.input_size(protocol.size, protocol.size)) for window in seen]
    seen = [pixels]
    if protocol.sliding is not None:
        canvas = _interpolated(pixels, (protocol.sliding.canvas, protocol.sliding.canvas))
        places = _strides(canvas.shape[:2], protocol.sliding)
        seen = [canvas[rows, columns] for rows, columns in places]
        seen.append(_interpolated(pixels, (protocol.sliding.window, protocol.sliding.window)))
    elif protocol.pad_to > 1:
        seen = [_padded(pixels, protocol.pad_to)]
    return [_interpolated(view, protocol.input_size(height, width)) for view in seen] if protocol.size else seen


def merged(
    logits: Float[Array, "V K h w"], protocol: Protocol, size: tuple[int, int] | None = None
) -> Float[Array, "K y x"]:
    """Merge the maps of all views of an image into one map for each class.

    Logits, or probabilities if the protocol sets `sigmoid_first`. `Strides` need the size of the image [px].
    """
    if isinstance(protocol.sliding, Tiles):
        return _stitched(sigmoid(logits), protocol.sliding)
    if isinstance(protocol.sliding, Strides):
        assert size is not None and protocol.loader is not None
        maps = sigmoid(logits) if protocol.sigmoid_first else logits
        return _overlaid(maps, protocol.sliding, protocol.loader.size(*size))
    if protocol.sliding is not None:
        return _averaged(logits, protocol.sliding)
    return sigmoid(logits[0, ...]) if protocol.sigmoid_first else logits[0, ...]


def _loaded(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "y x 3"]:
    """The pixels after a data loader's resize: with antialiasing, rounded to integers."""
    if image.shape[:2] != size:
        # one axis at a time: since version 13, Pillow resizes columns of some images first, which rounds differently
        rows = Image.fromarray(image).resize((size[1], image.shape[0]), Image.Resampling.BILINEAR)
        image = np.asarray(rows.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return image


def _interpolated(pixels: Rgb, size: tuple[int, int]) -> Rgb:
    return pixels if pixels.shape[:2] == size else interpolated(interpolated(pixels, 0, size[0]), 1, size[1])


def _padded(pixels: Rgb, multiple: int) -> Rgb:
    height, width = pixels.shape[:2]
    xp = array_namespace(pixels)
    mean = xp.asarray(MEAN_COLOR, dtype=pixels.dtype, device=device(pixels))
    padded = _zeros(pixels, height + -height % multiple, width + -width % multiple, 3)
    padded[:height, :width] = pixels - mean
    return padded + mean


def _averaged(logits: Float[Array, "V K h w"], sliding: Sliding) -> Float[Array, "K Y X"]:
    size = (sliding.canvas, sliding.canvas)
    maps = sigmoid(bilinear(logits, (sliding.window, sliding.window)))
    return (_overlaid(maps[:-1, ...], sliding, size) + bilinear(maps[-1:, ...], size)[0, ...]) / 2


def _zeros(like: Array, *shape: int) -> Array:
    return array_namespace(like).zeros(shape, dtype=like.dtype, device=device(like))


def _tiles(height: int, width: int, tiles: Tiles) -> list[tuple[slice, slice]]:
    """Tiles that differ in size by at most one pixel; tiles overlap if the image has too few pixels."""

    def cut(side: int, count: int) -> list[slice]:
        starts = [min(number * side // count, side - 1) for number in range(count)]
        return [slice(start, max(start + 1, (number + 1) * side // count)) for number, start in enumerate(starts)]

    return [(rows, columns) for rows in cut(height, tiles.rows) for columns in cut(width, tiles.columns)]


def _stitched(views: Float[Array, "V K h w"], tiles: Tiles) -> Float[Array, "K Y X"]:
    """Stitch the tiles together and average them with the whole image."""
    tiled = rearrange(views[:-1, ...], "(r c) k h w -> k (r h) (c w)", r=tiles.rows)
    tiled += bilinear(views[-1:, ...], (tiled.shape[1], tiled.shape[2]))[0, ...]
    tiled *= 0.5
    return tiled


def _strides(size: tuple[int, ...], strides: Strides | Sliding) -> list[tuple[slice, slice]]:
    """Windows at every stride; the last are moved back to end at the image's border."""

    def cut(side: int) -> list[slice]:
        axis = TileAxis(side=side, tile=strides.window, overlap=strides.window - strides.stride)
        return [slice(start, start + axis.size) for start in axis.starts]

    return [(rows, columns) for rows in cut(size[0]) for columns in cut(size[1])]


def _overlaid(
    views: Float[Array, "V K h w"], strides: Strides | Sliding, size: tuple[int, int]
) -> Float[Array, "K Y X"]:
    total, count = _zeros(views, views.shape[1], *size), _zeros(views, *size)
    for view, (rows, columns) in zip(views, _strides(size, strides), strict=True):
        window = (rows.stop - rows.start, columns.stop - columns.start)
        total[:, rows, columns] += bilinear(view[None, ...], window)[0, ...]
        count[rows, columns] += 1
    return total / count


MERGED_CLASSES = 32
"""Number of classes per chunk when sliding windows are merged."""


@dataclass(frozen=True)
class ViewLogits:
    """Logits of the classes that class selection kept in each view of an image."""

    logits: Float[Array, "V P h w"]
    """For each of V views, the maps of its P classes."""
    kept: Int[Array, "V P"] | None
    """Indices of these classes among the queried ones; None: all of them, in order."""
    classes: int

    def kept_anywhere(self) -> Int[Array, " N"]:
        """The classes that were kept in at least one view, ascending."""
        xp = array_namespace(self.logits)
        if self.kept is None:
            return xp.arange(self.classes, device=device(self.logits))
        return xp.sort(xp.unique_values(self.kept))

    def maps(
        self,
        protocol: Protocol,
        size: tuple[int, int] | None = None,
        *,
        classes: Int[Array, " M"] | range | None = None,
    ) -> Iterator[tuple[Float[Array, "N y x"], Int[Array, " N"]]]:
        """Yield the merged maps of classes that were kept in any view, several at a time, and their indices.

        See `merged` for the protocol and the size; `classes` are the only ones, ascending (None: all). With a range no
        index is read from the device, which would wait for a GPU.
        """
        xp, where = array_namespace(self.logits), device(self.logits)
        most = MERGED_CLASSES if protocol.sliding else self.classes
        if self.kept is None and (classes is None or isinstance(classes, range)):
            wanted = range(self.classes) if classes is None else classes
            for start in range(wanted.start, wanted.stop, most):
                stop = min(start + most, wanted.stop)
                yield merged(self.logits[:, start:stop], protocol, size), xp.arange(start, stop, device=where)
            return
        if isinstance(classes, range):
            classes = xp.arange(classes.start, classes.stop, device=where)
        kept = self.kept_anywhere()
        if classes is not None:
            kept = kept[xp.isin(kept, classes)]
        for start in range(0, len(kept), most):
            chosen = kept[start : start + most]
            yield merged(self._of(chosen), protocol, size), chosen

    def _of(self, chosen: Int[Array, " N"]) -> Float[Array, "V N h w"]:
        """Logits of some kept classes, ascending; `DROPPED` in views where a class was dropped."""
        if self.kept is None:
            first, last = int(chosen[0]), int(chosen[-1])
            # consecutive classes need no copy
            return self.logits[:, first : last + 1] if last - first < len(chosen) else self.logits[:, chosen]
        xp, logits = array_namespace(self.logits), self.logits
        place = xp.clip(xp.searchsorted(chosen, self.kept), max=len(chosen) - 1)
        here = chosen[place] == self.kept
        shape = (len(logits), len(chosen), *logits.shape[2:])
        maps = xp.full(shape, DROPPED, dtype=logits.dtype, device=device(logits))
        maps[xp.nonzero(here)[0], place[here]] = logits[here]
        return maps
