"""Views of a picture for a network, and the network's answers to them put together again."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segvoc.layers.interpolation import resized
from segvoc.networks.protocols import Protocol, Sliding

MEAN_COLOUR = (122.7709383, 116.7460125, 104.09373615)
"""What normalisation turns into zero (OpenAI CLIP's mean) [0..255]."""


def views(picture: UInt8[np.ndarray, "h w 3"], protocol: Protocol) -> Float[Tensor, "V 3 H W"]:
    """The picture as the network is to see it: one view, or all windows and last the whole picture."""
    height, width = picture.shape[:2]
    if protocol.loader is not None:
        picture = _resized(picture, protocol.loader.size(height, width))
    elif protocol.pad_to == 1 and protocol.sliding is None:
        return _tensor(_resized(picture, protocol.input_size(height, width)))
    pixels = _tensor(picture)
    if protocol.sliding is not None:
        pixels = _windows(pixels, protocol.sliding)
    elif protocol.pad_to > 1:
        pixels = _padded(pixels, protocol.pad_to)
    if not protocol.size:
        return pixels
    return resized(pixels, protocol.input_size(height, width))


def merged(logits: Float[Tensor, "V K h w"], protocol: Protocol) -> Float[Tensor, "K y x"]:
    """One map for each class from the answers to all views of a picture: logits, or probabilities (`sigmoid_first`)."""
    if protocol.sliding is not None:
        return _averaged(logits, protocol.sliding)
    return logits[0].sigmoid() if protocol.sigmoid_first else logits[0]


def _resized(picture: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _tensor(picture: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "1 3 h w"]:
    return torch.tensor(picture).permute(2, 0, 1)[None].float()


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
