"""Resizing feature maps."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def resized(maps: Float[Tensor, "N C h w"], size: tuple[int, int]) -> Float[Tensor, "N C H W"]:
    """Bilinear interpolation to `size` (rows, columns), corners not aligned; maps of that size are returned as is."""
    return maps if tuple(maps.shape[2:]) == size else F.interpolate(maps, size=size, mode="bilinear")
