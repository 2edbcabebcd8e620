"""Splits an image into views for a network, and merges the network's outputs for them."""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segvoc.inference.protocols import Protocol, Sliding, Strides, Tiles
from segvoc.layers.interpolation import resized

MEAN_COLOUR = (122.7709383, 116.7460125, 104.09373615)
"""The colour that normalisation maps to zero (OpenAI CLIP's mean) [0..255]."""


def views(image: UInt8[np.ndarray, "h w 3"], protocol: Protocol) -> Float[Tensor, "V 3 H W"]:
    """Prepare the network's input: one view, or all windows followed by the whole image.

    `Strides` has no view of the whole image.

    Args:
        image: RGB pixels.
        protocol: the protocol to follow.

    Returns:
        V views of equal size, with values in [0, 255].
    """
    height, width = image.shape[:2]
    if isinstance(protocol.sliding, Tiles):
        tiles = [image[rows, columns] for rows, columns in _tiles(height, width, protocol.sliding)]
        return torch.cat([_tensor(_resized(tile, protocol.input_size(height, width))) for tile in (*tiles, image)])
    if protocol.loader is not None:
        image = _resized(image, protocol.loader.size(height, width))
    elif protocol.pad_to == 1 and protocol.sliding is None:
        return _tensor(_resized(image, protocol.input_size(height, width)))
    pixels = _tensor(image)
    if isinstance(protocol.sliding, Strides):
        places = _strides(image.shape[:2], protocol.sliding)
        size = protocol.input_size(protocol.size, protocol.size)
        return torch.cat([resized(pixels[:, :, rows, columns], size) for rows, columns in places])
    if protocol.sliding is not None:
        pixels = _windows(pixels, protocol.sliding)
    elif protocol.pad_to > 1:
        pixels = _padded(pixels, protocol.pad_to)
    if not protocol.size:
        return pixels
    return resized(pixels, protocol.input_size(height, width))


def merged(
    logits: Float[Tensor, "V K h w"], protocol: Protocol, size: tuple[int, int] | None = None
) -> Float[Tensor, "K y x"]:
    """Merge the maps of all views of an image into one map for each class.

    Args:
        logits: logits of K classes in each of V views.
        protocol: the protocol that made the views.
        size: height and width of the image [px]; needed for `Strides`.

    Returns:
        Logits, or probabilities if the protocol sets `sigmoid_first`.

    Raises:
        ValueError: the protocol uses `Strides`, and `size` or its loader is missing.
    """
    if isinstance(protocol.sliding, Tiles):
        return _stitched(logits.sigmoid(), protocol.sliding)
    if isinstance(protocol.sliding, Strides):
        if size is None or protocol.loader is None:
            raise ValueError("windows of an image's own shape are put together by its size")
        maps = logits.sigmoid() if protocol.sigmoid_first else logits
        return _overlaid(maps, protocol.sliding, protocol.loader.size(*size))
    if protocol.sliding is not None:
        return _averaged(logits, protocol.sliding)
    return logits[0].sigmoid() if protocol.sigmoid_first else logits[0]


def _resized(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _tensor(image: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "1 3 h w"]:
    return torch.tensor(image).permute(2, 0, 1)[None].float()


def _padded(pixels: Float[Tensor, "1 3 h w"], multiple: int) -> Float[Tensor, "1 3 H W"]:
    height, width = pixels.shape[2:]
    mean = torch.tensor(MEAN_COLOUR).view(1, 3, 1, 1)
    return F.pad(pixels - mean, (0, -width % multiple, 0, -height % multiple)) + mean


def _windows(pixels: Float[Tensor, "1 3 h w"], sliding: Sliding) -> Float[Tensor, "V 3 S S"]:
    canvas = resized(pixels, (sliding.canvas, sliding.canvas))
    side = sliding.window
    crops = [canvas[:, :, y : y + side, x : x + side] for y, x in _corners(sliding)]
    return torch.cat([*crops, resized(pixels, (side, side))])


def _averaged(logits: Float[Tensor, "V K h w"], sliding: Sliding) -> Float[Tensor, "K Y X"]:
    side, canvas = sliding.window, sliding.canvas
    *crops, whole = resized(logits, (side, side)).sigmoid()
    total = whole.new_zeros(len(whole), canvas, canvas)
    count = whole.new_zeros(canvas, canvas)
    for crop, (y, x) in zip(crops, _corners(sliding), strict=True):
        total[:, y : y + side, x : x + side] += crop
        count[y : y + side, x : x + side] += 1
    return (total / count + resized(whole[None], (canvas, canvas))[0]) / 2


def _corners(sliding: Sliding) -> list[tuple[int, int]]:
    starts = range(0, sliding.canvas - sliding.window + 1, sliding.stride)
    return [(y, x) for y in starts for x in starts]


Place = tuple[slice, slice]
"""Rows and columns of a window in an image."""


def _tiles(height: int, width: int, tiles: Tiles) -> list[Place]:
    """Tiles that differ in size by at most one pixel; tiles overlap if the image has too few pixels."""

    def cut(side: int, count: int) -> list[slice]:
        starts = [min(number * side // count, side - 1) for number in range(count)]
        return [slice(start, max(start + 1, (number + 1) * side // count)) for number, start in enumerate(starts)]

    return [(rows, columns) for rows in cut(height, tiles.rows) for columns in cut(width, tiles.columns)]


def _stitched(views: Float[Tensor, "V K h w"], tiles: Tiles) -> Float[Tensor, "K Y X"]:
    """Stitch the tiles together and average them with the whole image."""
    tiled = rearrange(views[:-1], "(r c) k h w -> k (r h) (c w)", r=tiles.rows)
    return tiled.add_(resized(views[-1:], (tiled.shape[1], tiled.shape[2]))[0]).mul_(0.5)


def _strides(size: tuple[int, ...], strides: Strides) -> list[Place]:
    """Windows at every stride; the last ones are moved back to end at the image's border."""

    def cut(side: int) -> list[slice]:
        count = max(0, -(-(side - strides.window) // strides.stride)) + 1
        starts = (min(number * strides.stride, max(0, side - strides.window)) for number in range(count))
        return [slice(start, min(start + strides.window, side)) for start in starts]

    return [(rows, columns) for rows in cut(size[0]) for columns in cut(size[1])]


def _overlaid(views: Float[Tensor, "V K h w"], strides: Strides, size: tuple[int, int]) -> Float[Tensor, "K Y X"]:
    total, count = views.new_zeros(views.shape[1], *size), views.new_zeros(size)
    for view, (rows, columns) in zip(views, _strides(size, strides), strict=True):
        total[:, rows, columns] += resized(view[None], (rows.stop - rows.start, columns.stop - columns.start))[0]
        count[rows, columns] += 1
    return total / count
